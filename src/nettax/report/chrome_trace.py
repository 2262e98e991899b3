"""A recording as a Chrome trace: JSON that ui.perfetto.dev and chrome://tracing open.

Format: "Trace Event Format", the Chromium project's document. A CPU is a process there, with a
thread for each level: tasks, softirqs, hard IRQs, NAPI polls; and a counter of packets. Times are
µs with three decimals, of the recording's clock. A slice of a softirq has the hard IRQs inside it;
its argument `ns` is what the ledger charges, without them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from nettax.events.model import NO_PID, VECTOR_NAMES, EventArray, Kind, Recording, Tables
from nettax.events.spans import Part, spans
from nettax.ledger.rows import VECTORS

__all__ = ["write"]

TASKS, SOFTIRQS, HARDIRQS, POLLS = range(4)
THREADS = ("task", "softirq", "hard IRQ", "NAPI poll")
# Where a task's time on its CPU begins or ends, or is not known any more.
_EDGES = (Kind.SWITCH, Kind.BEGIN, Kind.END, Kind.LOST)


def write(recording: Recording, path: Path) -> None:
    """Write the trace of a whole recording; memory stays bounded.

    :raises OSError: the file cannot be written
    """
    tasks: dict[int, _OnCpu] = {}
    with path.open("w") as out:
        out.write('{"displayTimeUnit": "ns", "traceEvents": [\n')
        first = True
        for part in spans(recording.chunks()):
            if part.cpu not in tasks:
                tasks[part.cpu] = _OnCpu()
                lines = list(_named(part.cpu))
            else:
                lines = []
            lines += _slices(part, recording.tables)
            lines += tasks[part.cpu].slices(part, recording.tables)
            if lines:
                out.write(("" if first else ",\n") + ",\n".join(lines))
                first = False
        out.write("\n]}\n")


def _named(cpu: int) -> Iterator[str]:
    names = [("process_name", 0, f"CPU {cpu}")]
    names += [("thread_name", tid, name) for tid, name in enumerate(THREADS)]
    for kind, tid, name in names:
        yield json.dumps({"ph": "M", "pid": cpu, "tid": tid, "name": kind, "args": {"name": name}})
    yield json.dumps(
        {"ph": "M", "pid": cpu, "tid": 0, "name": "process_sort_index", "args": {"sort_index": cpu}}
    )


def _us(ns: int) -> str:
    return f"{ns // 1000}.{ns % 1000:03d}"


def _slice(cpu: int, tid: int, name: str, start: int, end: int, args: str = "") -> str:
    """One complete event; `name` and `args` are JSON already."""
    times = f'"ts":{_us(start)},"dur":{_us(end - start)}'
    more = f',"args":{{{args}}}' if args else ""
    return f'{{"ph":"X","pid":{cpu},"tid":{tid},"name":{name},{times}{more}}}'


def _slices(part: Part, tables: Tables) -> Iterator[str]:
    """Hard IRQs, softirqs, and the packets of those that polled."""
    cpu = part.cpu
    name_of = _namer(tables)
    fields = ["start_ns", "end_ns", "hard_ns", "kind", "id", "name", "pid", "polls", "packets"]
    for start, end, hard, kind, number, name, pid, polls, packets in part.spans[fields].tolist():
        soft = kind == Kind.SOFTIRQ_ENTRY
        args = f'"ns":{end - start - hard},"pid":{pid}'
        if polls:
            args += f',"packets":{packets}'
            yield (
                f'{{"ph":"C","pid":{cpu},"tid":0,"name":"packets","ts":{_us(end)},'
                f'"args":{{"packets":{packets}}}}}'
            )
        tid = SOFTIRQS if soft else HARDIRQS
        yield _slice(cpu, tid, name_of(kind, number, name), start, end, args)
    yield from _polls(part, tables)


def _namer(tables: Tables) -> Callable[[int, int, int], str]:
    known: dict[tuple[int, int, int], str] = {}

    def name_of(kind: int, number: int, name: int) -> str:
        key = (kind, number, name)
        if key not in known:
            if kind == Kind.SOFTIRQ_ENTRY:
                text = VECTORS[number].upper() if number < len(VECTORS) else f"softirq {number}"
            elif kind == Kind.VECTOR_ENTRY:
                text = VECTOR_NAMES[name]
            else:
                text = tables.irqs.get(number, f"IRQ {number}")
            known[key] = json.dumps(text)
        return known[key]

    return name_of


def _polls(part: Part, tables: Tables) -> Iterator[str]:
    """A poll began where the one before it in its softirq ended, or where that softirq began."""
    polls = part.events[part.events["kind"] == Kind.NAPI_POLL]
    soft = part.spans[part.spans["kind"] == Kind.SOFTIRQ_ENTRY]
    if not len(polls) or not len(soft):
        return
    times = polls["time_ns"]
    place = np.searchsorted(soft["start_ns"], times, side="right") - 1
    inside = (place >= 0) & (times <= soft["end_ns"][np.maximum(place, 0)])
    before = np.concatenate([[0], times[:-1]]).astype(np.uint64)
    starts = np.maximum(soft["start_ns"][np.maximum(place, 0)], before)
    fields = polls[["time_ns", "id", "a", "b"]][inside].tolist()
    for start, (end, device, work, budget) in zip(starts[inside].tolist(), fields, strict=True):
        name = json.dumps(f"{tables.devices.get(device, 'backlog')} {work}/{budget}")
        yield _slice(part.cpu, POLLS, name, start, end, f'"work":{work},"budget":{budget}')


class _OnCpu:
    """Who has a CPU, from one part of a recording to the next."""

    def __init__(self) -> None:
        self._pid, self._since = NO_PID, 0

    def slices(self, part: Part, tables: Tables) -> Iterator[str]:
        edges: EventArray = part.events[np.isin(part.events["kind"], _EDGES)]
        for time, kind, pid, following in edges[["time_ns", "kind", "pid", "id"]].tolist():
            if kind in (Kind.SWITCH, Kind.END) and self._since and pid != NO_PID:
                yield self._slice(part.cpu, pid, time, tables)
            self._pid = following if kind == Kind.SWITCH else pid if kind == Kind.BEGIN else NO_PID
            self._since = time if kind in (Kind.SWITCH, Kind.BEGIN) else 0

    def _slice(self, cpu: int, pid: int, time: int, tables: Tables) -> str:
        name = json.dumps(tables.tasks.comm(pid, time))
        # The one that leaves is the one that came, unless the host hid a switch between them.
        more = "" if pid == self._pid else f',"came":{self._pid}'
        return _slice(cpu, TASKS, name, self._since, time, f'"pid":{pid}{more}')
