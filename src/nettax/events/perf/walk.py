"""Finding the records of a buffer: each says only how long it is, so they form a chain."""

from __future__ import annotations

import ctypes
import sys
from typing import Final

from nettax.events.records import address, native

__all__ = ["BROKEN", "ON", "SPECIAL", "UNIT", "Chain", "resync"]

UNIT: Final = 8
"""Bytes; all records are of whole units, and begin at one."""
ON, BROKEN, SPECIAL = 0, 1, 2


class _Walk(ctypes.Structure):
    """struct walk."""

    _fields_ = (("stop", ctypes.c_uint64), ("count", ctypes.c_uint32), ("why", ctypes.c_uint32))


class Chain:
    """Where records begin: good until the next walk."""

    def __init__(self, most: int) -> None:
        """`most`: bytes that a buffer may have."""
        self.starts = (ctypes.c_uint32 * (most // UNIT))()
        """In bytes, the first `count` of these."""
        self._walk = _Walk()

    @property
    def count(self) -> int:
        return int(self._walk.count)

    @property
    def stop(self) -> int:
        """Where the chain goes on, in bytes."""
        return int(self._walk.stop)

    @property
    def why(self) -> int:
        """`ON`: there the buffer ends, or a record begins that goes beyond its end. `BROKEN`: one
        of no possible size. `SPECIAL`: one that is followed by more than its size says.
        """
        return int(self._walk.why)

    def follow(
        self, data: bytearray, byteorder: str, start: int, end: int, *, special: bool = True
    ) -> Chain:
        """Follow the chain from `start`. `special`: stop at such records, too.

        `starts` and `stop` are relative to there.
        """
        native().walk_records(
            address(data) + start,
            min(end - start, len(self.starts) * UNIT),
            byteorder != sys.byteorder,
            special,
            self.starts,
            ctypes.byref(self._walk),
        )
        return self


def resync(data: bytearray, byteorder: str, start: int, end: int) -> int:
    """The first place from `start` on that looks like a record and has others behind it.

    The end of the buffer if there is none; in bytes.
    """
    found: int = native().walk_resync(address(data), end, byteorder != sys.byteorder, start)
    return found
