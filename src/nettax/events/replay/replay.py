"""Plays a recording back through the ledger's rules: the accounts of its CPUs and tasks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from nettax.events.model import EVERY_CPU, Array, EventArray, Flag, Kind, Recording, Tables
from nettax.events.replay.accounts import (
    IDLE,
    TASK,
    CpuAccount,
    TaskAccount,
    TaskSums,
    kthread_of,
)
from nettax.events.replay.levels import NR_VECTORS, Columns, Levels
from nettax.events.replay.slices import Cpu, Rows, Stolen, Traced
from nettax.events.replay.waits import NR_KTHREADS, Clocks, Waiting, waits

__all__ = ["HISTOGRAM_SLOTS", "Accounts", "Replay", "replay"]

HISTOGRAM_SLOTS: Final = 40
_HARDIRQ, _POLL = NR_VECTORS, NR_VECTORS + 1  # rows of the histograms
_COLUMNS = ("time_ns", "kind", "pid", "id", "a", "flags", "value")


@dataclass(frozen=True, slots=True)
class Accounts:
    """All that a replay tells."""

    cpus: tuple[CpuAccount, ...]
    states: tuple[Cpu, ...]
    """The CPUs' counters, in the same order."""
    tasks: tuple[TaskAccount, ...]
    kinds: tuple[int, ...]
    """Of each task: 0 to 2 of `KTHREADS`, 3 for any other."""
    start_ns: int
    end_ns: int
    sliced: bool
    """Whether switches were recorded; without, only what was stolen is known, and from whom."""
    events: int
    lost: int
    histograms: Array
    """log2 run times: a row for each softirq vector, then hard IRQs, then polls."""

    @property
    def unmatched(self) -> int:
        return sum(cpu.levels.unmatched for cpu in self.states)

    @property
    def inferred_ns(self) -> int:
        return sum(cpu.inferred_ns for cpu in self.states)


def replay(recording: Recording) -> Accounts:
    """Play all of a recording back."""
    player = Replay(recording.tables, sliced=_has_switches(recording))
    for chunk in recording.chunks():
        player.feed(chunk)
    return player.finish()


def _has_switches(recording: Recording) -> bool:
    if recording.kinds is not None:
        return Kind.SWITCH in recording.kinds
    return any((chunk["kind"] == Kind.SWITCH).any() for chunk in recording.chunks())


