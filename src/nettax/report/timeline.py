"""A recording as a timeline: one line for each interrupt and what it led to."""

from __future__ import annotations

import csv
import ctypes
import io
import json
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

from nettax.events.groups import in_order, newest
from nettax.events.model import Array, Kind, Recording, Tables
from nettax.events.spans import Spans, spans
from nettax.native import library
from nettax.report.sheet import Names, Words, name_of_span, pages
from nettax.report.table import safe

__all__ = ["CSV_COLUMNS", "SCHEMA", "Choice", "csv_text", "json_lines", "rows", "text"]

SCHEMA: Final = "nettax.timeline/1"
CSV_COLUMNS: Final = (
    *("time_ns", "end_ns", "cpu", "pid", "task", "hardirqs", "hardirq_ns", "softirqs"),
    *("softirq_ns", "polls", "packets", "interrupted", "gap_ns"),
)
_MOST_CACHED = 1 << 16
_SPAN = ["level", "kind", "id", "name", "start_ns", "end_ns", "hard_ns"]
_POLL = ["device", "work", "budget"]
_GROUP = [
    *("start_ns", "end_ns", "gap_ns", "first_span", "first_poll"),
    *("spans", "polls", "inside", "pid", "cpu"),
]

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which groups to show; None: all."""

    pids: Container[int] | None = None
    """Of the task that was interrupted, or ran its softirqs itself; or of its process."""
    task: str | None = None
    """That task's name."""
    vector: int | None = None
    """A softirq vector that must be among its softirqs."""
    head: int | None = None
    """So many, the first of all."""
    tail: int | None = None
    """So many, the last of all."""

    def groups(self, recording: Recording) -> Iterator[Spans]:
        """Those chosen, by the time they began."""
        found = self._chosen(recording)
        if self.head is not None:
            found = _first(found, self.head)
        return found if self.tail is None else iter([newest(found, self.tail)])

    def _chosen(self, recording: Recording) -> Iterator[Spans]:
        for part in in_order(spans(recording.chunks())):
            chosen = self._of(part, recording.tables)
            yield part if chosen is None else part._replace(groups=part.groups[chosen])

    def _of(self, part: Spans, tables: Tables) -> Array | None:
        """Where the groups are that are chosen; None: all are."""
        if self.pids is None and self.task is None and self.vector is None:
            return None
        places = np.arange(len(part.groups)) if self.vector is None else _with(part, self.vector)
        if self.pids is not None or self.task is not None:
            who = part.groups[places][["pid", "start_ns"]].tolist()
            mine = [self._whose(tables, pid, ns) for pid, ns in who]
            places = places[np.array(mine, bool)]
        return places

    def _whose(self, tables: Tables, pid: int, time_ns: int) -> bool:
        if self.task is not None and tables.tasks.comm(pid, time_ns) != self.task:
            return False
        if self.pids is None or pid in self.pids:
            return True
        task = tables.tasks.at(pid, time_ns)
        return task is not None and task.tgid in self.pids


def _with(part: Spans, vector: int) -> Array:
    """Where the groups are that have a softirq of this vector."""
    items = part.spans
    mine = (items["kind"] == Kind.SOFTIRQ_ENTRY) & (items["id"] == vector) & (items["level"] == 0)
    before = np.append(0, np.cumsum(mine))
    first = part.groups["first_span"].astype(np.int64)
    return np.flatnonzero(before[first + part.groups["spans"]] > before[first])


def _first(parts: Iterable[Spans], count: int) -> Iterator[Spans]:
    """The first so many groups; what comes behind them is not read."""
    for part in parts:
        yield part._replace(groups=part.groups[:count])
        count -= len(part.groups)
        if count <= 0:
            return


class _Cache(dict[Any, str]):
    """What a function says of each key."""

    def __init__(self, say: Callable[[Any], str]) -> None:
        self._say = say

    def __missing__(self, key: Any) -> str:
        if len(self) >= _MOST_CACHED:
            self.clear()
        said = self[key] = self._say(key)
        return said


