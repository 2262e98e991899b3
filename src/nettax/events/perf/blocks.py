"""The records of perf.data in blocks: bytes, and where in them each record begins."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from nettax.errors import NettaxError
from nettax.events.model import Array, Damage, note_damage
from nettax.events.perf.attr import Attr
from nettax.events.perf.header import Header
from nettax.events.perf.walk import resync, walk
from nettax.events.zstd import ZstdStream

__all__ = ["Block", "Blocks"]

_HEADER_ATTR, _TRACING_DATA, _AUXTRACE, _FEATURE = 64, 66, 71, 80
_COMPRESSED, _COMPRESSED2 = 81, 83
# Records of odd sizes, or followed by more than their size says: perf's own, util/event.h.
_SPECIAL: Final = (_HEADER_ATTR, _TRACING_DATA, _AUXTRACE, _FEATURE, _COMPRESSED, _COMPRESSED2)
_LAST = 127
_IS_SPECIAL = np.isin(np.arange(_LAST + 1), _SPECIAL)
_LEAST, _MOST = 1 << 16, 4 << 20  # bytes looked at in one go; caches hold so much
_FULL = 4 << 20  # decompressed bytes that make a block
_MOST_TRACING_DATA = 64 << 20
_MOST_BREAKS = 2_000


@dataclass(frozen=True, slots=True)
class Block:
    """Whole records."""

    data: Array
    """Bytes."""
    starts: Array
    """Where each begins, in bytes."""
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
        window = min(window, self._end - self._at)
        data = np.empty(window // 8 * 8, np.uint8)
        units = os.preadv(self._file, [data.data], self._at) // 8 if len(data) else 0
        data = data[: 8 * units]
        at = self._at
        if not units:
            self._lose(at, self._end - at, "cut short within a record")
            self._at = self._end
            return None, False
        kinds, _ = heads(data, self._header.byteorder)
        places, stop, broken = walk(data, self._header.byteorder)
        special = np.flatnonzero(_IS_SPECIAL[np.minimum(kinds[places], _LAST)])
        if len(special):
            stop = int(places[special[0]])
            places = places[: special[0]]
        if len(special) or (broken and kinds[stop] in _SPECIAL):
            self._at = at + 8 * stop
        elif broken:
            after = resync(data, self._header.byteorder, stop + 1)
            self._at = at + 8 * after
            self._lose(at + 8 * stop, 8 * (after - stop), "not a record")
        elif stop == 0 or at + 8 * units >= self._end // 8 * 8:
            if stop == 0 and window < self._end - at and window < 1 << 17:
                return None, True  # one record larger than the window
            self._lose(at + 8 * stop, self._end - at - 8 * stop, "cut short within a record")
            self._at = self._end
        else:
            self._at = at + 8 * stop
        block = Block(data[: 8 * stop], 8 * places, at) if len(places) else None
        return block, not len(special) and not broken

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
        ids = np.frombuffer(record[8 + length :][: (len(record) - 8 - length) // 8 * 8], np.uint64)
        if self._header.order == ">":
            ids = ids.byteswap()
        object.__setattr__(attr, "ids", tuple(ids.tolist()))
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


def heads(data: Array, byteorder: str) -> tuple[Array, Array]:
    """What each 8 bytes would be as a record's head: its type and size, as views."""
    mark = "<" if byteorder == "little" else ">"
    return data.view(mark + "u4")[::2], data.view(mark + "u2")[3::4]


class _Inner:
    """Records that were decompressed, gathered to blocks of a good size."""

    def __init__(self, byteorder: str) -> None:
        self._byteorder = byteorder
        self._data = bytearray()
        self._walked = 0
        self._starts: list[Array] = []
        self._offset = 0

    def plain(self, block: Block) -> Iterator[Block]:
        """Records that came uncompressed in between."""
        self._walk()
        if self._walked == len(self._data):
            self._starts.append(block.starts + self._walked)
            self._data += block.data.tobytes()
            self._walked = len(self._data)
        else:
            yield from self._emit()
            yield block
        if len(self._data) >= _FULL:
            yield from self._emit()

    def add(self, piece: bytes, damage: list[Damage]) -> Iterator[Block]:
        self._data += piece
        if len(self._data) >= _FULL:
            broken = self._walk()
            if broken:
                yield from self._broken(damage)
            else:
                yield from self._emit()

    def flush(self, damage: list[Damage]) -> Iterator[Block]:
        if self._walk():
            yield from self._broken(damage)
        yield from self._emit()
        if self._data:
            damage.append(
                Damage(self._offset, f"{len(self._data)} bytes are cut short within a record")
            )

    def _walk(self) -> bool:
        fresh = np.frombuffer(bytes(memoryview(self._data)[self._walked :]), np.uint8)
        units = len(fresh) // 8
        if not units:
            return False
        places, stop, broken = walk(fresh[: 8 * units], self._byteorder)
        if len(places):
            self._starts.append(8 * places + self._walked)
        self._walked += 8 * stop
        return broken

    def _broken(self, damage: list[Damage]) -> Iterator[Block]:
        """Nothing tells where the next record is: drop what is there."""
        lost = len(self._data) - self._walked
        damage.append(
            Damage(self._offset + self._walked, f"{lost} decompressed bytes are not records")
        )
        del self._data[self._walked :]
        yield from self._emit()

    def _emit(self) -> Iterator[Block]:
        if self._starts:
            data = np.frombuffer(bytes(memoryview(self._data)[: self._walked]), np.uint8)
            yield Block(data, np.concatenate(self._starts), self._offset)
        del self._data[: self._walked]
        self._offset += self._walked
        self._walked = 0
        self._starts = []
