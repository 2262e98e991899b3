"""Events in the order of their times, out of buffers that were emptied one CPU after the other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nettax.events.model import EVENT, Array, Damage, EventArray

__all__ = ["NEVER", "Sorter", "joined", "take"]

_MOST = 6 << 20  # events that wait, 40 bytes each
NEVER = 1 << 62  # ns
_WORTH = 1 << 16  # events that are worth sorting


class Sorter:
    """Holds events back until nothing earlier can come any more.

    Equal times keep the order in which they were added. At most so many events wait as fit into
    some 250 MB; should a recording need more, those that come too late are dropped and counted.
    """

    def __init__(self, most: int = _MOST) -> None:
        """`most`: how many events may wait."""
        self._most = most
        self._waiting: list[EventArray] = []
        self._count = 0
        self._passed = 0
        self.late = 0
        """Events dropped because later ones had been passed on."""
        self.absurd = 0
        """Events dropped because their times, of centuries, can only be corrupt."""

    def add(self, events: EventArray) -> Iterator[EventArray]:
        """Take events; gives some back only where too many wait."""
        if len(events) and int(events["time_ns"].max()) >= NEVER:
            sane = np.flatnonzero(events["time_ns"] < NEVER)
            self.absurd += len(events) - len(sane)
            events = take(events, sane)
        if len(events):
            self._waiting.append(events)
            self._count += len(events)
        if self._count > self._most:
            waiting = self._merged()
            yield from self._give(waiting, self._count // 2)

    def until(self, time_ns: int) -> Iterator[EventArray]:
        """Everything up to this time, if it is worth it: nothing earlier will be added."""
        if self._count >= _WORTH:
            waiting = self._merged()
            stop = int(np.searchsorted(waiting["time_ns"], np.uint64(time_ns), side="right"))
            yield from self._give(waiting, stop)

    def rest(self) -> Iterator[EventArray]:
        """All that is left."""
        if self._count:
            yield from self._give(self._merged(), self._count)

    def damage(self) -> Iterator[Damage]:
        """What was dropped."""
        if self.late:
            yield Damage(0, f"{self.late} events came too late to be put in order")
        if self.absurd:
            yield Damage(0, f"{self.absurd} events have times that cannot be")

    def _merged(self) -> EventArray:
        events = in_order(joined(self._waiting))
        if int(events["time_ns"][0]) < self._passed:
            stop = int(np.searchsorted(events["time_ns"], np.uint64(self._passed)))
            self.late += stop
            events = events[stop:]
        self._count = len(events)
        return events

    def _give(self, waiting: EventArray, stop: int) -> Iterator[EventArray]:
        out, left = waiting[:stop], waiting[stop:]
        # a copy of the few that stay, so that they do not keep the many that go
        self._waiting = [left.copy() if stop else left] if len(left) else []
        self._count = len(left)
        if len(out):
            self._passed = int(out["time_ns"][-1])
            yield out


def in_order(events: EventArray) -> EventArray:
    """Sorted by time, equal times as they were."""
    times: Array = np.ascontiguousarray(events["time_ns"])
    if len(times) < 2 or bool((times[1:] >= times[:-1]).all()):
        return events
    # Sorting whole numbers is ten times as fast as finding out their order: so put each one's
    # place into its lower bits, where a recording of hours leaves room for them.
    bits = np.uint64(len(times).bit_length())
    times = times - times.min()
    if int(times.max()).bit_length() + int(bits) > 64:
        return take(events, np.argsort(times, kind="stable"))
    keys = np.sort((times << bits) | np.arange(len(times), dtype=np.uint64))
    return take(events, keys & np.uint64((1 << int(bits)) - 1))


def joined(parts: list[EventArray]) -> EventArray:
    """Several as one."""
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([_rows(part) for part in parts]).reshape(-1).view(EVENT)


def _rows(events: EventArray) -> Array:
    """As rows of words, which numpy copies faster than structures."""
    return np.ascontiguousarray(events).view(np.uint64).reshape(-1, EVENT.itemsize // 8)


def take(events: EventArray, places: Array) -> EventArray:
    """Those at these places."""
    return _rows(events).take(places.astype(np.int64), axis=0).reshape(-1).view(EVENT)
