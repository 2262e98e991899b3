"""A BPF ring buffer of records of one size, read as an array where it lies.

Layout: kernel/bpf/ringbuf.c. A page with the consumer's position, which we write; a page with the
producer's, which we read; the data, mapped twice in a row, so that no record is ever cut in two.
Each record has a header of 8 bytes: its length, with the topmost bit while it is being written.
"""

from __future__ import annotations

import mmap
from contextlib import suppress

import numpy as np

from nettax.events.model import Array

__all__ = ["HEADER", "Ring"]

HEADER = 8  # bytes before each record


class Ring:
    """One ring. `records()` looks at what is there, `release()` gives the room back."""

    def __init__(self, fd: int, size: int, record: int) -> None:
        """`size`: of the ring; `record`: of one record, in bytes, without its header."""
        page = mmap.PAGESIZE
        self._position = mmap.mmap(fd, page)
        self._data = mmap.mmap(fd, page + 2 * size, prot=mmap.PROT_READ, offset=page)
        self._consumed = np.frombuffer(self._position, "<u8", 1)
        self._produced = np.frombuffer(self._data, "<u8", 1)
        self.size = size
        self.stride = HEADER + record
        self._length = np.uint32(record)

    def records(self, most: int) -> Array:
        """Up to `most` complete records with their headers: an array of bytes, a row for each.

        It is the ring's own memory, good until the rows are released.
        """
        start = int(self._consumed[0])
        count = min((int(self._produced[0]) - start) // self.stride, most)
        place = mmap.PAGESIZE + (start & (self.size - 1))
        rows = np.ndarray((count, self.stride), np.uint8, self._data, place)
        lengths = np.ndarray((count,), "<u4", self._data, place, (self.stride,))
        busy = lengths != self._length
        return rows[: int(busy.argmax())] if busy.any() else rows

    def release(self, count: int) -> None:
        """Give back the room of the first `count` records."""
        # One aligned store of 64 bits, after whoever read them: a system call, or numpy.
        self._consumed[0] += np.uint64(count * self.stride)

    @property
    def waiting(self) -> int:
        """How many records there are, the last of which may not be complete."""
        return int(self._produced[0] - self._consumed[0]) // self.stride

    @property
    def filled(self) -> float:
        """The share of the ring that waits to be read."""
        return int(self._produced[0] - self._consumed[0]) / self.size

    def close(self) -> None:
        """Unmap, once nobody looks at its records any more."""
        del self._consumed, self._produced
        for mapped in (self._position, self._data):
            with suppress(BufferError):  # a view lives on; the memory goes with it
                mapped.close()