class Replay:
    """Takes chunks in order of time, in bounded memory; `finish` gives the accounts."""

    def __init__(self, tables: Tables, *, sliced: bool = True) -> None:
        """`tables`: of the recording whose chunks will come. `sliced`: it has switches."""
        self._tables = tables
        self._sliced = sliced
        self._cpus: dict[int, Cpu] = {}
        self._accounts: dict[int, CpuAccount] = {}
        self._marked: dict[int, bool] = {}  # CPUs that were told to begin, and have not ended
        self._tasks = TaskSums()
        self._kinds: dict[int, int] = {}
        self._pids = self._tasks.pids
        self._clocks = Clocks()
        self._waiting = Waiting()
        self._start: int | None = None
        self._end = 0
        self._events = 0
        self._lost = 0
        self._histograms = np.zeros((NR_VECTORS + 2, HISTOGRAM_SLOTS), np.int64)

    def feed(self, chunk: EventArray) -> None:
        """Take the next chunk."""
        if not len(chunk):
            return
        first, last = int(chunk["time_ns"][0]), int(chunk["time_ns"][-1])
        if self._start is None:
            self._start = self._end = first
        self._events += len(chunk)
        self._lost += int(chunk["value"][chunk["kind"] == Kind.LOST].sum())
        switch = chunk["kind"] == Kind.SWITCH
        dead = np.flatnonzero(switch & ((chunk["flags"] & Flag.DEAD) != 0))
        self._tasks.deaths(chunk["pid"][dead], dead, len(chunk))
        runs: dict[int, list[Traced]] = {}
        for cpu, events in _by_cpu(chunk):
            self._feed_cpu(cpu, events, runs)
        self._set_clocks(runs, last)
        if self._sliced:
            pieces, self._waiting = waits(chunk, self._waiting, self._clocks)
            self._tasks.wait(pieces)
        self._tasks.buried()
        self._kinds.clear()  # names may change
        self._clocks.keep()
        self._end = last

    def _feed_cpu(self, number: int, events: Columns, runs: dict[int, list[Traced]]) -> None:
        """The events of one CPU, as far as it was being recorded."""
        marks = np.flatnonzero((events.kind == Kind.BEGIN) | (events.kind == Kind.END))
        low = 0
        if len(marks) and events.kind[marks[0]] == Kind.BEGIN and number not in self._cpus:
            low = int(marks[0])
        for mark in [*marks.tolist(), len(events.time)]:
            if self._marked.get(number, True) and mark > low:
                self._stretch(number, _cut(events, low, mark), runs)
            low = mark + 1
            if mark == len(events.time):
                return
            if events.kind[mark] == Kind.BEGIN:
                self._begin(number, events, mark)
            elif number in self._cpus:
                billed = events.flags[mark] & Flag.BILLED
                self._close(
                    self._cpus[number],
                    int(events.time[mark]),
                    int(events.place[mark]),
                    int(events.value[mark]) if billed else -1,
                )
                self._marked[number] = False

    def _begin(self, number: int, events: Columns, mark: int) -> None:
        time = int(events.time[mark])
        self._marked[number] = True
        self._cpus[number] = Cpu(number, time, time, int(events.pid[mark]))
        self._cpus[number].last = time
        self._accounts[number] = CpuAccount(number, start_ns=time)

    def _state(self, number: int, events: Columns) -> Cpu:
        cpu = self._cpus.get(number)
        if cpu is None:
            # Recorded since the beginning, with nothing to tell so far.
            start = self._start or 0
            cpu = self._cpus[number] = Cpu(number, start, start)
            self._accounts[number] = CpuAccount(number, start_ns=start)
        return cpu

    def _stretch(self, number: int, events: Columns, runs: dict[int, list[Traced]]) -> None:
        cpu = self._state(number, events)
        self._accounts[number].lost += int(events.value[events.kind == Kind.LOST].sum())
        levels, rows, stolen, traced = cpu.feed(events)
        if not self._sliced:
            rows, stolen = _by_event(events, levels)
        self._count_runs(levels)
        if len(rows.pid):
            self._charge(cpu, rows, stolen)
        if self._sliced:
            runs.setdefault(number, []).append(traced)

    def _charge(self, cpu: Cpu, rows: Rows, stolen: Stolen) -> None:
        known = rows.pid >= 0
        kinds = self._kinds_of(rows.pid, int(rows.end[-1]))
        if not known.all():  # nobody's: what no event tells is in the residual
            kinds[~known] = -1
        self._accounts[cpu.number].add(rows, kinds, stolen)
        self._tasks.add(cpu, rows, kinds, stolen)

    def _kinds_of(self, pids: Array, time: int) -> Array:
        unique, inverse = self._pids.unique(pids)
        kinds = np.array([self._kind(pid, time) for pid in unique.tolist()], np.int64)
        return kinds[inverse]

    def _kind(self, pid: int, time: int) -> int:
        if pid == 0:
            return IDLE
        kind = self._kinds.get(pid)
        if kind is None:
            task = self._tables.tasks.at(pid, time)
            kind = TASK if task is None or task.kthread is False else kthread_of(task.comm)
            self._kinds[pid] = kind
        return kind

    def _set_clocks(self, runs: dict[int, list[Traced]], end: int) -> None:
        """When network kernel threads ran, for what waits in this chunk."""
        for number, cpu in self._cpus.items():
            parts = runs.get(number, [])
            until = cpu.since if cpu.ended else 1 << 62
            pids = np.concatenate([*(part.pid for part in parts), np.array([cpu.pid])])
            starts = np.concatenate([*(part.start for part in parts), np.array([cpu.since])])
            ends = np.concatenate([*(part.end for part in parts), np.array([until])])
            kinds = self._kinds_of(pids, end)
            for kind in range(NR_KTHREADS):
                mine = kinds == kind
                if mine.any():
                    over = int((ends - starts)[:-1][mine[:-1]].sum())
                    self._clocks.add(number, kind, starts[mine], ends[mine], over)

    def _count_runs(self, levels: Levels) -> None:
        for row, runs in ((_HARDIRQ, levels.hard_runs), (_POLL, levels.poll_runs)):
            self._histograms[row] += _slots(runs, np.zeros(len(runs), np.int64), 1)[0]
        self._histograms[:NR_VECTORS] += _slots(levels.soft_runs, levels.soft_vector, NR_VECTORS)

    def _close(self, cpu: Cpu, time: int, place: int, billed: int = -1) -> None:
        account = self._accounts[cpu.number]
        account.end_ns = time
        if self._sliced and not cpu.ended:
            rows, stolen = cpu.close(time, place, billed)
            self._charge(cpu, rows, stolen)
        cpu.ended = True

    def finish(self) -> Accounts:
        """Close what is open, at the time of the last event."""
        self._set_clocks({}, self._end)
        self._tasks.wait(self._waiting.until(self._end, self._clocks))
        for cpu in self._cpus.values():
            if not cpu.ended:
                self._close(cpu, self._end, 0)
        order = sorted(self._cpus)
        tasks = tuple(self._tasks)
        self._kinds.clear()
        return Accounts(
            cpus=tuple(self._accounts[number] for number in order),
            states=tuple(self._cpus[number] for number in order),
            tasks=tasks,
            kinds=tuple(self._kind(task.pid, task.last_ns) for task in tasks),
            start_ns=self._start or 0,
            end_ns=self._end,
            sliced=self._sliced,
            events=self._events,
            lost=self._lost,
            histograms=self._histograms,
        )