def rows(recording: Recording, choice: Choice | None = None) -> Iterator[Row]:
    """The groups of all CPUs by the time they began, as `nettax.timeline/1` has them."""
    comm, device_of = recording.tables.tasks.comm, recording.tables.devices.get
    name_of = _Cache(lambda key: name_of_span(recording.tables, *key))
    for part in (choice or Choice()).groups(recording):
        items, polls = part.spans[_SPAN].tolist(), part.polls[_POLL].tolist()
        for start, end, gap, first, poll, count, polled, inside, pid, cpu in part.groups[
            _GROUP
        ].tolist():
            hard, soft = [], []
            for level, kind, number, name, since, until, hard_ns in items[first : first + count]:
                if level:
                    continue
                said = name_of[kind, number, name]
                if kind == Kind.SOFTIRQ_ENTRY:
                    soft.append({"vector": said.lower(), "ns": until - since - hard_ns})
                else:
                    hard.append({"irq": number, "name": said, "ns": until - since})
            yield {
                "schema": SCHEMA,
                "time_ns": start,
                "cpu": cpu,
                "pid": pid,
                "task": comm(pid, start),
                "hardirqs": hard,
                "softirqs": soft,
                "polls": [
                    {"device": device_of(device), "work": work, "budget": budget}
                    for device, work, budget in polls[poll : poll + polled]
                ],
                "interrupted": inside,
                "end_ns": end,
                "gap_ns": gap if gap >= 0 else None,
            }


def json_lines(recording: Recording, choice: Choice | None = None) -> Iterator[str]:
    """A document for each group."""
    return map(json.JSONEncoder(separators=(",", ":")).encode, rows(recording, choice))


def csv_text(recording: Recording, choice: Choice | None = None) -> Iterator[str]:
    """A line for each group, below the names of the columns; names in one cell by `;`."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in rows(recording, choice):
        writer.writerow(
            [
                *(row[name] for name in ("time_ns", "end_ns", "cpu", "pid", "task")),
                ";".join(irq["name"] for irq in row["hardirqs"]),
                sum(irq["ns"] for irq in row["hardirqs"]),
                ";".join(soft["vector"] for soft in row["softirqs"]),
                sum(soft["ns"] for soft in row["softirqs"]),
                len(row["polls"]),
                sum(poll["work"] for poll in row["polls"]),
                row["interrupted"],
                row["gap_ns"],
            ]
        )
        if buffer.tell() > 1 << 16:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def text(recording: Recording, choice: Choice | None = None) -> Iterator[str]:
    """Lines for people, many in each string."""
    for part in (choice or Choice()).groups(recording):
        yield from _lines(part, recording.tables)


class _Part(ctypes.Structure):
    """struct timeline_part (native/timeline.h)."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("groups", "spans", "polls")),
        ("count", ctypes.c_size_t),
        *((name, ctypes.c_void_p) for name in ("tasks", "labels")),
    )


@cache
def _library() -> ctypes.CDLL:
    native = library()
    native.timeline_lines.restype = ctypes.c_size_t
    native.timeline_lines.argtypes = (
        *map(ctypes.POINTER, (_Part, Names, ctypes.c_size_t)),
        *(ctypes.c_char_p, ctypes.c_size_t),
    )
    return native


def _lines(part: Spans, tables: Tables) -> Iterator[str]:
    """The groups of a part, put into words in C (native/timeline.c)."""
    if not len(part.groups):
        return
    write = _library().timeline_lines
    words = Words(safe)
    groups = np.ascontiguousarray(part.groups)
    numbers = (_tasks(groups, tables, words), words.spans(part.spans, tables))
    names, places = words.given()
    data = [array.ctypes.data for array in (groups, part.spans, part.polls)]
    given = _Part(*data, len(groups), *(number.ctypes.data for number in numbers))
    place = ctypes.c_size_t(0)

    def page(out: Any, room: int) -> int:
        size: int = write(*map(ctypes.byref, (given, names, place)), out, room)
        return size

    for text in pages(page, lambda: place.value < len(groups)):
        yield text.decode()
    del places  # till here they are read


def _tasks(groups: Array, tables: Tables, words: Words) -> Array:
    """The number in `words` of the task of each group."""
    tasks, first, last = tables.tasks, int(groups["start_ns"].min()), int(groups["start_ns"].max())
    numbers = words.numbered(groups["pid"], lambda pid: f"{tasks.comm(pid, first):<16}")
    pids = np.unique(groups["pid"]).tolist()
    renamed = [pid for pid in pids if tasks.at(pid, first) is not tasks.at(pid, last)]
    for place in np.flatnonzero(np.isin(groups["pid"], renamed)).tolist():
        pid, start = groups[["pid", "start_ns"]][place].tolist()
        numbers[place] = words.add(f"{tasks.comm(pid, start):<16}")
    return numbers
