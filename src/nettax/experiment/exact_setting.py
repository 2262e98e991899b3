"""What is compared, as it is written: kernel, module and its parameters, sysctls."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from nettax.errors import UsageError

__all__ = ["PORT", "Setting", "setting"]

PORT = 8081
_WORD = re.compile(r"(?P<name>[A-Za-z_][\w./-]*)=(?P<value>.*)", re.ASCII | re.DOTALL)


@dataclass(frozen=True)
class Setting:
    """One of two guests that are compared."""

    kernel: str = "6.1"
    """As `nettax lab vm run --kernel` takes it."""
    module: Path | None = None
    """The directory of the server's sources; None for nettax's own."""
    parameters: tuple[str, ...] = ()
    """NAME=VALUE, of the module."""
    sysctls: tuple[tuple[str, str], ...] = ()
    """Names with dots, and values; set before the module is loaded."""

    @property
    def port(self) -> int:
        """Where the server is to listen: the parameter of that name."""
        said = [word.partition("=")[2] for word in self.parameters if word.startswith("port=")]
        return int(said[-1]) if said else PORT


def setting(text: str, base: Setting = Setting()) -> Setting:
    """From words with commas between them, on top of what both have in common.

    ``kernel=6.12`` is the guest's kernel, ``module=DIR`` the server's sources, a name with a dot
    a sysctl (``net.ipv4.tcp_sack=0``), any other name a parameter of the module. ``default`` adds
    nothing. What is said twice counts as said last.

    :raises UsageError: a word is none of these.
    """
    made = base
    for word in filter(None, (each.strip() for each in text.split(","))):
        found = _WORD.fullmatch(word)
        if word == "default":
            continue
        if not found:
            raise UsageError(
                f"{word!r} says nothing to compare: give kernel=6.12, module=DIR, a sysctl such as "
                "net.ipv4.tcp_sack=0, a parameter of the module such as mode=workqueue, or default."
            )
        made = _with(made, found["name"], found["value"])
    return made


def _with(made: Setting, name: str, value: str) -> Setting:
    if not value:
        raise UsageError(f"{name}= lacks its value.")
    if name == "kernel":
        return replace(made, kernel=value)
    if name == "module":
        if not Path(value).is_dir():
            raise UsageError(f"there is no directory {value} with a module's sources.")
        return replace(made, module=Path(value))
    if "." in name or "/" in name:
        name = name.replace("/", ".")
        return replace(made, sysctls=(*(s for s in made.sysctls if s[0] != name), (name, value)))
    if name == "protocol":
        raise UsageError("protocol is set for each operation: leave it out, or see --operation.")
    if name == "address":
        raise UsageError("address is the same in what is compared, 127.0.0.1: leave it out.")
    if name == "port" and not (value.isdecimal() and 0 < int(value) < 65536):
        raise UsageError(f"port={value} is none to connect to: give 1 to 65535.")
    others = (word for word in made.parameters if word.partition("=")[0] != name)
    return replace(made, parameters=(*others, f"{name}={value}"))
