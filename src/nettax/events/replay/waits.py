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
_WAKES, _MOVES, _COMES, _LEAVES, _STAYS = range(5)


class Clocks:
    """How long each kind of network kernel thread has run on each CPU, at any time of a chunk."""

    def __init__(self) -> None:
        self._runs: dict[tuple[int, int], tuple[Array, Array, Array]] = {}
        self._before: dict[tuple[int, int], int] = {}
        self._over: dict[tuple[int, int], int] = {}

    def add(self, cpu: int, kind: int, starts: Array, ends: Array, over: int) -> None:
        """Runs in their order, of which the last may go on; `over`: how long those took that do
        not."""
        base = self._before.get((cpu, kind), 0)
        self._runs[cpu, kind] = starts, ends, base + np.append(0, np.cumsum(ends - starts))
        self._over[cpu, kind] = over

    def keep(self) -> None:
        """The chunk is over."""
        for key, over in self._over.items():
            self._before[key] = self._before.get(key, 0) + over
        self._over.clear()
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


def _none() -> Array:
    return np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Who waits at the end of a chunk, since when, where, and that CPU's clocks then."""

    pid: Array = field(default_factory=_none)
    cpu: Array = field(default_factory=_none)
    since: Array = field(default_factory=_none)
    clocks: Array = field(default_factory=lambda: np.empty((NR_KTHREADS, 0), np.int64))

    def until(self, end: int, clocks: Clocks) -> Waits:
        """What they have waited so far."""
        ends = np.full(len(self.pid), end)
        grown = [clocks.at(self.cpu, ends, k) - self.clocks[k] for k in range(NR_KTHREADS)]
        return Waits(self.pid, np.zeros(len(ends), np.int64), end - self.since, np.stack(grown))


@dataclass(frozen=True, slots=True)
class Waits:
    """Pieces of waits, each on one CPU."""

    pid: Array
    place: Array
    """In the chunk, of the event that ended the piece."""
    ns: Array
    displaced_ns: Array
    """By kind of kernel thread, a row each."""


def waits(chunk: EventArray, waiting: Waiting, clocks: Clocks) -> tuple[Waits, Waiting]:
    """The pieces that ended in a chunk, and who waits after it."""
    pid, place, time, what, cpu = _steps(chunk, waiting)
    # Sorting numbers of 16 bits is ten times as fast.
    small = len(pid) and int(pid.max()) < 1 << 16
    order = np.argsort(pid.astype(np.uint16) if small else pid, kind="stable")
    pid, place, time, what, cpu = (c[order] for c in (pid, place, time, what, cpu))
    if not len(pid):
        return Waits(_none(), _none(), _none(), waiting.clocks), waiting
    first = np.append(True, pid[1:] != pid[:-1])
    after = _state(what, first)
    before = np.append(False, after[:-1]) & ~first
    begun = _begun(what, before)
    ends = np.flatnonzero(before & ((what == _COMES) | (what == _MOVES)))
    origin = begun[ends - 1]
    carried = np.where(order[origin] < len(waiting.pid), order[origin], -1)
    piece = Waits(
        pid=pid[ends],
        place=place[ends],
        ns=time[ends] - time[origin],
        displaced_ns=np.stack(
            [
                clocks.at(cpu[origin], time[ends], kind)
                - _clock_at(clocks, waiting, cpu[origin], time[origin], carried, kind)
                for kind in range(NR_KTHREADS)
            ]
        ),
    )
    last = np.flatnonzero(np.append(first[1:], True) & after)
    origin = begun[last]
    carried = np.where(order[origin] < len(waiting.pid), order[origin], -1)
    at = [
        _clock_at(clocks, waiting, cpu[origin], time[origin], carried, kind)
        for kind in range(NR_KTHREADS)
    ]
    return piece, Waiting(pid[last], cpu[origin], time[origin], np.stack(at))


def _clock_at(
    clocks: Clocks, waiting: Waiting, cpus: Array, times: Array, carried: Array, kind: int
) -> Array:
    """A clock as it stood when a wait began: in this chunk, or as was carried over."""
    now = clocks.at(cpus, times, kind)
    old = carried >= 0
    now[old] = waiting.clocks[kind][carried[old]]
    return now


def _steps(chunk: EventArray, waiting: Waiting) -> tuple[Array, Array, Array, Array, Array]:
    """What the events, and the waits under way, mean for each task: pid, place, time, what, CPU.

    First those carried over, in their order. Of a switch, first what it means to the task that
    leaves.
    """
    kinds = chunk["kind"]
    place = np.flatnonzero(
        (kinds == Kind.SWITCH) | (kinds == Kind.WAKEUP) | (kinds == Kind.MIGRATE)
    )
    kind, flags, pid, ident = (chunk[name][place] for name in ("kind", "flags", "pid", "id"))
    a, b, here = (chunk[name][place] for name in ("a", "b", "cpu"))
    time = chunk["time_ns"][place].astype(np.int64)
    switch, wakeup = kind == Kind.SWITCH, kind == Kind.WAKEUP
    stays = (((flags & Flag.PREEMPTED) != 0) | (a == 0)) & ((flags & Flag.DEAD) == 0)
    what = np.where(switch, np.where(stays, _STAYS, _LEAVES), np.where(wakeup, _WAKES, _MOVES))
    # Where each step stands: a switch makes two, the others one.
    n = len(waiting.pid)
    one = n + np.arange(len(place)) + np.append(0, np.cumsum(switch)[:-1])[: len(place)]
    two = one[switch] + 1

    def merged(carried: Array | int, first: Array, second: Array | int) -> Array:
        out = np.empty(n + len(one) + len(two), np.int64)
        out[:n], out[one], out[two] = carried, first, second
        return out

    pids = merged(waiting.pid, np.where(switch, pid, ident), ident[switch])
    columns = (
        merged(-1, place, place[switch]),
        merged(waiting.since, time, time[switch]),
        merged(_WAKES, what, _COMES),
        merged(waiting.cpu, np.where(switch, here, np.where(wakeup, a, b)), here[switch]),
    )
    real = np.flatnonzero(pids > 0)
    places, times, whats, cpus = (column[real] for column in columns)
    return pids[real], places, times, whats, cpus


def _state(what: Array, first: Array) -> Array:
    """Whether the task waits after each of its steps: the last that is no move decides."""
    decides = (what != _MOVES) | first
    latest = np.maximum.accumulate(np.where(decides, np.arange(len(what)), 0))
    waits: Array = (what[latest] == _WAKES) | (what[latest] == _STAYS)
    return waits


def _begun(what: Array, before: Array) -> Array:
    """The step at which, by each step, the wait began, or was last moved elsewhere."""
    sets = ((what == _WAKES) & ~before) | (what == _STAYS) | ((what == _MOVES) & before)
    return np.maximum.accumulate(np.where(sets, np.arange(len(what)), 0))
