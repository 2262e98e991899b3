"""What ftrace and kprobes say of the kernel's functions: what can be traced, what is forbidden."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from nettax.errors import MissingFeature, MissingPrivilege
from nettax.kernel.files import read_text
from nettax.kernel.tracefs import tracefs_mount

__all__ = ["Traceable", "kprobe_blacklist", "traceable"]


class Traceable(NamedTuple):
    """A function that ftrace can trace: a line of available_filter_functions."""

    name: str
    module: str | None


def traceable(path: Path | None = None) -> Iterator[Traceable]:
    """Functions that ftrace can trace, those of loaded modules last.

    :raises MissingFeature: tracefs is not mounted, or has no such file: no CONFIG_DYNAMIC_FTRACE
    :raises MissingPrivilege: the kernel refuses to tell
    """
    path = path or tracefs_mount() / "available_filter_functions"
    for line in _text(path).splitlines():
        name, *module = line.split()
        yield Traceable(name, module[0].strip("[]") if module else None)


def kprobe_blacklist(path: Path = Path("/sys/kernel/debug/kprobes/blacklist")) -> frozenset[str]:
    """Functions that no kprobe may be put on (kernel/kprobes.c, NOKPROBE_SYMBOL).

    :raises MissingFeature: debugfs is not mounted, or the kernel has no kprobes
    :raises MissingPrivilege: it is for root
    """
    return frozenset(line.split()[-1] for line in _text(path).splitlines() if line.strip())


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except FileNotFoundError:
        raise MissingFeature(f"this kernel has no {path}, or it is not mounted") from None
    except PermissionError as error:
        raise MissingPrivilege(f"{path} cannot be read: {error.strerror}") from None
