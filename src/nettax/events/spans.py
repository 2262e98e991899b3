"""Entries and exits made into spans: hard IRQs, softirqs and the polls inside them, in bulk.

Within a CPU they nest like brackets. So an entry whose next bracket is its exit is a span; these
are taken out, then the same holds for what was around them, and so on: as many passes over the
array as there are levels. What never finds its other half (at either end of the recording, around
lost events) is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from nettax.events.model import EVENT, EVERY_CPU, Array, EventArray, Kind

__all__ = ["NET_RX", "SPAN", "Part", "spans"]

NET_RX: Final = 3  # include/linux/interrupt.h

SPAN: Final = np.dtype(
    [
        ("start_ns", "<u8"),
        ("end_ns", "<u8"),
        ("hard_ns", "<u8"),  # of a softirq: hard IRQs inside it
        ("raised_ns", "<u8"),  # of a softirq: when it was raised; 0: not seen
        ("pid", "<i4"),
        ("id", "<i4"),  # as in the entry's event, as is `name`
        ("name", "<i4"),
        ("polls", "<u4"),  # of a softirq: NAPI polls inside it,
        ("packets", "<u4"),  # the packets that they told,
        ("full", "<u4"),  # and those that used up their budget
        ("kind", "u1"),  # of the entry's event
        ("flags", "u1"),
        ("level", "u1"),  # how many spans are around it
    ]
)
ENTRIES = (Kind.HARDIRQ_ENTRY, Kind.VECTOR_ENTRY, Kind.SOFTIRQ_ENTRY)
EXITS = (Kind.HARDIRQ_EXIT, Kind.VECTOR_EXIT, Kind.SOFTIRQ_EXIT)
MOST_OPEN = 1 << 18  # events: whatever was entered so long ago, its exit was lost
# Where nothing can be open: a switch, and where the recording begins, ends or has a hole.
BREAKS = (Kind.SWITCH, Kind.LOST, Kind.BEGIN, Kind.END)


class Part(NamedTuple):
    """What one chunk completed on one CPU."""

    cpu: int
    spans: Array
    """Of dtype SPAN, by start."""
    events: EventArray
    """Its events from the first that was not told yet, to where these spans end."""
    last: bool = False
    """Whether this is all; it need not hold anything."""
    open_ns: int | None = None
    """With `last`: when the first entry came whose exit the recording does not have."""


@dataclass(slots=True)
class _Cpu:
    """What the chunks so far left to do on one CPU."""

    events: EventArray
    raised: EventArray


def spans(chunks: Iterable[EventArray]) -> Iterator[Part]:
    """Go through a recording's chunks; each gives a part for every CPU with events in it."""
    nothing = np.empty(0, EVENT)
    left: dict[int, _Cpu] = {}
    for chunk in chunks:
        everywhere = chunk["cpu"] == EVERY_CPU
        for cpu in np.unique(chunk["cpu"]).tolist():
            if cpu == EVERY_CPU:
                continue
            state = left.setdefault(cpu, _Cpu(nothing, nothing))
            events = chunk[(chunk["cpu"] == cpu) | everywhere]
            yield _complete(cpu, np.concatenate([state.events, events]), state)
    for cpu, state in sorted(left.items()):
        opened = np.flatnonzero(np.isin(state.events["kind"], ENTRIES))
        when = int(state.events["time_ns"][opened[0]]) if len(opened) else None
        yield _complete(cpu, state.events, state, last=True)._replace(open_ns=when)


def _complete(cpu: int, events: EventArray, state: _Cpu, last: bool = False) -> Part:
    """What of these events is over; the rest, from the first entry still open, stays."""
    place = np.flatnonzero(np.isin(events["kind"], ENTRIES + EXITS + BREAKS))
    brackets = events[place]
    begin, end, levels, still = _match(brackets)
    if len(still) and not last and len(events) - place[still[0]] < MOST_OPEN:
        cut = int(still[0])
        done = begin < cut
        begin, end, levels = begin[done], end[done], levels[done]
        state.events = events[place[cut] :]
        events = events[: place[cut]]
    else:
        state.events = events[:0]
    found = _spans(brackets, begin, end, levels)
    _count_polls(found, events[events["kind"] == Kind.NAPI_POLL])
    raised = np.concatenate([state.raised, events[events["kind"] == Kind.SOFTIRQ_RAISE]])
    _find_raises(found, raised)
    state.raised = _unserved(raised, found)
    return Part(cpu, found, events, last)


