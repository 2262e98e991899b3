"""The server in the kernel, on this host: built, loaded, asked and unloaded.

Its sources are in ``kmod/`` of a checkout, or in ``share/nettax/kmod`` of an installation.
"""

from __future__ import annotations

import os
import subprocess
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nettax.errors import MissingFeature, NettaxError, UsageError
from nettax.host.privilege import require
from nettax.lab.vm import build, kernels

__all__ = [
    *("NAME", "Status", "built", "check_loadable", "load", "parse_stats", "source", "status"),
    "unload",
]

NAME = "nettax_server"
_LOADED = Path("/sys/module", NAME)
_MODULES = Path("/proc/modules")
_STATS = Path("/sys/kernel/debug", NAME, "stats")


@dataclass(frozen=True)
class Status:
    """The server that is loaded."""

    parameters: Mapping[str, str]
    """As it was loaded, by name."""
    stats: Mapping[str, int] | None
    """Its counters; None where debugfs cannot be read."""


def source() -> Path:
    """The directory with its sources.

    :raises MissingFeature: this installation has none.
    """
    places = (
        Path(__file__).parents[3] / "kmod",
        Path(sysconfig.get_path("data"), "share/nettax/kmod"),
    )
    for place in places:
        if (place / "Kbuild").is_file():
            return place
    raise MissingFeature(f"the server's sources are missing: {places[-1]} is where they should be.")


def built(progress: Callable[[str], None] = lambda _: None) -> Path:
    """The module for the kernel that runs, built if it is not in the cache.

    :raises MissingFeature: the kernel takes no modules; its headers, make or compiler are missing.
    :raises NettaxError: it does not build.
    """
    _check_modules()
    release = os.uname().release
    place = Path("/lib/modules", release)
    kernel = kernels.Kernel(release, Path("/boot", f"vmlinuz-{release}"), place)
    if kernel.headers is None:
        raise MissingFeature(
            f"{place}/build, what modules are built against, is missing: "
            f"apt-get install linux-headers-{release}\n"
            "Without them for this kernel, run it in the lab: nettax lab vm run --module …"
        )
    return build.built(kernel, build.Module(source()), progress).files[0]


def check_loadable() -> None:
    """Return if this process may load it now.

    :raises UsageError: it is loaded.
    :raises MissingFeature: this kernel takes no modules.
    :raises MissingPrivilege: this user may not.
    """
    _check_modules()
    if _LOADED.exists():
        raise UsageError(f"{NAME} is loaded: unload it first, nettax kmod unload")
    require("CAP_SYS_MODULE", "load a module")


def load(module: Path, parameters: Sequence[str]) -> None:
    """Load it into this kernel, to listen in this process's network namespace.

    :raises UsageError, Unsupported: as `check_loadable`.
    :raises NettaxError: the kernel refuses it, or its parameters.
    """
    check_loadable()
    _run("insmod", str(module), *parameters, hint="\nThe kernel's log says more: dmesg | tail")


def unload() -> None:
    """End its connections and take it out of the kernel.

    :raises UsageError: it is not loaded.
    :raises MissingPrivilege: this user may not.
    :raises NettaxError: the kernel refuses.
    """
    if not _LOADED.exists():
        raise UsageError(f"{NAME} is not loaded.")
    require("CAP_SYS_MODULE", "unload a module")
    _run("rmmod", NAME, hint="")


def status() -> Status | None:
    """What is loaded; None if nothing is."""
    if not _LOADED.exists():
        return None
    files = sorted((_LOADED / "parameters").iterdir())
    try:
        stats = parse_stats(_STATS.read_text())
    except OSError:
        stats = None
    return Status({path.name: path.read_text().strip() for path in files}, stats)


def parse_stats(text: str) -> dict[str, int]:
    """The counters by name: ``_ns``, ``_bytes``, and numbers of things."""
    return {name: int(value) for name, value in map(str.split, text.splitlines())}


def _check_modules() -> None:
    if not _MODULES.exists():
        raise MissingFeature(
            "this host's kernel takes no modules: it has no /proc/modules.\n"
            "Run the server in the lab: nettax lab vm run --module …"
        )


def _run(*command: str, hint: str) -> None:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    try:
        run = subprocess.run(command, capture_output=True, text=True, env={"PATH": path})
    except FileNotFoundError:
        raise MissingFeature(f"{command[0]} is missing: apt-get install kmod") from None
    if run.returncode:
        said = run.stderr.strip().partition("ERROR: ")[2] or run.stderr.strip()
        raise NettaxError(f"{command[0]} failed: {said}.{hint}")
