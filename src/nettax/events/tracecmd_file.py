"""The file format of trace-cmd, versions 6 and 7: trace-cmd.dat.v6(5), trace-cmd.dat.v7(5)."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from nettax.errors import NettaxError
from nettax.events.formats import Format
from nettax.events.model import Damage, note_damage
from nettax.events.tracing_data import (
    MAGIC,
    Cursor,
    TracingData,
    comms,
    formats,
    read_formats,
    systems,
)
from nettax.events.zstd import ZstdStream

__all__ = ["CpuData", "TraceFile", "pages", "read_trace_file"]

_MOST_HEAD = 64 << 20  # bytes of all that is not events
_MOST_CHUNK = 64 << 20
_CPUSTAT, _BUFFER, _TRACECLOCK, _UNAME, _OFFSET = 2, 3, 4, 5, 7
_HEADER_INFO, _FTRACE_EVENTS, _EVENT_FORMATS, _CMDLINES = 16, 17, 18, 21
_DONE = 0
_COMPRESSED = 1
_MOST_CPUS = 1 << 16


@dataclass(frozen=True, slots=True)
class CpuData:
    """Where one CPU's pages are in the file; `size` as there."""

    cpu: int
    offset: int
    size: int


@dataclass(slots=True)
class TraceFile:
    """What is known before the events."""

    version: int
    data: TracingData
    compression: str = "none"
    cpus: list[CpuData] = field(default_factory=list)
    clock: str = ""
    uname: str = ""
    offset_ns: int = 0
    """To be added to every time."""
    overrun: dict[int, int] = field(default_factory=dict)
    """Events lost, by CPU, as the kernel counted them."""
    damage: list[Damage] = field(default_factory=list)

    @property
    def formats(self) -> dict[int, Format]:
        return {one.id: one for one in self.data.formats}


def read_trace_file(file: int, size: int) -> TraceFile:
    """Read all but the events; `file` is a descriptor.

    :raises NettaxError: it is no such file, or what is needed of it is corrupt
    """
    cursor = Cursor(_read_at(file, min(size, 256), 0))
    if cursor.take(len(MAGIC)) != MAGIC:
        raise NettaxError("not a trace.dat file")
    version = cursor.text(16)
    if version not in ("6", "7"):
        raise NettaxError(f"a trace.dat of version {version[:8]!r}: only 6 and 7 are known here")
    cursor.order = ">" if cursor.number(1) else "<"
    data = TracingData(cursor.order, cursor.number(1), cursor.number(4))
    if data.page_size not in (1 << bits for bits in range(9, 21)):
        raise NettaxError(f"byte {cursor.at - 4}: pages of {data.page_size} bytes")
    found = TraceFile(int(version), data)
    if version == "6":
        cursor.data = _read_at(file, min(size, _MOST_HEAD), 0)
        _read_v6(cursor, found)
    else:
        found.compression = cursor.text(32)
        cursor.text(32)  # its version
        _Sections(file, size, found).read(cursor.number(8))
    if not found.data.formats:
        raise NettaxError("it does not say how its events are laid out")
    return found


def _read_at(file: int, size: int, offset: int) -> bytes:
    """As pread(2); nothing at offsets that only a corrupt file can name."""
    return os.pread(file, size, offset) if offset < 1 << 62 else b""


def _read_v6(cursor: Cursor, found: TraceFile) -> None:
    read_formats(cursor, found.data)
    cursor.take(cursor.number(4))  # kallsyms
    cursor.take(cursor.number(4))  # printk formats
    found.data.comms = comms(cursor.take(cursor.number(8)))
    cpus = cursor.number(4)
    if cpus > _MOST_CPUS:
        raise NettaxError(f"byte {cursor.at - 4}: {cpus} CPUs")
    kind = cursor.take(10)
    if kind.startswith(b"options"):
        while number := cursor.number(2):
            _option(found, number, cursor.take(cursor.number(4)))
        kind = cursor.take(10)
    if not kind.startswith(b"flyrecord"):
        raise NettaxError("it holds a latency trace, which is text: trace-cmd report shows it")
    for cpu in range(cpus):
        found.cpus.append(CpuData(cpu, cursor.number(8), cursor.number(8)))
    with suppress(NettaxError):  # since trace-cmd 2.3
        clock = cursor.take(min(cursor.number(8), 256))
        found.clock = found.clock or _clock(clock)


def _clock(raw: bytes) -> str:
    """The one in brackets, out of tracefs's trace_clock: `local [mono] boot`."""
    text = raw.split(b"\0", 1)[0].decode(errors="replace")
    before, bracket, rest = text.partition("[")
    return rest.partition("]")[0] if bracket else before.strip()


def _option(found: TraceFile, number: int, data: bytes) -> None:
    text = data.split(b"\0", 1)[0].decode(errors="replace")
    if number == _TRACECLOCK and text:
        found.clock = _clock(data)
    elif number == _UNAME:
        found.uname = text
    elif number == _OFFSET:
        with suppress(ValueError):
            found.offset_ns = int(text[:20], 0)
    elif number == _CPUSTAT:
        facts = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        with suppress(ValueError, KeyError):
            found.overrun[int(facts["CPU"][:9])] = int(facts["overrun"][:18])


