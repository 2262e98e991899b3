"""The records of perf.data in blocks: bytes, and where in them each record begins."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from nettax.errors import NettaxError
from nettax.events.model import Damage, note_damage
from nettax.events.perf.attr import Attr
from nettax.events.perf.header import Header
from nettax.events.perf.walk import BROKEN, SPECIAL, UNIT, Chain, resync
from nettax.events.zstd import ZstdStream

__all__ = ["Block", "Blocks"]

_HEADER_ATTR, _TRACING_DATA, _AUXTRACE, _FEATURE = 64, 66, 71, 80
_COMPRESSED, _COMPRESSED2 = 81, 83
# Records of odd sizes, or followed by more than their size says: perf's own, util/event.h.
_SPECIAL: Final = (_HEADER_ATTR, _TRACING_DATA, _AUXTRACE, _FEATURE, _COMPRESSED, _COMPRESSED2)
_LEAST, _MOST = 1 << 16, 1 << 20  # bytes looked at in one go; caches hold so much
_FULL = 1 << 20  # decompressed bytes that make a block
_MOST_TRACING_DATA = 64 << 20
_MOST_BREAKS = 2_000


class Block(NamedTuple):
    """Whole records; good until the next block."""

    data: bytearray
    chain: Chain
    """Where each begins, in bytes of `data` from its start."""
    offset: int
    """Of its first byte in the file; in compressed data, of what was decompressed."""


class Blocks:
    """Iterates over the blocks of an open file; takes in what a pipe's header comes as."""

    def __init__(self, file: int, size: int, header: Header, damage: list[Damage]) -> None:
        """`file`: a descriptor."""
        self._file = file
        self._end = min(size, header.end) if header.end is not None else size
        self._header = header
        self._damage = damage
        self._at = header.start
        self._breaks = 0
        self._zstd: ZstdStream | None = None
        self._data = bytearray(_MOST)
        self._chain = Chain(_MOST)
        self._inner = _Inner(header.byteorder)

    def __iter__(self) -> Iterator[Block]:
        try:
            yield from self._blocks()
        finally:
            if self._zstd:
                self._zstd.close()

    def _blocks(self) -> Iterator[Block]:
        window = _LEAST
        while self._at < self._end:
            kind, size = self._peek()
            if kind in _SPECIAL:
                yield from self._special(kind, size)
                window = _LEAST
                continue
            block, rest = self._plain(window)
            window = min(2 * window, _MOST) if rest else _LEAST
            if block is None:
                continue
            if self._zstd:
                yield from self._inner.plain(block)
            else:
                yield block
        yield from self._inner.flush(self._damage)

    def _peek(self) -> tuple[int, int]:
        head = os.pread(self._file, 8, self._at)
        if len(head) < 8:
            return 0, 0
        kind, _, size = struct.unpack(self._header.order + "IHH", head)
        return kind, size

    def _plain(self, window: int) -> tuple[Block | None, bool]:
        """Ordinary records from here on; whether it may as well look at more next time."""
        window = min(window, self._end - self._at) // UNIT * UNIT
        at, order = self._at, self._header.byteorder
        size = os.preadv(self._file, [memoryview(self._data)[:window]], at) // UNIT * UNIT
        if not size:
            self._lose(at, self._end - at, "cut short within a record")
            self._at = self._end
            return None, False
        chain = self._chain.follow(self._data, order, 0, size)
        stop = chain.stop
        self._at = at + stop
        if chain.why == BROKEN:
            after = resync(self._data, order, stop + UNIT, size)
            self._at = at + after
            self._lose(at + stop, after - stop, "not a record")
        elif chain.why != SPECIAL and (stop == 0 or at + size >= self._end // UNIT * UNIT):
            if stop == 0 and window < (self._end - at) // UNIT * UNIT and window < 1 << 17:
                return None, True  # one record larger than the window
            self._lose(at + stop, self._end - at - stop, "cut short within a record")
            self._at = self._end
        block = Block(self._data, chain, at) if chain.count else None
        return block, not chain.why

    def _lose(self, offset: int, size: int, why: str) -> None:
        if size > 0:
            note_damage(self._damage, offset, f"{size} bytes are {why}")
            self._give_up()

    def _give_up(self) -> None:
        """Where nearly nothing is a record, looking on would take forever and find nothing."""
        self._breaks += 1
        if self._breaks == _MOST_BREAKS and self._at < self._end:
            left = self._end - self._at
            self._damage.append(Damage(self._at, f"{left} bytes were not looked at: too corrupt"))
            self._end = self._at

    def _special(self, kind: int, size: int) -> Iterator[Block]:
        at = self._at
        if size < 8 or at + size > self._end:
            self._lose(at, self._end - at, "cut short within a record")
            self._at = self._end
            return
        record = os.pread(self._file, size, at)
        self._at += size
        order = self._header.order
        if kind in (_COMPRESSED, _COMPRESSED2):
            yield from self._decompress(kind, record, at)
        elif kind == _HEADER_ATTR:
            self._attr(record, at)
        elif kind == _FEATURE and size >= 16:
            number = struct.unpack_from(order + "Q", record, 8)[0]
            self._header.feature(number, record[16:], at)
        elif kind == _TRACING_DATA and size >= 12:
            length = struct.unpack_from(order + "I", record, 8)[0]
            if length <= _MOST_TRACING_DATA:
                self._header.feature(1, os.pread(self._file, length, self._at), self._at)
            self._at += -(-length // 8) * 8
        elif kind == _AUXTRACE and size >= 16:
            self._at += struct.unpack_from(order + "Q", record, 8)[0]

    def _attr(self, record: bytes, at: int) -> None:
        try:
            attr, length = Attr.parse(record[8:], self._header.order)
        except NettaxError as error:
            note_damage(self._damage, at, str(error))
            return
        data = record[8 + length :]
        ids = struct.unpack_from(f"{self._header.order}{len(data) // 8}Q", data)
        object.__setattr__(attr, "ids", ids)
        self._header.attrs.append(attr)

    def _decompress(self, kind: int, record: bytes, at: int) -> Iterator[Block]:
        data = record[8:]
        if kind == _COMPRESSED2:  # since Linux v6.16: padded to 8 bytes
            if len(data) < 8:
                return
            (length,) = struct.unpack_from(self._header.order + "Q", data)
            data = data[8 : 8 + length]
        if self._zstd is None:
            self._zstd = ZstdStream()
        pieces = self._zstd.feed(data)
        while True:
            try:
                piece = next(pieces, None)
            except NettaxError as error:
                note_damage(self._damage, at, f"compressed events: {error}")
                self._give_up()
                self._zstd.close()
                self._zstd = ZstdStream()  # one that begins anew may follow
                return
            if piece is None:
                return
            yield from self._inner.add(piece, self._damage)


class _Inner:
    """Records that were decompressed, gathered to blocks of a good size."""

    def __init__(self, byteorder: str) -> None:
        self._byteorder = byteorder
        self._data = bytearray()
        self._chain = Chain(2 * _FULL)
        self._offset = 0

    def plain(self, block: Block) -> Iterator[Block]:
        """Records that came uncompressed in between."""
        yield from self._emit(None)
        yield block

    def add(self, piece: bytes, damage: list[Damage]) -> Iterator[Block]:
        self._data += piece
        if len(self._data) >= _FULL:
            yield from self._emit(damage)

    def flush(self, damage: list[Damage]) -> Iterator[Block]:
        yield from self._emit(damage)
        if self._data:
            damage.append(
                Damage(self._offset, f"{len(self._data)} bytes are cut short within a record")
            )

    def _emit(self, damage: list[Damage] | None) -> Iterator[Block]:
        """The whole records; what is none is dropped, if there is a list to tell it in."""
        chain = self._chain.follow(self._data, self._byteorder, 0, len(self._data), special=False)
        stop, broken = chain.stop, chain.why == BROKEN
        if chain.count:
            yield Block(self._data, chain, self._offset)
        if broken and damage is not None:
            # Nothing tells where the next record is.
            lost = len(self._data) - stop
            damage.append(Damage(self._offset + stop, f"{lost} decompressed bytes are not records"))
            stop += lost
        del self._data[:stop]
        self._offset += stop
