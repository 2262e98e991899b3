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

import itertools
import json
from collections.abc import Callable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import TextIO

import numpy as np

from nettax.events.model import (
    EVERY_CPU,
    NO_PID,
    VECTOR_NAMES,
    Array,
    EventArray,
    Kind,
    Recording,
    Tables,
)
from nettax.events.spans import spans
from nettax.ledger.rows import VECTORS

__all__ = ["write"]

TASKS, SOFTIRQS, HARDIRQS, POLLS = range(4)
THREADS = ("task", "softirq", "hard IRQ", "NAPI poll")
# Where a task's time on its CPU begins or ends, or is not known any more.
_EDGES = (Kind.SWITCH, Kind.BEGIN, Kind.END, Kind.LOST)
_SPAN = ["cpu", "start_ns", "end_ns", "kind", "id", "name", "packets", "in_softirq"]
_POLL = ["cpu", "start_ns", "end_ns", "device", "work", "budget"]


def write(recording: Recording, path: Path) -> None:
    """Write the trace of a whole recording; memory stays bounded.

    :raises OSError: the file cannot be written
    """
    with path.open("w", encoding="ascii") as out:
        _Writer(recording, out).write()


class _Writer:
    """Goes through a recording once."""

    def __init__(self, recording: Recording, out: TextIO) -> None:
        self._recording, self._tables, self._out = recording, recording.tables, out
        self._on_cpu: dict[int, _OnCpu] = {}
        self._lines: list[str] = []  # of events that were read, but not written
        self._zero = self._now = 0
        self._name = _namer(recording.tables)

    def write(self) -> None:
        """The whole document."""
        self._out.write('{"displayTimeUnit": "ns", "traceEvents": [\n')
        between = ""
        for part in spans(self._chunks()):
            self._lines += self._slices(part.spans)
            self._lines += self._polls(part.polls)
            if self._lines:
                self._out.write(between + ",\n".join(self._lines))
                self._lines.clear()
                between = ",\n"
        about = {"clock": self._recording.clock, "zero_ns": str(self._zero)}
        self._out.write(f'\n], "otherData": {json.dumps(about)}}}\n')

    def _chunks(self) -> Iterator[EventArray]:
        """The chunks; who had each CPU is told on the way."""
        for chunk in self._recording.chunks():
            if not self._now and len(chunk):
                self._zero = int(chunk["time_ns"][0])
            self._add_tasks(chunk)
            yield chunk
        for cpu, state in sorted(self._on_cpu.items()):
            self._lines += self._task_slices(cpu, state.end(self._now))

    def _add_tasks(self, chunk: EventArray) -> None:
        everywhere = chunk["cpu"] == EVERY_CPU
        for cpu in np.unique(chunk["cpu"][~everywhere]).tolist():
            if cpu not in self._on_cpu:
                self._on_cpu[cpu] = _OnCpu(self._zero)
                self._lines += _named(cpu)
        for cpu, state in self._on_cpu.items():
            events = chunk[(chunk["cpu"] == cpu) | everywhere]
            self._lines += self._task_slices(cpu, state.slices(events))
        if len(chunk):
            self._now = int(chunk["time_ns"][-1])

    def _task_slices(self, cpu: int, slices: Iterator[tuple[int, int, int]]) -> Iterator[str]:
        comm = self._tables.tasks.comm
        for start, end, pid in slices:
            name = json.dumps(f"{comm(pid, end)} {pid}")
            yield self._event("B", cpu, TASKS, name, start)
            yield self._event("E", cpu, TASKS, name, end)

    def _event(self, phase: str, cpu: int, tid: int, name: str, time: int, more: str = "") -> str:
        """`name` and `more` are JSON already."""
        ns = time - self._zero
        return (
            f'{{"ph":"{phase}","pid":{cpu},"tid":{tid},"name":{name},'
            f'"ts":{ns // 1000}.{ns % 1000:03}{more}}}'
        )

    def _nested(self, cpu: int, tid: int, slices: list[tuple[int, int, str]]) -> Iterator[str]:
        """Slices of a track, by their starts, the longer ones first: beginnings and ends."""
        around: list[tuple[int, str]] = []
        for start, end, name in slices:
            while around and around[-1][0] <= start:
                until, its = around.pop()
                yield self._event("E", cpu, tid, its, until)
            yield self._event("B", cpu, tid, name, start)
            around.append((end, name))
        while around:
            until, its = around.pop()
            yield self._event("E", cpu, tid, its, until)

    def _slices(self, items: Array) -> Iterator[str]:
        """Hard IRQs, softirqs, and the packets of those that polled."""
        longest = np.uint64(2**64 - 1) - items["end_ns"]
        rows = items[_SPAN][np.lexsort((longest, items["start_ns"], items["cpu"]))].tolist()
        for cpu, mine in itertools.groupby(rows, key=itemgetter(0)):
            hard: list[tuple[int, int, str]] = []
            soft: list[tuple[int, int, str]] = []
            for _, start, end, kind, number, name, packets, in_softirq in mine:
                said = self._name(kind, number, name)
                if kind != Kind.SOFTIRQ_ENTRY:
                    hard.append((start, end, said))
                    if in_softirq:
                        soft.append((start, end, '"interrupted"'))
                    continue
                soft.append((start, end, said))
                if packets:
                    yield self._counter(cpu, start, packets)
                    yield self._counter(cpu, end, 0)
            yield from self._nested(cpu, HARDIRQS, hard)
            yield from self._nested(cpu, SOFTIRQS, soft)

    def _counter(self, cpu: int, time: int, packets: int) -> str:
        return self._event("C", cpu, 0, '"packets"', time, f',"args":{{"packets":{packets}}}')

    def _polls(self, polls: Array) -> Iterator[str]:
        """Those in no softirq have only an end: a moment."""
        for cpu, start, end, device, work, budget in polls[_POLL].tolist():
            name = json.dumps(f"{self._tables.devices.get(device, 'backlog')} {work}/{budget}")
            if start:
                yield self._event("B", cpu, POLLS, name, start)
                yield self._event("E", cpu, POLLS, name, end)
            else:
                yield self._event("i", cpu, POLLS, name, end, ',"s":"t"')


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


def _namer(tables: Tables) -> Callable[[int, int, int], str]:
    known: dict[tuple[int, int, int], str] = {}

    def name_of(kind: int, number: int, name: int) -> str:
        key = (kind, number, name)
        if key not in known:
            if kind == Kind.SOFTIRQ_ENTRY:
                in_range = 0 <= number < len(VECTORS)
                text = VECTORS[number].upper() if in_range else f"softirq {number}"
            elif kind == Kind.VECTOR_ENTRY:
                in_range = 0 <= name < len(VECTOR_NAMES)
                text = VECTOR_NAMES[name] if in_range else f"vector {number}"
            else:
                text = tables.irqs.get(number) or f"IRQ {number}"
            known[key] = json.dumps(text)
        return known[key]

    return name_of


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