def _match(brackets: EventArray) -> tuple[Array, Array, Array, Array]:
    """Where spans begin and end, how deep they lie, and the entries that are still open."""
    kinds = brackets["kind"]
    # 1 to 3: an entry of that kind; 4 to 6: its exit; 0: a break
    code = np.zeros(256, np.int8)
    code[list(ENTRIES)], code[list(EXITS)] = (1, 2, 3), (4, 5, 6)
    codes = code[kinds]
    ids = brackets["id"]
    left = np.arange(len(brackets))
    starts: list[Array] = []
    ends: list[Array] = []
    while len(left) > 1:
        one, two = left[:-1], left[1:]
        closed = (codes[one] > 0) & (codes[one] + 3 == codes[two]) & (ids[one] == ids[two])
        if not closed.any():
            break
        starts.append(one[closed])
        ends.append(two[closed])
        keep = np.ones(len(left), bool)
        keep[:-1][closed] = False
        keep[1:][closed] = False
        left = left[keep]
    first = np.concatenate(starts) if starts else np.empty(0, np.int64)
    last = np.concatenate(ends) if ends else np.empty(0, np.int64)
    order = np.argsort(first)
    first, last = first[order], last[order]
    steps = np.zeros(len(brackets) + 1, np.int32)
    steps[first + 1] += 1
    steps[last] -= 1
    levels = np.cumsum(steps)[first]
    barriers = left[(codes[left] == 0) | (codes[left] > 3)]
    still = left[left > (barriers[-1] if len(barriers) else -1)]
    return first, last, levels, still


def _spans(brackets: EventArray, first: Array, last: Array, levels: Array) -> Array:
    found = np.zeros(len(first), SPAN)
    entries = brackets[first]
    found["start_ns"], found["end_ns"] = entries["time_ns"], brackets["time_ns"][last]
    for field, source in (("pid", "pid"), ("id", "id"), ("kind", "kind"), ("flags", "flags")):
        found[field] = entries[source]
    found["name"], found["level"] = entries["a"], levels
    soft = np.flatnonzero(found["kind"] == Kind.SOFTIRQ_ENTRY)
    # Inside a softirq, the outermost hard IRQs are one level deeper.
    hard = found[(found["kind"] != Kind.SOFTIRQ_ENTRY) & (found["level"] == 1)]
    total = np.concatenate([[0], np.cumsum(hard["end_ns"] - hard["start_ns"])])
    until = np.searchsorted(hard["start_ns"], found["end_ns"][soft])
    since = np.searchsorted(hard["start_ns"], found["start_ns"][soft])
    found["hard_ns"][soft] = total[until] - total[since]
    return found


def _count_polls(found: Array, polls: EventArray) -> None:
    """Say of each NET_RX softirq what was polled in it."""
    rx = np.flatnonzero((found["kind"] == Kind.SOFTIRQ_ENTRY) & (found["id"] == NET_RX))
    if not len(rx) or not len(polls):
        return
    place = np.searchsorted(found["start_ns"][rx], polls["time_ns"], side="right") - 1
    inside = (place >= 0) & (polls["time_ns"] <= found["end_ns"][rx[place]])
    place, polls = place[inside], polls[inside]
    size = len(rx)
    found["polls"][rx] = np.bincount(place, minlength=size)
    found["packets"][rx] = np.bincount(place, np.maximum(polls["a"], 0), size)
    found["full"][rx] = np.bincount(place, (polls["b"] > 0) & (polls["a"] >= polls["b"]), size)


def _find_raises(found: Array, raised: EventArray) -> None:
    """Say of each softirq when it was first raised since its vector's run before began."""
    soft = found["kind"] == Kind.SOFTIRQ_ENTRY
    for vector in np.unique(raised["id"]).tolist():
        mine = np.flatnonzero(soft & (found["id"] == vector))
        times = raised["time_ns"][raised["id"] == vector]
        starts = found["start_ns"][mine]
        previous = np.concatenate([[0], starts[:-1]]).astype(np.uint64)
        place = np.searchsorted(times, previous)
        there = place < len(times)
        when = np.where(there, times[np.minimum(place, len(times) - 1)], 0)
        found["raised_ns"][mine] = np.where(when <= starts, when, 0)


def _unserved(raised: EventArray, found: Array) -> EventArray:
    """The raises that no run since has served."""
    keep = np.ones(len(raised), bool)
    soft = found[found["kind"] == Kind.SOFTIRQ_ENTRY]
    for vector in np.unique(raised["id"]).tolist():
        starts = soft["start_ns"][soft["id"] == vector]
        if len(starts):
            keep &= (raised["id"] != vector) | (raised["time_ns"] > starts[-1])
    return raised[keep]
