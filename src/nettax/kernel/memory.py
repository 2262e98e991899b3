"""How much memory the host has left, and what kind of pages a process has."""

from __future__ import annotations

from dataclasses import dataclass

from nettax.kernel.files import StrPath, read_text

__all__ = ["ProcessMemory", "available_bytes", "process_memory"]


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """/proc/PID/smaps_rollup, the fields that tell what is there and in which pages."""

    resident_bytes: int
    huge_bytes: int
    """Anonymous memory in transparent huge pages."""


def available_bytes(proc: StrPath = "/proc") -> int | None:
    """What may be taken before the host swaps (MemAvailable); None where it is not told."""
    return _fields(read_text(f"{proc}/meminfo")).get("MemAvailable")


def process_memory(pid: int, proc: StrPath = "/proc") -> ProcessMemory | None:
    """Read the memory of a process; None if it has ended or may not be looked at."""
    try:
        found = _fields(read_text(f"{proc}/{pid}/smaps_rollup"))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    if "Rss" not in found:  # it is ending: its memory has gone
        return None
    return ProcessMemory(found["Rss"], found.get("AnonHugePages", 0))


def _fields(text: str) -> dict[str, int]:
    """The lines `Name:  123 kB`, in bytes."""
    words = (line.split() for line in text.splitlines() if line.endswith(" kB"))
    return {line[0].removesuffix(":"): int(line[1]) * 1024 for line in words}
