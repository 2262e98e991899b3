"""Small results that outlive a run: calibrations and references of this host.

Kept as JSON under /var/lib/nettax (root) or $XDG_STATE_HOME/nettax, with what they hold for: the
machine, the kernel's release and nettax's version. One that does not fit any more is not found.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nettax.errors import NettaxError
from nettax.version import __version__

__all__ = ["keep", "kept"]


ROOT = Path("/var/lib/nettax")


def keep(name: str, values: Mapping[str, Any]) -> Path:
    """Keep values under a name; return the file.

    :raises NettaxError: the file cannot be written.
    """
    path = _path(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps({"of": _identity(), "values": values}, indent=1))
        partial.replace(path)
    except OSError as error:
        raise NettaxError(f"cannot keep {name} in {path}: {error.strerror}") from error
    return path


def kept(name: str) -> dict[str, Any] | None:
    """What was kept under a name for this machine, kernel and version; None if nothing was."""
    for path in _places(name):
        with suppress(OSError, ValueError, KeyError, TypeError):
            found = json.loads(path.read_text())
            values: dict[str, Any] = found["values"]
            if found["of"] == _identity():
                return values
    return None


def _places(name: str) -> Iterator[Path]:
    """One's own file and, where that is missing or out of date, the one that root keeps for all."""
    with suppress(NettaxError):
        yield _path(name)
    yield ROOT / f"{name}.json"


def _identity() -> list[str]:
    try:
        machine = Path("/etc/machine-id").read_text().strip()
    except OSError:
        machine = os.uname().nodename
    return [machine, os.uname().release, __version__]


def _path(name: str) -> Path:
    if os.geteuid() == 0:
        return ROOT / f"{name}.json"
    if state := os.environ.get("XDG_STATE_HOME"):
        return Path(state, f"nettax/{name}.json")
    try:
        return Path.home() / f".local/state/nettax/{name}.json"
    except RuntimeError:  # neither $HOME nor a line in /etc/passwd
        raise NettaxError(
            f"there is nowhere to keep {name}: this user has no home directory.\n"
            "Set XDG_STATE_HOME to a directory of yours."
        ) from None
