"""Interrupts and the softirqs that followed them, as groups: what a CPU did in one go.

A group begins with a hard IRQ, or with a softirq that no hard IRQ came before (run by a system
call, or by ksoftirqd), and holds the softirqs that follow at once and were raised before: where
raises were recorded, a system call's own softirqs are a group for each call. Handlers that come
right after each other (several devices on one line) begin one group.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np

from nettax.events.model import EVENT, Array, EventArray, Kind
from nettax.events.spans import SPAN, Part

__all__ = ["Groups", "groups"]

SAME_NS: Final = 1_000  # between handlers of one interrupt
FOLLOWS_NS: Final = 20_000  # between an interrupt, or a softirq, and the softirq that it leads to


class Groups(NamedTuple):
    """Groups of one CPU, in order of time: group i is `spans[first[i]:first[i + 1]]`."""

    cpu: int
    spans: Array
    """Of dtype SPAN: those at level 0, so that they follow each other."""
    first: Array
    """Where each group begins in `spans`; one more than there are groups, for the end."""
    gap_ns: Array
    """From the end of each group to the next interrupt or softirq; -1: the recording ends."""
    inside: Array
    """How many hard IRQs came inside the softirqs of each group."""
    polls: EventArray
    """NAPI_POLL events inside them."""
    poll_first: Array
    """As `first`, in `polls`."""
    until_ns: int
    """All groups of this CPU that began before then were given."""


def groups(parts: Iterable[Part]) -> Iterator[Groups]:
    """Go through what `spans()` gives; a group is given once the next has begun.

    Each part gives its CPU's `Groups`, which may be none.
    """
    left: dict[int, tuple[Array, Array, EventArray, Array]] = {}
    nothing = (np.empty(0, SPAN), np.empty(0, SPAN), np.empty(0, EVENT), np.empty(0, np.uint64))
    for part in parts:
        spans, nested, polls, switches = left.get(part.cpu, nothing)
        outer = part.spans["level"] == 0
        spans = np.concatenate([spans, part.spans[outer]])
        nested = np.concatenate([nested, part.spans[~outer]])
        polls = np.concatenate([polls, part.events[part.events["kind"] == Kind.NAPI_POLL]])
        times = part.events["time_ns"][part.events["kind"] == Kind.SWITCH]
        switches = np.concatenate([switches, times])
        starts = _starts(spans, switches)
        if part.last:
            cut, then = len(spans), part.open_ns
        elif len(starts):
            cut, then = int(starts[-1]), int(spans["start_ns"][starts[-1]])
            starts = starts[:-1]
        else:
            cut, then = 0, None
        since = spans["start_ns"][cut] if cut < len(spans) else 2**64 - 1
        left[part.cpu] = (
            spans[cut:],
            nested[nested["start_ns"] >= since],
            polls[polls["time_ns"] >= since],
            switches[switches >= since],
        )
        ends = part.events["time_ns"][-1:].tolist() if cut == len(spans) else [since]
        yield _groups(part.cpu, spans[:cut], starts, then, polls, nested)._replace(
            until_ns=2**64 if part.last else int(ends[0]) if ends else 0
        )


def _starts(spans: Array, switches: Array) -> Array:
    """Which spans begin a group."""
    if not len(spans):
        return np.empty(0, np.int64)
    soft = spans["kind"] == Kind.SOFTIRQ_ENTRY
    ends, begins = spans["end_ns"][:-1], spans["start_ns"][1:]
    between = (begins - ends).astype(np.int64)
    switched = np.searchsorted(switches, begins) > np.searchsorted(switches, ends)
    after_hard = ~soft[:-1] & ~soft[1:] & (between <= SAME_NS)
    follows = soft[1:] & (between <= FOLLOWS_NS) & (spans["raised_ns"][1:] <= ends)
    return np.flatnonzero(np.concatenate([[True], switched | ~(after_hard | follows)]))


def _groups(
    cpu: int, spans: Array, starts: Array, then: int | None, polls: EventArray, nested: Array
) -> Groups:
    first = np.append(starts, len(spans))
    begins, ends = spans["start_ns"][starts], spans["end_ns"][first[1:] - 1]
    nexts = np.append(begins[1:], np.uint64(then or 0))[: len(starts)]
    gap = (nexts - ends).astype(np.int64)
    if then is None:
        gap[-1:] = -1
    place = np.searchsorted(begins, polls["time_ns"], side="right") - 1
    within = place >= 0
    within[within] = polls["time_ns"][within] <= ends[place[within]]
    polls, place = polls[within], place[within]
    deep = np.searchsorted(begins, nested["start_ns"], side="right") - 1
    return Groups(
        cpu,
        spans,
        first,
        gap,
        np.bincount(deep[deep >= 0], minlength=len(starts)),
        polls,
        np.searchsorted(place, np.arange(len(starts) + 1)),
        0,
    )
