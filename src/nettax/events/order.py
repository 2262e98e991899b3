"""Events in the order of their times, out of buffers that were emptied one CPU after the other."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator, Sequence
from typing import cast

from nettax.events.model import Damage
from nettax.events.records import EVENT_BYTES, NEVER, Order, Row, address, native

__all__ = ["Fields", "Sorter"]

Fields = tuple[int, int, int, int, int, int, int, int, int, int]
"""Of an event, in the order of EVENT."""

_MOST = 6 << 20  # events that wait
_GIVEN = 1 << 15  # events given at a time: caches hold so many
_FIRST = 1 << 16  # events for which there is room at first


class Sorter:
    """Holds events back until nothing earlier can come any more.

    Equal times keep the order in which they were added. At most so many events wait as fit into
    some 250 MB; should a recording need more, those that come too late are dropped and counted.

    What it gives is the same memory each time, good until the next is asked for.
    """

    worth = 1 << 16
    """Events that must wait for a merge to be worth it."""

    def __init__(self, most: int = _MOST) -> None:
        """`most`: how many events may wait."""
        self._most = most
        self._room = _FIRST
        self._order = Order()
        self._given = bytearray(_GIVEN * EVENT_BYTES)
        # Private: a shared mapping that is enlarged has nothing behind its new pages.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._memory = [mmap.mmap(-1, self._room * size, flags) for size in (EVENT_BYTES, 8, 4)]
        self._memory[0].madvise(mmap.MADV_HUGEPAGE)
        self._point()

    def _point(self) -> None:
        order = self._order
        order.rows, order.runs, order.heap = map(address, self._memory)

    def _grow(self, room: int) -> None:
        for memory in self._memory:
            memory.resize(len(memory) // self._room * room)
        self._room = room
        self._point()

    @property
    def late(self) -> int:
        """Events dropped because later ones had been passed on."""
        return int(self._order.late)

    @property
    def absurd(self) -> int:
        """Events dropped because their times, of centuries, can only be corrupt."""
        return int(self._order.absurd)

    def room(self, count: int) -> int:
        """Where the next events go, so many at most: an address, good until `added`."""
        needed = self._order.count + count
        if needed > self._room:
            self._grow(2 * needed)
        return int(self._order.rows) + EVENT_BYTES * int(self._order.count)

    def added(self, count: int) -> Iterator[memoryview]:
        """So many were written there; gives some back only where too many wait."""
        native().order_add(self._order, count)
        if self._order.count > self._most:
            yield from self._give(NEVER, int(self._order.count) // 2)

    def add(self, events: Sequence[Fields]) -> Iterator[memoryview]:
        """Take these."""
        rows = (Row * len(events))(*cast(Sequence[Row], events))
        ctypes.memmove(self.room(len(rows)), rows, ctypes.sizeof(rows))
        yield from self.added(len(rows))

    def until(self, time_ns: int) -> Iterator[memoryview]:
        """Everything up to this time, if it is worth it: nothing earlier will be added."""
        if self._order.count >= self.worth:
            yield from self._give(time_ns)

    def rest(self) -> Iterator[memoryview]:
        """All that is left."""
        yield from self._give(NEVER)

    def damage(self) -> Iterator[Damage]:
        """What was dropped."""
        if self.late:
            yield Damage(0, f"{self.late} events came too late to be put in order")
        if self.absurd:
            yield Damage(0, f"{self.absurd} events have times that cannot be")

    def _give(self, until_ns: int, most: int | None = None) -> Iterator[memoryview]:
        out = address(self._given)
        left = int(self._order.count) if most is None else most
        while left:
            count = native().order_take(self._order, until_ns, out, min(left, _GIVEN))
            if not count:
                break
            left -= count
            yield memoryview(self._given)[: count * EVENT_BYTES]
        native().order_settle(self._order)
