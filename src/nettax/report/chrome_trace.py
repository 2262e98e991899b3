"""A recording as a Chrome trace: JSON that ui.perfetto.dev, speedscope and chrome://tracing open.

Format: "Trace Event Format", the Chromium project's document. A CPU is a process there, with a
thread for each level: tasks, softirqs, hard IRQs, NAPI polls; and a counter of packets.

What a viewer calls self time is what the ledger books: a hard IRQ within a softirq is on the track
of hard IRQs and, as `interrupted`, inside the softirq's slice.

Viewers keep µs as floating point numbers. So times are since the recording's first event (its own
is in `otherData`), with three decimals, which hold the ns of a hundred days; and slices have a
beginning and an end (B, E), never a duration (X): the sum would not quite be where the next begins.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nettax.events.model import EVERY_CPU, NO_PID, Array, EventArray, Kind, Recording
from nettax.events.spans import spans
from nettax.native import library
from nettax.report.sheet import Names, Words, pages

__all__ = ["write"]

TASKS, SOFTIRQS, HARDIRQS, POLLS, COUNTERS = range(5)
THREADS = ("task", "softirq", "hard IRQ", "NAPI poll")
SLICE, MOMENT, COUNTER = range(3)
MARK = np.dtype(
    [
        ("start_ns", "<u8"),  # since the trace's beginning
        ("end_ns", "<u8"),
        ("name", "<u4"),
        ("value", "<u4"),  # of a counter
        ("cpu", "<u2"),
        ("track", "u1"),
        ("what", "u1"),
        ("unused", "<u4"),
    ]
)
# Where a task's time on its CPU begins or ends, or is not known any more.
_EDGES = (Kind.SWITCH, Kind.BEGIN, Kind.END, Kind.LOST)
_POLL = ["device", "work", "budget"]


def write(recording: Recording, path: Path) -> None:
    """Write the trace of a whole recording; memory stays bounded.

    :raises OSError: the file cannot be written
    """
    with path.open("wb") as out:
        _Writer(recording, out).write()


class _State(ctypes.Structure):
    """struct chrome_state (native/chrome.h)."""

    _fields_ = (
        ("place", ctypes.c_uint64),
        ("depth", ctypes.c_uint64),
        ("around", ctypes.c_uint32 * 256),
    )


@cache
def _library() -> ctypes.CDLL:
    native = library()
    native.chrome_lines.restype = ctypes.c_size_t
    native.chrome_lines.argtypes = (
        *(ctypes.c_void_p, ctypes.c_size_t),
        *(ctypes.POINTER(Names), ctypes.POINTER(_State), ctypes.c_char_p, ctypes.c_size_t),
    )
    return native


class _Writer:
    """Goes through a recording once."""

    def __init__(self, recording: Recording, out: BinaryIO) -> None:
        self._recording, self._tables, self._out = recording, recording.tables, out
        self._on_cpu: dict[int, _OnCpu] = {}
        self._tasks: list[tuple[int, int, int, int]] = []  # of chunks that were read
        self._zero = self._now = 0
        self._begun = False

    def write(self) -> None:
        """The whole document."""
        self._out.write(b'{"displayTimeUnit": "ns", "traceEvents": [\n')
        for part in spans(self._chunks()):
            words = Words(json.dumps)
            marks = [self._task_marks(words), *self._span_marks(part.spans, words)]
            self._lines(np.concatenate([*marks, self._poll_marks(part.polls, words)]), words)
        about = {"clock": self._recording.clock, "zero_ns": str(self._zero)}
        self._out.write(f'\n], "otherData": {json.dumps(about)}}}\n'.encode())

    def _chunks(self) -> Iterator[EventArray]:
        """The chunks; who had each CPU is told on the way."""
        for chunk in self._recording.chunks():
            if not self._now and len(chunk):
                self._zero = int(chunk["time_ns"][0])
            self._add_tasks(chunk)
            yield chunk
        for cpu, state in sorted(self._on_cpu.items()):
            self._tasks += ((cpu, *each) for each in state.end(self._now))

    def _add_tasks(self, chunk: EventArray) -> None:
        everywhere = chunk["cpu"] == EVERY_CPU
        for cpu in np.unique(chunk["cpu"][~everywhere]).tolist():
            if cpu not in self._on_cpu:
                self._on_cpu[cpu] = _OnCpu(self._zero)
                self._put(",\n" + ",\n".join(_named(cpu)))
        for cpu, state in self._on_cpu.items():
            events = chunk[(chunk["cpu"] == cpu) | everywhere]
            self._tasks += ((cpu, *each) for each in state.slices(events))
        if len(chunk):
            self._now = int(chunk["time_ns"][-1])

    def _put(self, lines: str | bytes) -> None:
        """Write lines, each of which begins with a comma; the first of all has none."""
        text = lines.encode() if isinstance(lines, str) else lines
        self._out.write(text if self._begun else text[2:])
        self._begun = True

    def _lines(self, marks: Array, words: Words) -> None:
        """Write marks, in order, as lines; put into words in C (native/chrome.c)."""
        longest = np.uint64(2**64 - 1) - marks["end_ns"]
        marks = marks[np.lexsort((longest, marks["start_ns"], marks["track"], marks["cpu"]))]
        names, places = words.given()
        state, lines = _State(), _library().chrome_lines

        def page(out: Any, room: int) -> int:
            size: int = lines(
                marks.ctypes.data, len(marks), ctypes.byref(names), ctypes.byref(state), out, room
            )
            return size

        for text in pages(page, lambda: bool(state.place < len(marks) or state.depth)):
            self._put(text)
        del places  # till here they are read

    def _marks(self, track: int, items: Array, names: Array, what: int = SLICE) -> Array:
        marks = np.zeros(len(items), MARK)
        marks["start_ns"], marks["end_ns"] = items["start_ns"], items["end_ns"]
        marks["start_ns"] -= np.uint64(self._zero)
        marks["end_ns"] -= np.uint64(self._zero)
        marks["cpu"], marks["track"] = items["cpu"], track
        marks["name"], marks["what"] = names, what
        return marks

    def _task_marks(self, words: Words) -> Array:
        fields = [("cpu", "<u2"), ("start_ns", "<u8"), ("end_ns", "<u8"), ("pid", "<i4")]
        items = np.array(self._tasks, fields)
        known: dict[str, int] = {}
        names = []
        for _, _, end, pid in self._tasks:
            said = f"{self._tables.tasks.comm(pid, end)} {pid}"
            if said not in known:
                known[said] = words.add(said)
            names.append(known[said])
        self._tasks.clear()
        return self._marks(TASKS, items, np.array(names, np.uint32))

    def _span_marks(self, items: Array, words: Words) -> Iterator[Array]:
        """Hard IRQs, softirqs with what interrupted them, and the packets of those that polled."""
        names = words.spans(items, self._tables)
        soft = items["kind"] == Kind.SOFTIRQ_ENTRY
        yield self._marks(HARDIRQS, items[~soft], names[~soft])
        yield self._marks(SOFTIRQS, items[soft], names[soft])
        inside = items[~soft & (items["in_softirq"] > 0)]
        yield self._marks(SOFTIRQS, inside, np.full(len(inside), words.add("interrupted")))
        polled = items[items["packets"] > 0]
        name = np.full(len(polled), words.add("packets"))
        rise = self._marks(COUNTERS, polled, name, COUNTER)
        rise["value"] = polled["packets"]
        fall = self._marks(COUNTERS, polled, name, COUNTER)
        fall["start_ns"] = fall["end_ns"]
        yield from (rise, fall)

    def _poll_marks(self, polls: Array, words: Words) -> Array:
        """Those in no softirq have only an end: a moment."""
        kinds, numbers = np.unique(polls[_POLL], return_inverse=True)
        devices = self._tables.devices
        said = [
            words.add(f"{devices.get(device, 'backlog')} {work}/{budget}")
            for device, work, budget in kinds.tolist()
        ]
        marks = self._marks(POLLS, polls, np.array(said, np.uint32)[numbers])
        lone = polls["start_ns"] == 0
        marks["what"][lone] = MOMENT
        marks["start_ns"][lone] = marks["end_ns"][lone]
        return marks


def _named(cpu: int) -> Iterator[str]:
    names = [("process_name", 0, f"CPU {cpu}")]
    names += [("thread_name", tid, name) for tid, name in enumerate(THREADS)]
    for kind, tid, name in names:
        yield json.dumps({"ph": "M", "pid": cpu, "tid": tid, "name": kind, "args": {"name": name}})
    for kind, tid in (("process_sort_index", 0), *(("thread_sort_index", t) for t in range(4))):
        index = cpu if kind == "process_sort_index" else tid
        yield json.dumps(
            {"ph": "M", "pid": cpu, "tid": tid, "name": kind, "args": {"sort_index": index}}
        )


class _OnCpu:
    """Who has a CPU, from one chunk to the next, as the replay has it."""

    def __init__(self, since: int) -> None:
        self._pid, self._since, self._last = NO_PID, since, since
        self._last_pid = NO_PID
        self._ended = self._switched = False

    def slices(self, events: EventArray) -> Iterator[tuple[int, int, int]]:
        """Start, end and pid of each slice that ends here."""
        if not len(events):
            return
        places = np.flatnonzero(np.isin(events["kind"], _EDGES))
        before = np.append(self._last, events["time_ns"])[places].tolist()
        edges = events[places][["time_ns", "kind", "pid", "id"]].tolist()
        for (time, kind, pid, following), last in zip(edges, before, strict=True):
            end = last if kind == Kind.LOST else time
            who = pid if kind in (Kind.SWITCH, Kind.END) and pid != NO_PID else self._pid
            if not self._ended and who != NO_PID and kind != Kind.BEGIN:
                yield self._since, max(end, self._since), who
            self._pid = {Kind.SWITCH: following, Kind.BEGIN: pid}.get(kind, NO_PID)
            self._since, self._ended = time, kind == Kind.END
            self._switched |= kind == Kind.SWITCH
        self._last = int(events["time_ns"][-1])
        self._last_pid = int(events["pid"][-1])

    def end(self, now: int) -> Iterator[tuple[int, int, int]]:
        """The slice that is open at the end of the recording."""
        who = self._pid if self._pid != NO_PID else self._last_pid
        if self._switched and not self._ended and who != NO_PID:
            yield self._since, now, who