def _by_cpu(chunk: EventArray) -> Iterator[tuple[int, Columns]]:
    """The events of each CPU; what concerns every CPU is among all of theirs."""
    cpus = np.ascontiguousarray(chunk["cpu"])
    columns = [chunk[name] for name in _COLUMNS]
    columns[0] = columns[0].view(np.int64)
    order = np.argsort(cpus, kind="stable")
    numbers, starts = np.unique(cpus[order], return_index=True)
    groups = dict(zip(numbers.tolist(), np.split(order, starts[1:]), strict=True))
    common = groups.pop(EVERY_CPU, None)
    for number, places in groups.items():
        if common is not None:
            places = np.sort(np.append(places, common))
        yield number, Columns(*[*(column[places] for column in columns), places])


def _cut(events: Columns, low: int, high: int) -> Columns:
    if low == 0 and high == len(events.time):
        return events
    return Columns(*(getattr(events, name)[low:high] for name in Columns.__slots__))


def _by_event(events: Columns, levels: Levels) -> tuple[Rows, Stolen]:
    """Without switches: each interrupt and softirq as a row of whoever was current at its end."""
    hard, soft = levels.hard_end, levels.soft_end
    ends = np.append(hard, soft)
    none = np.zeros(len(ends), np.int64)
    hard_ns = np.append(levels.hard_runs, none[: len(soft)])
    soft_ns = np.append(none[: len(hard)], levels.soft_runs)
    rows = Rows(
        pid=events.pid[ends],
        start=events.time[ends] - hard_ns - soft_ns,
        end=events.time[ends],
        hard_ns=hard_ns,
        soft_ns=soft_ns,
        interrupts=np.append(none[: len(hard)] + 1, none[: len(soft)]),
        billed_ns=none - 1,
        switched=none > 0,
        dead=none > 0,
        place=events.place[ends],
    )
    where = len(hard) + np.arange(len(soft))
    return rows, Stolen(where, levels.soft_vector, levels.soft_trigger, levels.soft_runs)


def _slots(runs: Array, groups: Array, number: int) -> Array:
    """log2 histograms of run times, a row for each group."""
    slots = np.frexp(np.maximum(runs, 1).astype(np.float64))[1] - 1
    slots = groups * HISTOGRAM_SLOTS + np.minimum(slots, HISTOGRAM_SLOTS - 1)
    return np.bincount(slots, minlength=number * HISTOGRAM_SLOTS).reshape(number, -1)
