"""Events in the order of their times, out of buffers that were emptied one CPU after the other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nettax.events.model import Array, EventArray

__all__ = ["Sorter"]

_MOST = 6 << 20  # events that wait, 40 bytes each


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

    def add(self, events: EventArray) -> Iterator[EventArray]:
        """Take events; gives some back only where too many wait."""
        if len(events):
            self._waiting.append(events)
            self._count += len(events)
        if self._count > self._most:
            waiting = self._merged()
            yield from self._give(waiting, self._count // 2)

    def until(self, time_ns: int) -> Iterator[EventArray]:
        """Everything up to this time: nothing earlier will be added."""
        if self._count:
            waiting = self._merged()
            stop = int(np.searchsorted(waiting["time_ns"], np.uint64(time_ns), side="right"))
            yield from self._give(waiting, stop)

    def rest(self) -> Iterator[EventArray]:
        """All that is left."""
        if self._count:
            yield from self._give(self._merged(), self._count)

    def _merged(self) -> EventArray:
        events = self._waiting[0] if len(self._waiting) == 1 else np.concatenate(self._waiting)
        events = in_order(events)
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
    return events[np.argsort(times, kind="stable")]