class _Sections:
    """Version 7: options that tell where everything else is."""

    def __init__(self, file: int, size: int, found: TraceFile) -> None:
        self._file = file
        self._size = size
        self._found = found

    def read(self, offset: int) -> None:
        seen: set[int] = set()
        places: dict[int, int] = {}
        while offset and offset not in seen and len(seen) < 64:
            seen.add(offset)
            offset = self._options(self._section(offset, 0), places)
        order = self._found.data.order
        for number in (_HEADER_INFO, _FTRACE_EVENTS, _EVENT_FORMATS, _CMDLINES):
            if number not in places:
                continue
            try:
                cursor = Cursor(self._section(places[number], number), order)
                self._take(number, cursor)
            except NettaxError as error:
                self._found.damage.append(Damage(places[number], str(error)))

    def _take(self, number: int, cursor: Cursor) -> None:
        data = self._found.data
        if number == _HEADER_INFO:
            cursor.text(16)
            data.header_page = cursor.take(cursor.number(8)).decode(errors="replace")
        elif number == _CMDLINES:
            data.comms = comms(cursor.take(cursor.number(8)))
        elif number == _FTRACE_EVENTS:
            formats(cursor, data)
        else:
            systems(cursor, data)

    def _section(self, offset: int, number: int) -> bytes:
        order = self._found.data.order
        head = _read_at(self._file, 16, offset)
        if len(head) < 16:
            raise NettaxError(f"byte {offset}: cut short before a section")
        kind, flags, _, size = struct.unpack(order + "HHIQ", head)
        if kind != number:
            raise NettaxError(f"byte {offset}: section {number} expected, {kind} found")
        if offset + 16 + size > self._size or size > _MOST_HEAD:
            raise NettaxError(f"byte {offset}: section {number} goes beyond the end of the file")
        data = _read_at(self._file, size, offset + 16)
        if not flags & _COMPRESSED:
            return data
        if len(data) < 8:
            raise NettaxError(f"byte {offset}: section {number} is too short")
        packed, whole = struct.unpack_from(order + "II", data)
        return unpack(self._found.compression, data[8 : 8 + packed], whole, offset)

    def _options(self, data: bytes, places: dict[int, int]) -> int:
        """Take in the options of one section; returns where the next is."""
        cursor = Cursor(data, self._found.data.order)
        while True:
            number, option = cursor.number(2), Cursor(b"", cursor.order)
            option.data = cursor.take(cursor.number(4))
            if number == _DONE:
                return option.number(8)
            if number == _BUFFER:
                self._buffer(option)
            elif number in (_HEADER_INFO, _FTRACE_EVENTS, _EVENT_FORMATS, _CMDLINES):
                places[number] = option.number(8)
            else:
                _option(self._found, number, option.data)

    def _buffer(self, option: Cursor) -> None:
        option.number(8)
        instance, clock = option.text(), option.text()
        if instance:
            return  # not the top one
        self._found.clock = clock
        page_size = option.number(4)
        if page_size in (1 << bits for bits in range(9, 21)):
            self._found.data.page_size = page_size
        for _ in range(min(option.number(4), _MOST_CPUS)):
            cpu = CpuData(option.number(4), option.number(8), option.number(8))
            self._found.cpus.append(cpu)


def unpack(compression: str, data: bytes, size: int, offset: int) -> bytes:
    """Decompress to `size` bytes.

    :raises NettaxError: corrupt, or compressed in another way
    """
    if size > _MOST_CHUNK:
        raise NettaxError(f"byte {offset}: {size} bytes in one piece")
    if compression == "zlib":
        try:
            return zlib.decompressobj().decompress(data, size)
        except zlib.error as error:
            raise NettaxError(f"byte {offset}: {error}") from None
    if compression == "zstd":
        out = bytearray()
        with ZstdStream() as stream:
            for piece in stream.feed(data):
                out += piece
                if len(out) >= size:
                    break
        return bytes(out[:size])
    raise NettaxError(
        f"it is compressed by {compression[:16]!r}: only zstd and zlib are known here"
    )


def pages(
    file: int, size: int, found: TraceFile, cpu: CpuData, damage: list[Damage], most: int
) -> Iterator[tuple[bytes, int]]:
    """One CPU's pages, whole ones, up to so many bytes at a time; and their offset in the file."""
    end = min(cpu.offset + cpu.size, size)
    if cpu.size and cpu.offset + cpu.size > size:
        missing = cpu.offset + cpu.size - max(size, cpu.offset)
        damage.append(Damage(size, f"cut short: {missing} bytes of CPU {cpu.cpu} are missing"))
    page = found.data.page_size
    if found.compression == "none" or found.version == 6:
        for at in range(cpu.offset, end - page + 1, max(most // page, 1) * page):
            length = min(max(most // page, 1) * page, (end - at) // page * page)
            yield _read_at(file, length, at), at
        return
    at = cpu.offset + 4
    if at > size:
        return
    end = min(at + cpu.size, size)  # the size is that of the chunks, without their number
    (count,) = struct.unpack(found.data.order + "I", _read_at(file, 4, cpu.offset))
    for _ in range(count):
        head = _read_at(file, 8, at)
        if len(head) < 8 or at + 8 > end:
            return
        packed, whole = struct.unpack(found.data.order + "II", head)
        if at + 8 + packed > end:
            return
        try:
            yield unpack(found.compression, _read_at(file, packed, at + 8), whole, at), at
        except NettaxError as error:
            note_damage(damage, at, str(error))
        at += 8 + packed
