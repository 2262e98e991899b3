"""A command on its way into a guest, and what it writes on its way out."""

from __future__ import annotations

import io
import os
import shlex
import string
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nettax.lab.vm.guest import Guest, Wires

__all__ = ["Output", "script", "word"]

_PLAIN = (string.ascii_letters + string.digits + "/._-+").encode()


class Output:
    """One of a command's two outputs: what comes before the token."""

    def __init__(
        self,
        guest: Guest,
        wires: Wires,
        name: str,
        token: bytes,
        sink: Callable[[bytes], object] | None,
    ) -> None:
        self.ended = False
        self._kept = io.BytesIO()
        self._sink = sink or self._kept.write
        self._guest = guest
        self._name = name
        self._token = token
        self._held = b""  # what may be the token's beginning
        guest.handle(wires.near[name].fileno(), self._read)

    @property
    def text(self) -> bytes:
        return self._kept.getvalue()

    def _read(self) -> None:
        data = self._held + self._guest.receive(self._name)
        before, found, _ = data.partition(self._token)
        self.ended |= bool(found)
        cut = len(before) if found else len(data) - _overlap(data, self._token)
        self._held = b"" if found else data[cut:]
        if cut:
            self._sink(data[:cut])


def _overlap(data: bytes, token: bytes) -> int:
    """How much of the token's beginning ends the data."""
    return next((n for n in range(len(token) - 1, 0, -1) if data.endswith(token[:n])), 0)


def script(
    argv: Sequence[str | os.PathLike[str]],
    env: Mapping[str, str],
    cwd: Path,
    size: os.terminal_size | None = None,
) -> str:
    """A command as a script of the guest's shell, which becomes it; on a terminal if it has a size.

    That is made by script(1), which every Debian has.
    """
    known = (f"export {name}={shlex.quote(value)}" for name, value in env.items() if _is_name(name))
    words = " ".join(shlex.quote(os.fspath(word)) for word in argv)
    lines = ["echo $$ >/run/nettax-lab/pid", "unset HOME TERM", *known]
    lines.append(f"cd {shlex.quote(str(cwd))} 2>/dev/null || cd /")
    if size is None:
        return "\n".join([*lines, f"exec {words}"])
    shell = f"export SHELL={shlex.quote(env['SHELL'])}" if "SHELL" in env else "unset SHELL"
    inner = (
        "echo $$ >/run/nettax-lab/pid",  # signals are for the command, not for script
        "tty >/run/nettax-lab/tty",
        f"stty rows {size.lines} cols {size.columns}",
        f"{shell}\nexec {words}",
    )
    within = shlex.quote("\n".join(inner))
    return "\n".join([*lines, f"exec env SHELL=/bin/sh script -qec {within} /dev/null"])


def _is_name(name: str) -> bool:
    """Whether a shell can have a variable of this name, and the guest is to have it."""
    return name.isidentifier() and name.isascii() and name != "PWD"


def word(path: Path) -> str:
    """A path as a word without blanks, which printf's %b in a shell gives back."""
    return "".join(chr(byte) if byte in _PLAIN else f"\\0{byte:03o}" for byte in os.fsencode(path))
