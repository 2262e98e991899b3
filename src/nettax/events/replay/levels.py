"""The two upper levels of a CPU, hard IRQs and softirqs, out of its events: whole arrays at a time.

Both only count upwards; what a slice had of them is a difference. The rules are those of
docs/ledger.md, worked out by running sums where the kernel's side follows one event after another.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from nettax.events.model import IPI_NAMES, Array, Flag, Kind

__all__ = ["NR_VECTORS", "Columns", "LevelState", "Levels", "follow"]

NR_VECTORS: Final = 10
NET_RX: Final = 3
IRQ_EXIT, BH_ENABLE, UNKNOWN = range(3)  # triggers

_TRIGGERS = np.array([UNKNOWN, IRQ_EXIT, BH_ENABLE, BH_ENABLE])
_STEP = np.zeros(256, np.int64)
_STEP[[Kind.HARDIRQ_ENTRY, Kind.VECTOR_ENTRY]] = 1
_STEP[[Kind.HARDIRQ_EXIT, Kind.VECTOR_EXIT]] = -1
# Where no hard IRQ can be under way: one that seems to be has lost its exit.
_HEALS = np.zeros(256, bool)
_HEALS[[Kind.SOFTIRQ_ENTRY, Kind.SWITCH, Kind.LOST]] = True
_AT_HARD = _HEALS | (_STEP != 0)
_AT_SOFT = np.zeros(256, bool)
_AT_SOFT[[Kind.SOFTIRQ_ENTRY, Kind.SOFTIRQ_EXIT, Kind.SWITCH, Kind.LOST]] = True


@dataclass(slots=True)
class Columns:
    """The events of one CPU, column by column."""

    time: Array
    kind: Array
    pid: Array
    id: Array
    a: Array
    flags: Array
    value: Array
    place: Array
    """Of each in its chunk."""


@dataclass(slots=True)
class LevelState:
    """What carries over from one chunk to the next, and the totals so far."""

    depth: int = 0
    hard_since: int = 0
    hard_grace: bool = True
    """The exit of what was under way at the beginning is expected."""
    vector: int = -1
    """Of the softirq under way; -1: none."""
    soft_since: int = 0
    soft_hard: int = 0
    """`hard_ns` then."""
    trigger: int = UNKNOWN
    soft_grace: bool = True
    poll_since: int = 0
    poll_hard: int = 0
    hard_ns: int = 0
    interrupts: int = 0
    ipis: int = 0
    polls: int = 0
    packets: int = 0
    softirq_packets: int = 0
    unmatched: int = 0
    soft_ns: Array = field(default_factory=lambda: np.zeros(NR_VECTORS, np.int64))
    soft_count: Array = field(default_factory=lambda: np.zeros(NR_VECTORS, np.int64))
    trigger_ns: Array = field(default_factory=lambda: np.zeros(3, np.int64))


@dataclass(frozen=True, slots=True)
class Levels:
    """What follows from a stretch of events."""

    hard_ns: Array
    """Time in hard IRQs up to and with each event, since the beginning of the recording."""
    interrupts: Array
    """Their number, likewise."""
    hard_end: Array
    """Places, in the columns, of the events that end a hard IRQ."""
    hard_runs: Array
    """How long each took, ns."""
    soft_end: Array
    """Places of the events that end a softirq,"""
    soft_runs: Array
    """how long it took less the hard IRQs inside, ns,"""
    soft_vector: Array
    soft_trigger: Array
    poll_runs: Array
    """How long each poll within NET_RX softirqs took, ns."""


def follow(state: LevelState, events: Columns) -> Levels:
    """Follow both levels through the events, from the state on, which is brought up to date."""
    n = len(events.time)
    hard_end, hard_runs = _hard(state, events)
    if len(hard_end):
        grown = np.zeros(n, np.int64)
        grown[hard_end] = hard_runs
        hard_ns = state.hard_ns + np.cumsum(grown)
        grown[hard_end] = 1
        interrupts = state.interrupts + np.cumsum(grown)
    else:
        hard_ns = np.broadcast_to(np.int64(state.hard_ns), n)
        interrupts = np.broadcast_to(np.int64(state.interrupts), n)
    soft = np.flatnonzero(_AT_SOFT[events.kind])
    poll_runs = _polls(state, events, soft, hard_ns)
    soft_end, soft_runs, vectors, triggers = _soft(state, events, soft, hard_ns)
    if n:
        state.hard_ns, state.interrupts = int(hard_ns[-1]), int(interrupts[-1])
    return Levels(
        hard_ns,
        interrupts,
        hard_end,
        hard_runs,
        soft_end,
        soft_runs,
        vectors,
        triggers,
        poll_runs,
    )


def _hard(state: LevelState, events: Columns) -> tuple[Array, Array]:
    """Ends of hard IRQs, nested ones being part of the outermost, and how long those took."""
    at = np.flatnonzero(_AT_HARD[events.kind])
    kinds = events.kind[at]
    step, heals = _STEP[kinds], _HEALS[kinds]
    depth = _depths(state.depth, step, heals)
    before = np.append(state.depth, depth[:-1])
    opens = (step > 0) & (before == 0)
    ends = (step < 0) & (before == 1)
    times = events.time[at]
    since = np.append(state.hard_since, times[opens])
    runs = times[ends] - since[np.cumsum(opens)[ends]]

    lost = kinds == Kind.LOST
    astray, state.hard_grace = _astray((step < 0) & (before == 0), lost, state.hard_grace)
    state.unmatched += astray + int((heals & ~lost & (before > 0)).sum())
    ipi = (kinds == Kind.VECTOR_EXIT) & (before > 0) & (events.a[at] < len(IPI_NAMES))
    state.ipis += int(ipi.sum())
    if len(at):
        state.depth = int(depth[-1])
        state.hard_since = int(since[-1])
    return at[ends], runs


def _astray(exits: Array, lost: Array, grace: bool) -> tuple[int, bool]:
    """How many exits came from nowhere; and whether the next such is expected.

    One is, at the beginning and after each loss, which may have taken its entry.
    """
    if not exits.any():
        return 0, grace or bool(lost.any())
    stretch = np.cumsum(lost)
    hit = np.unique(stretch[exits])
    excused = len(hit) if grace else int((hit > 0).sum())
    last = int(stretch[-1])
    return int(exits.sum()) - excused, (grace or last > 0) and int(hit[-1]) != last


def _depths(depth: int, step: Array, heals: Array) -> Array:
    """How deep hard IRQs are nested after each event; never below zero, and zero where it heals.

    A running sum that may not fall below zero is the sum less its lowest point so far. Stretches
    between healings are told apart by an offset that lets none see the lows of those before.
    """
    total = np.cumsum(step) + depth
    stretch = np.cumsum(heals)
    base = np.append(0, total[heals])
    above = total - base[stretch]
    apart = stretch * np.int64(len(step) + depth + 2)
    lowest = np.minimum.accumulate(above - apart) + apart
    depths: Array = above - np.minimum(lowest, 0)
    return depths


def _soft(
    state: LevelState, events: Columns, at: Array, hard_ns: Array
) -> tuple[Array, Array, Array, Array]:
    """Ends of softirqs, how long each took, its vector and trigger.

    Softirqs do not nest: one ends where the event before, on this level, is its entry.
    """
    kinds, ids = events.kind[at], events.id[at]
    entry, leave = kinds == Kind.SOFTIRQ_ENTRY, kinds == Kind.SOFTIRQ_EXIT
    lost = kinds == Kind.LOST
    ends = np.zeros(len(at), bool)
    ends[1:] = leave[1:] & entry[:-1] & (ids[1:] == ids[:-1])
    opened = np.zeros(len(at), bool)
    opened[1:] = entry[:-1]
    if len(at):  # before the first, what the last chunk left open
        opened[0] = state.vector >= 0
        ends[0] = leave[0] and opened[0] and ids[0] == state.vector
    ends &= (ids >= 0) & (ids < NR_VECTORS)

    place = np.flatnonzero(ends)
    start = at[np.maximum(place - 1, 0)]
    since, hard, by = events.time[start], hard_ns[start], _trigger(events.flags[start])
    if len(place) and not place[0]:
        since[0], hard[0], by[0] = state.soft_since, state.soft_hard, state.trigger
    runs = (events.time[at[place]] - since) - (hard_ns[at[place]] - hard)
    astray, state.soft_grace = _astray(leave & ~ends, lost, state.soft_grace)
    cut = opened & (entry | (kinds == Kind.SWITCH))
    state.unmatched += astray + int(cut.sum())

    vectors = ids[place]
    if len(vectors):
        state.soft_ns += _sums(vectors, runs, NR_VECTORS)
        state.soft_count += np.bincount(vectors, minlength=NR_VECTORS)
        state.trigger_ns += _sums(by, runs, 3)
    if len(at):
        last = at[-1]
        state.vector = int(ids[-1]) if entry[-1] else -1
        if entry[-1]:
            state.soft_since = int(events.time[last])
            state.soft_hard = int(hard_ns[last])
            state.trigger = int(_trigger(events.flags[at[-1:]])[0])
    return at[place], runs, vectors, by


def _trigger(flags: Array) -> Array:
    """What ran a softirq, by the flags of its entry."""
    found: Array = _TRIGGERS[flags & (Flag.IRQ_EXIT | Flag.BH_ENABLE)]
    return found


def _sums(groups: Array, values: Array, size: int) -> Array:
    """Sums of whole numbers by group: exact up to 2^53 ns, a hundred days."""
    return np.bincount(groups, values, size).astype(np.int64)


def _polls(state: LevelState, events: Columns, soft: Array, hard_ns: Array) -> Array:
    """Count the polls; how long those within NET_RX softirqs took.

    The event comes after the poll, which began where the one before it ended, or its softirq.
    """
    at = np.flatnonzero(events.kind == Kind.NAPI_POLL)
    if not len(at):
        return np.empty(0, np.int64)
    work = events.a[at].astype(np.int64)
    state.polls += len(at)
    state.packets += int(work.sum())
    before = np.searchsorted(soft, at) - 1  # the softirq level's event before each poll
    known = before >= 0
    last = soft[np.maximum(before, 0)] if len(soft) else np.zeros(len(at), np.int64)
    inside = np.where(
        known,
        (events.kind[last] == Kind.SOFTIRQ_ENTRY) & (events.id[last] == NET_RX),
        state.vector == NET_RX,
    )
    state.softirq_packets += int(work[inside].sum())
    since = np.where(known, events.time[last], state.soft_since)
    hard = np.where(known, hard_ns[last], state.soft_hard)
    again = np.append(False, (before[1:] == before[:-1]))
    since[again], hard[again] = events.time[at[:-1]][again[1:]], hard_ns[at[:-1]][again[1:]]
    if not known[0] and state.poll_since > state.soft_since:
        since[0], hard[0] = state.poll_since, state.poll_hard
    state.poll_since, state.poll_hard = int(events.time[at[-1]]), int(hard_ns[at[-1]])
    runs: Array = (events.time[at] - since) - (hard_ns[at] - hard)
    return runs[inside]
