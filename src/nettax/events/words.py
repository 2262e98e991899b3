"""Columns out of raw bytes: fields of many records at once, whatever their alignment and order.

A buffer is looked at as native 32-bit words, swapped once if its machine had the other byte order.
Records are told as arrays of byte offsets.
"""

from __future__ import annotations

import sys

import numpy as np

from nettax.events.model import Array

__all__ = ["Words"]

_NATIVE = sys.byteorder


class Words:
    """A buffer of records of one byte order. Offsets past its end read as zero."""

    def __init__(self, data: bytes | bytearray | memoryview | Array, order: str = "little") -> None:
        """`order`: of the machine that wrote it, `little` or `big`."""
        raw = np.frombuffer(data, np.uint8)
        padding = -len(raw) % 4 + 32  # so that what sticks out by a field reads as zero
        if len(raw) % 4 == 0:
            self.words = raw.view(np.uint32)
            self._spare = np.zeros(padding, np.uint8)
        else:
            self.words = np.concatenate([raw, np.zeros(padding, np.uint8)]).view(np.uint32)
        self.size = len(raw)
        self.big = order == "big"
        self.swapped = order != _NATIVE
        if self.swapped:
            self.words = self.words.byteswap()

    def records(self, starts: Array) -> Records:
        """Records of this buffer, to read fields of at fixed offsets."""
        return Records(self, starts)

    def u32(self, offsets: Array) -> Array:
        """32 bits at each byte offset."""
        index = offsets >> 2
        shift = (offsets & 3).astype(np.uint32)
        aligned = not shift.any()
        last = len(self.words) - (1 if aligned else 2)
        out_of_reach = index > last if len(index) and int(index.max()) > last else None
        if out_of_reach is not None:
            if last < 0:
                return np.zeros(len(offsets), np.uint32)
            index = np.where(out_of_reach, 0, index)
        low = self.words[index]
        if not aligned:
            low = self._shifted(low, self.words[index + 1], shift * np.uint32(8))
        return low if out_of_reach is None else np.where(out_of_reach, np.uint32(0), low)

    def _shifted(self, first: Array, second: Array, bits: Array) -> Array:
        both = first.astype(np.uint64), second.astype(np.uint64)
        low, high = both[::-1] if self.big else both
        pair = low | (high << np.uint64(32))
        down = (np.uint64(32) - bits.astype(np.uint64)) if self.big else bits.astype(np.uint64)
        return (pair >> down).astype(np.uint32)

    def u64(self, offsets: Array) -> Array:
        """64 bits at each byte offset."""
        first, second = self.u32(offsets).astype(np.uint64), self.u32(offsets + 4)
        if self.big:
            return (first << np.uint64(32)) | second
        return first | (second.astype(np.uint64) << np.uint64(32))

    def number(self, offsets: Array, size: int, signed: bool) -> Array:
        """An integer of 1, 2, 4 or 8 bytes at each byte offset, of a type that holds it."""
        if size == 8:
            return self.u64(offsets)
        return self._part(self.u32(offsets), size, signed)

    def _part(self, word: Array, size: int, signed: bool) -> Array:
        """The number of so many bytes that a word begins with."""
        if size == 4:
            return word.view(np.int32) if signed else word
        if self.big:
            word = word >> np.uint32(32 - 8 * size)
        value = (word & np.uint32((1 << 8 * size) - 1)).astype(np.int64)
        if signed:
            top = 1 << (8 * size - 1)
            value = (value ^ top) - top
        return value

    def text_keys(self, offsets: Array, lengths: Array | int, words: int = 4) -> Array:
        """Strings of up to 4 × `words` bytes, as rows of words that are zero after the NUL.

        Equal rows are equal strings. `lengths`: bytes that belong to each, NUL included.
        """
        rows = np.empty((len(offsets), words), np.uint32)
        ended = np.zeros(len(offsets), bool)
        records = self.records(offsets)
        for i in range(words):
            word = records.u32(4 * i)
            if self.big:
                word = word.byteswap()  # keys are bytes in their order
            left = np.clip(np.asarray(lengths, np.int64) - 4 * i, 0, 4)
            keep = np.where(left >= 4, 0xFFFFFFFF, (1 << (8 * left)) - 1).astype(np.uint32)
            word = word & keep
            # the bytes below the first zero byte: a classic of bit tricks
            zero = (word - np.uint32(0x01010101)) & ~word & np.uint32(0x80808080)
            low = zero & (~zero + np.uint32(1))
            below = np.where(zero == 0, np.uint32(0xFFFFFFFF), (low >> np.uint32(7)) - np.uint32(1))
            rows[:, i] = np.where(ended, np.uint32(0), word & below)
            ended |= zero != 0
        return rows

    @staticmethod
    def text(row: Array) -> str:
        """One row of `text_keys` as a string; bytes that are not UTF-8 as ``\\xNN``."""
        raw = row.astype("<u4").tobytes().split(b"\0", 1)[0]
        return raw.decode(errors="backslashreplace")


class Records:
    """Many records of a buffer: fields at one offset in all of them.

    The common case, records and fields on words, goes without a look at each one's alignment.
    """

    def __init__(self, words: Words, starts: Array) -> None:
        """`starts`: of each, in bytes."""
        self._words = words
        self.starts = starts
        self._index = starts >> 2
        odd = int(np.bitwise_or.reduce(starts)) if len(starts) else 0
        self._aligned = not odd & 3
        # Words of 64 bits can be taken at once where they lie so, and need no swapping.
        self._wide = None if odd & 7 or words.swapped else words.words[: len(words.words) & ~1]
        self._last = int(self._index.max(initial=0))

    def u32(self, offset: int) -> Array:
        """32 bits at an offset from each record's start."""
        words = self._words.words
        if offset & 3 or not self._aligned or self._last + (offset >> 2) >= len(words):
            return self._words.u32(self.starts + offset)
        found: Array = words[self._index + (offset >> 2)]
        return found

    def u64(self, offset: int) -> Array:
        """64 bits."""
        if self._wide is not None and not offset & 7:
            wide = self._wide.view(np.uint64)
            if (self._last >> 1) + (offset >> 3) < len(wide):
                found: Array = wide[(self._index >> 1) + (offset >> 3)]
                return found
        first, second = self.u32(offset).astype(np.uint64), self.u32(offset + 4)
        if self._words.big:
            return (first << np.uint64(32)) | second
        return first | (second.astype(np.uint64) << np.uint64(32))

    def number(self, offset: int, size: int, signed: bool) -> Array:
        """An integer of 1, 2, 4 or 8 bytes, of a type that holds it."""
        if size == 8:
            return self.u64(offset)
        return self._words._part(self.u32(offset), size, signed)
