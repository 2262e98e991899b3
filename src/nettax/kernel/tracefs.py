"""tracefs: where it is mounted, and the ids of the trace events that it lists."""

from __future__ import annotations

from pathlib import Path

from nettax.errors import MissingFeature, MissingPrivilege
from nettax.kernel.files import StrPath, read_text
from nettax.kernel.mounts import mounts

__all__ = ["event_id", "events", "tracefs_mount"]


def tracefs_mount(proc: StrPath = "/proc") -> Path:
    """Return where tracefs is mounted.

    :raises MissingFeature: if it is not.
    """
    found = mounts("tracefs", proc)
    if not found:
        raise MissingFeature("tracefs is not mounted: mount -t tracefs none /sys/kernel/tracing")
    return found[0].point


def events(category: str, tracefs: Path | None = None) -> list[str]:
    """Return the names of the trace events of one category (``irq``, ``napi``), sorted.

    :raises MissingFeature: if tracefs is not mounted or knows no such category.
    :raises MissingPrivilege: if this user may not read it.
    """
    directory = (tracefs or tracefs_mount()) / "events" / category
    try:
        return sorted(entry.name for entry in directory.iterdir() if entry.is_dir())
    except FileNotFoundError:
        raise MissingFeature(f"this kernel has no trace events {category}:*") from None
    except PermissionError:
        raise _forbidden(directory) from None


def event_id(category: str, name: str, tracefs: Path | None = None) -> int:
    """Return the id of a trace event: perf_event_attr.config of PERF_TYPE_TRACEPOINT.

    :raises MissingFeature: if tracefs is not mounted or this kernel has no such event.
    :raises MissingPrivilege: if this user may not read it.
    """
    path = (tracefs or tracefs_mount()) / "events" / category / name / "id"
    try:
        return int(read_text(path))
    except FileNotFoundError:
        raise MissingFeature(f"this kernel has no trace event {category}:{name}") from None
    except PermissionError:
        raise _forbidden(path) from None


def _forbidden(path: Path) -> MissingPrivilege:
    return MissingPrivilege(f"{path} is for root: run as root, or remount tracefs with gid=, mode=")
