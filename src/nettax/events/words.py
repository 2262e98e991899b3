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
        if order != _NATIVE:
            self.words = self.words.byteswap()

    def u32_at(self, index: Array) -> Array:
        """The words at indices (in words), which must lie within the buffer."""
        return self.words[index]

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
        """An integer of 1, 2, 4 or 8 bytes at each byte offset, as int64 (8 bytes: uint64)."""
        if size == 8:
            return self.u64(offsets)
        word = self.u32(offsets)
        if size < 4:
            if self.big:
                word = word >> np.uint32(32 - 8 * size)
            word = word & np.uint32((1 << 8 * size) - 1)
        value = word.astype(np.int64)
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
        for i in range(words):
            word = self.u32(offsets + 4 * i)
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
