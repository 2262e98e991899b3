"""Where file systems are mounted: /proc/PID/mountinfo (proc_pid_mountinfo(5))."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nettax.kernel.files import StrPath, read_text

__all__ = ["Mount", "mounts"]


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount of this process's mount namespace."""

    root: str
    """The directory of the file system that the mount shows; ``/`` unless a part is bound."""
    point: Path
    fs_type: str
    super_options: frozenset[str]


def mounts(fs_type: str, proc: StrPath = "/proc") -> list[Mount]:
    """Return the mounts of one file system type, in the order in which they were mounted."""
    lines = read_text(f"{proc}/self/mountinfo").splitlines()
    return [mount for mount in map(_parse, lines) if mount.fs_type == fs_type]


def _parse(line: str) -> Mount:
    # Optional fields, of any number, end at a lone hyphen.
    left, _, right = line.partition(" - ")
    _, _, _, root, point, *_ = left.split(" ")
    fs_type, _, super_options = right.split(" ")
    return Mount(
        _unescape(root), Path(_unescape(point)), fs_type, frozenset(super_options.split(","))
    )


def _unescape(text: str) -> str:
    # The kernel writes blank, tab, newline and backslash in octal (fs/proc_namespace.c, mangle).
    first, *rest = text.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)
