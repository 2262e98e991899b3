"""Opens a recording of whatever kind: its content tells."""

from __future__ import annotations

import os
from pathlib import Path

from nettax.errors import NettaxError
from nettax.events.memory import keep_freed_memory
from nettax.events.model import Recording

__all__ = ["open_recording"]

_HEAD = 1 << 16


def open_recording(path: str | os.PathLike[str]) -> Recording:
    """Open a recording by nettax, perf, trace-cmd or ftrace, or what `perf script` printed.

    :raises NettaxError: it is none of these, or nothing of it can be read
    :raises OSError: as open(2) gives it
    """
    keep_freed_memory()
    path = Path(path)
    if path.is_dir():
        raise NettaxError(f"{path} is a directory: name the file in it that holds the events")
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        raise NettaxError(f"{path} is empty")
    return _reader(path, head)


def _reader(path: Path, head: bytes) -> Recording:
    # One after the other, as each reader takes its time to import.
    from nettax.events import perf

    if head.startswith(perf.MAGICS):
        return perf.PerfData(path)
    from nettax.events import native_file

    if head.startswith(native_file.MAGIC):
        return native_file.NativeRecording(path)
    from nettax.events import trace_dat

    if head.startswith(trace_dat.MAGIC):
        return trace_dat.TraceDat(path)
    from nettax.events import text

    if text.dialect(head):
        return text.TextRecording(path)
    raise NettaxError(
        f"{path} is no recording that nettax knows: neither its own, nor perf.data, trace.dat,\n"
        "or the text of perf script, trace-cmd report or tracefs's trace file"
    )
