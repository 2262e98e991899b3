"""Slices: from one switch to the next. What each task had of a CPU, and what was taken from it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nettax.events.model import Array, Flag, Kind
from nettax.events.replay.levels import NR_VECTORS, Columns, Levels, LevelState, follow

__all__ = ["Cpu", "Rows", "Stolen", "Traced"]

UNKNOWN_PID = -1


@dataclass(frozen=True, slots=True)
class Rows:
    """Slices, or parts of them, each of one task."""

    pid: Array
    start: Array
    end: Array
    hard_ns: Array
    soft_ns: Array
    interrupts: Array
    billed_ns: Array
    """-1: not recorded."""
    switched: Array
    """Whether a switch ended it."""
    dead: Array
    place: Array
    """In the chunk, of the event that ended it."""

    @property
    def oncpu_ns(self) -> Array:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Traced:
    """Who was on the CPU from one switch to the next, by what the first of them said."""

    pid: Array
    start: Array
    end: Array


@dataclass(frozen=True, slots=True)
class Stolen:
    """Softirqs, each with the row in which it was."""

    row: Array
    vector: Array
    trigger: Array
    ns: Array


@dataclass(slots=True)
class Cpu:
    """One CPU: its levels, and the slice that is open."""

    number: int
    since: int
    """When its recording began, and the open slice: ns."""
    start: int
    pid: int = UNKNOWN_PID
    """The task on it."""
    levels: LevelState = field(default_factory=LevelState)
    hard0: int = 0
    interrupts0: int = 0
    last: int = 0
    """The time of its last event."""
    last_pid: int = UNKNOWN_PID
    """The task that was on it then."""
    turn: int = -1
    """When, in the open slice, events began to tell of another task than came; -1: not yet."""
    pending: Array = field(default_factory=lambda: np.zeros((NR_VECTORS, 3), np.int64))
    """Softirqs of the open slice in chunks gone by, by vector and trigger."""
    switches: int = 0
    inferred_ns: int = 0
    ended: bool = False

    def feed(self, events: Columns) -> tuple[Levels, Rows, Stolen, Traced]:
        """Follow a stretch of events: the slices that ended in it."""
        levels = follow(self.levels, events)
        ends = np.flatnonzero((events.kind == Kind.SWITCH) | (events.kind == Kind.LOST))
        rows, traced = self._rows(events, levels, ends)
        stolen = self._stolen(levels, ends)
        found = self._split(rows, stolen, events, ends)
        if len(ends):
            last = ends[-1]
            self.since = int(events.time[last])
            self.hard0, self.interrupts0 = int(levels.hard_ns[last]), int(levels.interrupts[last])
            switched = events.kind[last] == Kind.SWITCH
            self.pid = int(events.id[last]) if switched else UNKNOWN_PID
        if len(events.time):
            self._remember(events, ends)
        return levels, *found, traced

    def _remember(self, events: Columns, ends: Array) -> None:
        """What a loss, or a switch that went untraced, will make it need of these events."""
        low = int(ends[-1]) + 1 if len(ends) else 0
        self.turn = self._turn(events, low, len(events.time), self.pid, -1 if low else self.turn)
        self.last = int(events.time[-1])
        self.last_pid = int(events.pid[-1])

    def _rows(self, events: Columns, levels: Levels, ends: Array) -> tuple[Rows, Traced]:
        times = events.time[ends]
        switched = events.kind[ends] == Kind.SWITCH
        # What was lost lies between a loss and the event before: that time is on no account.
        before = np.append(self.last or self.start, events.time)[ends]
        hard, interrupts = levels.hard_ns[ends], levels.interrupts[ends]
        came = np.append(self.pid, np.where(switched, events.id[ends], UNKNOWN_PID))[:-1]
        left = np.where(switched, events.pid[ends], UNKNOWN_PID)
        billed = np.where(events.flags[ends] & Flag.BILLED, events.value[ends].astype(np.int64), -1)
        # Where neither the switch before nor the one after tells, an event in between does.
        between = np.append(self.last_pid, events.pid)[ends]
        who = np.where(came != UNKNOWN_PID, came, np.where(switched, left, between))
        start = np.append(self.since, times)[:-1]
        rows = Rows(
            pid=who,
            start=start,
            end=np.where(switched, times, np.maximum(before, start)),
            hard_ns=np.diff(np.append(self.hard0, hard)),
            soft_ns=np.zeros(len(ends), np.int64),
            interrupts=np.diff(np.append(self.interrupts0, interrupts)),
            billed_ns=np.where(switched, billed, -1),
            switched=switched,
            dead=switched & ((events.flags[ends] & Flag.DEAD) != 0),
            place=events.place[ends],
        )
        return rows, Traced(came, start.copy(), times)

    def _stolen(self, levels: Levels, ends: Array) -> Stolen:
        """The softirqs of the slices that ended; those of the open one go to `pending`."""
        row = np.searchsorted(ends, levels.soft_end)
        still = row == len(ends)
        old = np.argwhere(self.pending)
        found = Stolen(row[~still], levels.soft_vector[~still], levels.soft_trigger[~still],
                       levels.soft_runs[~still])  # fmt: skip
        if len(ends) and len(old):
            vector, trigger = old.T
            found = Stolen(
                np.append(np.zeros(len(old), np.int64), found.row),
                np.append(vector, found.vector),
                np.append(trigger, found.trigger),
                np.append(self.pending[vector, trigger], found.ns),
            )
        if len(ends):
            self.pending[:] = 0
        np.add.at(
            self.pending,
            (levels.soft_vector[still], levels.soft_trigger[still]),
            levels.soft_runs[still],
        )
        return found

    def _split(
        self, rows: Rows, stolen: Stolen, events: Columns, ends: Array
    ) -> tuple[Rows, Stolen]:
        """Fill in the softirqs; divide slices in which one task came and another left.

        A switch between the two went untraced. What the scheduler billed the one that left tells
        when, or else the events in between do. Interrupts and softirqs are the second one's.
        """
        if len(stolen.row):
            rows.soft_ns[:] = np.bincount(stolen.row, stolen.ns, len(rows.pid)).astype(np.int64)
        self.switches += int(rows.switched.sum())
        left = events.pid[ends]
        odd = np.flatnonzero(rows.switched & (rows.pid != left) & (left >= 0))
        if not len(odd):
            return rows, stolen
        self.levels.unmatched += len(odd)
        self.inferred_ns += int(rows.oncpu_ns[odd].sum())
        turn = self._turns(rows, odd, events, ends)
        first = Rows(
            pid=rows.pid[odd],
            start=rows.start[odd],
            end=turn,
            hard_ns=np.zeros(len(odd), np.int64),
            soft_ns=np.zeros(len(odd), np.int64),
            interrupts=np.zeros(len(odd), np.int64),
            billed_ns=np.where(rows.billed_ns[odd] >= 0, turn - rows.start[odd], -1),
            switched=np.zeros(len(odd), bool),
            dead=np.zeros(len(odd), bool),
            place=rows.place[odd],
        )
        rows.pid[odd] = left[odd]
        rows.start[odd] = turn
        return join([rows, first]), stolen

    def _turns(self, rows: Rows, odd: Array, events: Columns, ends: Array) -> Array:
        """When, in these slices, the first task made way for the second.

        By the bill of the second, or else at the first event after the last one of the first.
        """
        low = np.append(0, ends + 1)[odd]
        high = ends[odd]
        slices = np.searchsorted(ends, np.arange(int(high[-1])))
        own = events.pid[: len(slices)] == rows.pid[slices]
        latest = np.maximum.accumulate(np.append(-1, np.where(own, np.arange(len(own)), -1)))[high]
        after = np.maximum(latest + 1, low)
        turn = np.where(after < high, events.time[after], rows.end[odd])
        if odd[0] == 0 and latest[0] < 0 and self.turn >= 0:
            turn[0] = self.turn
        billed = rows.billed_ns[odd]
        turn = np.where(billed >= 0, rows.end[odd] - billed, turn)
        return np.clip(turn, rows.start[odd], rows.end[odd])

    def _turn(self, events: Columns, low: int, high: int, pid: int, before: int) -> int:
        """The time of the first of these events after the last one of `pid`; -1: none is.

        `before`: what came of events before these.
        """
        own = np.flatnonzero(events.pid[low:high] == pid)
        if not len(own) and before >= 0:
            return before
        after = low + int(own[-1]) + 1 if len(own) else low
        return int(events.time[after]) if after < high else -1

    def close(self, time: int, place: int = 0, billed: int = -1) -> tuple[Rows, Stolen]:
        """End the open slice, with what the upper levels have under way, as a reading does."""
        levels = self.levels
        hard = time - levels.hard_since if levels.depth else 0
        total = levels.hard_ns + hard
        rest = np.argwhere(self.pending)
        vector, trigger = rest.T
        ns = self.pending[vector, trigger]
        if 0 <= levels.vector < NR_VECTORS:
            running = (time - levels.soft_since) - (total - levels.soft_hard)
            levels.soft_ns[levels.vector] += running
            levels.trigger_ns[levels.trigger] += running
            vector, trigger = np.append(vector, levels.vector), np.append(trigger, levels.trigger)
            ns = np.append(ns, running)
        levels.hard_ns = total

        def one(value: int | bool) -> Array:
            return np.array([value])

        rows = Rows(
            pid=one(self.last_pid if self.pid == UNKNOWN_PID else self.pid),
            start=one(self.since),
            end=one(max(time, self.since)),
            hard_ns=one(total - self.hard0),
            soft_ns=one(int(ns.sum())),
            interrupts=one(levels.interrupts - self.interrupts0),
            billed_ns=one(billed),
            switched=one(False),
            dead=one(False),
            place=one(place),
        )
        self.ended = True
        self.last = self.since = time
        return rows, Stolen(np.zeros(len(ns), np.int64), vector, trigger, ns)


def join(parts: list[Rows]) -> Rows:
    """Several as one."""
    return Rows(*(np.concatenate([getattr(p, name) for p in parts]) for name in Rows.__slots__))
