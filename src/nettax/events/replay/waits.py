"""How long tasks waited for a CPU, and how long of it a network kernel thread ran there.

A wait is cut into pieces, from each event of the task to its next; each piece was on one CPU. So
they add up, and chunks can be told one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nettax.events.model import Array, EventArray, Flag, Kind

__all__ = ["Clocks", "Waiting", "Waits"]

NR_KTHREADS = 3
_BEGINS, _MOVES, _COMES, _LEAVES = range(4)


class Clocks:
    """How long each kind of network kernel thread has run on each CPU, at any time of a chunk."""

    def __init__(self) -> None:
        self._runs: dict[tuple[int, int], tuple[Array, Array, Array]] = {}
        self._before: dict[tuple[int, int], int] = {}

    def add(self, cpu: int, kind: int, starts: Array, ends: Array) -> None:
        """Runs in order, of which only the last may still go on."""
        base = self._before.get((cpu, kind), 0)
        sums = base + np.append(0, np.cumsum(ends - starts))
        self._runs[cpu, kind] = starts, ends, sums

    def ended(self, cpu: int, kind: int) -> int:
        """How long it had run, before the chunk, in runs that had ended by then."""
        return self._before.get((cpu, kind), 0)

    def forget(self, until: dict[tuple[int, int], int]) -> None:
        """The chunk is over; `until`: how long each had run in runs that had ended by then."""
        self._before.update(until)
        self._runs.clear()

    def at(self, cpus: Array, times: Array, kind: int) -> Array:
        """Clocks of one kind, on many CPUs at many times."""
        out = np.zeros(len(cpus), np.int64)
        for cpu in np.unique(cpus).tolist():
            runs = self._runs.get((cpu, kind))
            mine = cpus == cpu
            if runs is None:
                out[mine] = self._before.get((cpu, kind), 0)
                continue
            starts, ends, sums = runs
            begun = np.searchsorted(starts, times[mine], side="right")
            last = np.maximum(begun - 1, 0)
            over = np.maximum(ends[last] - times[mine], 0)
            out[mine] = sums[begun] - np.where(begun > 0, over, 0)
        return out


@dataclass(slots=True)
class Waiting:
    """Who waits at the end of a chunk: one entry each."""

    pid: Array = field(default_factory=lambda: np.empty(0, np.int64))
    cpu: Array = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass(frozen=True, slots=True)
class Waits:
    """Pieces of waits."""

    pid: Array
    place: Array
    """In the chunk, of the event that ended the piece."""
    ns: Array
    displaced_ns: Array
    """By kind of kernel thread, a row each."""


def waits(
    chunk: EventArray, waiting: Waiting, clocks: Clocks, start: int, end: int
) -> tuple[Waits, Waiting]:
    """The pieces of a chunk that lasts from `start` to `end`, and who waits after it."""
    pid, place, time, what, cpu = _steps(chunk, waiting, start)
    order = np.argsort(pid, kind="stable")
    pid, place, time, what, cpu = (c[order] for c in (pid, place, time, what, cpu))
    n = len(pid)
    if not n:
        none = np.empty(0, np.int64)
        return Waits(none, none, none, np.empty((NR_KTHREADS, 0), np.int64)), waiting
    first = np.append(True, pid[1:] != pid[:-1])
    after = _state(what, first)
    before = np.append(False, after[:-1]) & ~first
    where = _where(what, cpu, before)
    previous = np.append(0, where[:-1])
    since = np.append(0, time[:-1])
    until = np.where(before, time, 0)
    last = np.append(first[1:], True) & after
    piece = Waits(
        pid=np.append(pid[before], pid[last]),
        place=np.append(place[before], np.full(int(last.sum()), len(chunk))),
        ns=np.append((until - since)[before], end - time[last]),
        displaced_ns=np.stack(
            [
                np.append(
                    clocks.at(previous[before], time[before], kind)
                    - clocks.at(previous[before], since[before], kind),
                    clocks.at(where[last], np.full(int(last.sum()), end), kind)
                    - clocks.at(where[last], time[last], kind),
                )
                for kind in range(NR_KTHREADS)
            ]
        ),
    )
    return piece, Waiting(pid[last], where[last])


def _steps(
    chunk: EventArray, waiting: Waiting, start: int
) -> tuple[Array, Array, Array, Array, Array]:
    """What the events, and the waits under way, mean for each task: pid, place, time, what, CPU.

    Of a switch, first for the task that leaves.
    """
    kinds = chunk["kind"]
    place = np.flatnonzero(
        (kinds == Kind.SWITCH) | (kinds == Kind.WAKEUP) | (kinds == Kind.MIGRATE)
    )
    some = chunk[place]
    kind = some["kind"]
    switch, wakeup = kind == Kind.SWITCH, kind == Kind.WAKEUP
    flags = some["flags"]
    runnable = ((flags & Flag.PREEMPTED) != 0) | (some["a"] == 0)
    stays = switch & runnable & ((flags & Flag.DEAD) == 0)
    what = np.where(switch, np.where(stays, _BEGINS, _LEAVES), np.where(wakeup, _BEGINS, _MOVES))
    who = np.where(switch, some["pid"], some["id"])
    cpu = np.where(switch, some["cpu"], np.where(wakeup, some["a"], some["b"]))
    time = some["time_ns"].astype(np.int64)

    comes = np.flatnonzero(switch)
    carried = len(waiting.pid)
    # So that of one place the one that leaves stands before the one that comes, and both
    # after what was carried over.
    key = np.concatenate([np.full(carried, -1), 2 * place, 2 * place[comes] + 1])
    order = np.argsort(key, kind="stable")
    pids = np.concatenate([waiting.pid, who, some["id"][comes]])[order]
    columns = (
        np.concatenate([np.full(carried, -1), place, place[comes]])[order],
        np.concatenate([np.full(carried, start), time, time[comes]])[order],
        np.concatenate([np.full(carried, _BEGINS), what, np.full(len(comes), _COMES)])[order],
        np.concatenate([waiting.cpu, cpu, some["cpu"][comes]])[order],
    )
    places, times, whats, cpus = columns
    real = pids > 0
    return pids[real].astype(np.int64), places[real], times[real], whats[real], cpus[real]


def _state(what: Array, first: Array) -> Array:
    """Whether the task waits after each of its steps: the last that is no move decides."""
    place = np.arange(len(what))
    says = what != _MOVES
    latest = np.maximum.accumulate(np.where(says | first, place, 0))
    waits: Array = what[latest] == _BEGINS
    return waits


def _where(what: Array, cpu: Array, before: Array) -> Array:
    """The CPU on which it waits after each step: where the wait began, or it was moved to."""
    sets = ((what == _BEGINS) & ~before) | ((what == _MOVES) & before)
    latest = np.maximum.accumulate(np.where(sets, np.arange(len(what)), 0))
    return cpu[latest]
