"""nettax's own recordings: a line of JSON, then chunks of records as they came from the rings.

The format is described in docs/recording.md. It is append only: a recording whose writer was killed
is readable up to its last whole chunk.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from nettax.errors import NettaxError
from nettax.events.model import (
    EVENT,
    EVERY_CPU,
    NO_PID,
    Array,
    Damage,
    EventArray,
    Kind,
    Machine,
    Recording,
    Tables,
    Task,
)
from nettax.events.order import Sorter
from nettax.events.records import EVENT_BYTES, Row, native

__all__ = [
    "MAGIC",
    "NOTE",
    "NOTE_TASK",
    "SCHEMA",
    "ChunkKind",
    "NativeRecording",
    "Writer",
    "layout",
    "records",
    "untraced",
]

SCHEMA = "nettax.recording/1"
MAGIC = b'{"schema": "nettax.recording/'
MOST_HEADER = 1 << 20  # bytes of the first line
MOST_CHUNK = 64 << 20
RING_HEADER = 8  # bytes before each record

NOTE = np.dtype(
    [
        ("time_ns", "<u8"),
        ("kind", "<u4"),
        ("id", "<u4"),
        ("number", "<u4"),
        ("kthread", "<u4"),
        ("start_ns", "<u8"),
        ("group", "<u8"),
        ("name", "S16"),
    ]
)
"""struct note of bpf/record.h."""
NOTE_TASK, NOTE_DEVICE = 1, 2

# Magic (no UTF-8 text has its first byte), kind, CPU, length of what follows, its checksum, first
# and last time in it; then the CRC-32 of all these.
CHUNK_MAGIC = b"\xf5NTX"
_HEAD = struct.Struct("<4sHHIIQQ")
_CHECK = struct.Struct("<I")
HEAD_BYTES = _HEAD.size + _CHECK.size


class ChunkKind(IntEnum):
    """What a chunk holds; the numbers are part of the format."""

    EVENTS = 1
    """Of one CPU, in the order in which they were written there."""
    NOTES = 2
    """Who a pid or a device's number is."""
    FACTS = 3
    """A JSON object that adds to the first line's."""


def layout(dtype: np.dtype[Any]) -> dict[str, Any]:
    """How a record lies in the file: a header of 8 bytes, the ring's, then the fields."""
    fields: Any = dtype.fields
    return {
        "bytes": dtype.itemsize + 8,
        "fields": [[name, fields[name][0].str, fields[name][1] + 8] for name in dtype.names or ()],
    }


def untraced(facts: Mapping[str, Any]) -> dict[str, int] | None:
    """Of all CPUs: softirqs, switches and packets that went untraced; None: not told."""
    by_cpu = facts.get("untraced")
    if by_cpu is None:
        return None
    rows = by_cpu.values()
    return {
        "softirqs": sum(sum(row["softirqs"]) for row in rows),
        "switches": sum(row["switches"] for row in rows),
        "packets": sum(row["packets"] or 0 for row in rows),
    }


def checksum(payload: Any) -> int:
    """The CRC-32 of the sums, modulo 2⁶⁴, of each 4 KiB: as 64-bit words, the last ones fewer.

    It costs a twentieth of the CRC of all, and nearly nothing beside the writing. A word that was
    changed shows, and so do pages that are missing, empty or at another's place.
    """
    words = np.frombuffer(payload, "<u8")
    whole = len(words) // 512 * 512
    sums = np.add.reduce(words[:whole].reshape(-1, 512), axis=1)
    return zlib.crc32(np.append(sums, np.add.reduce(words[whole:])).tobytes())


class Writer:
    """A recording being written; a context manager that closes the file."""

    def __init__(self, path: Path, facts: Mapping[str, Any], overwrite: bool = False) -> None:
        """Make the file and write its first line.

        :raises NettaxError: it is there already, and not to be overwritten
        :raises OSError: it cannot be written
        """
        self._path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_APPEND
        flags |= os.O_TRUNC if overwrite else os.O_EXCL
        try:
            self._fd = os.open(path, flags, 0o644)
        except FileExistsError as error:
            raise NettaxError(f"{path} is there already: -f overwrites it") from error
        self.written = 0
        layouts = {"event": layout(EVENT), "note": layout(NOTE)}
        line = json.dumps({"schema": SCHEMA, **facts, **layouts}).encode() + b"\n"
        self._write([line], len(line))

    def events(self, cpu: int, rows: Array) -> None:
        """Append records of one CPU, with the ring's headers."""
        times = rows.view("<u8")[:, 1]
        self._chunk(ChunkKind.EVENTS, cpu, rows, int(times.min()), int(times.max()))

    def notes(self, rows: Array) -> None:
        """Append notes, with the ring's headers."""
        times = rows.view("<u8")[:, 1]
        self._chunk(ChunkKind.NOTES, 0, rows, int(times.min()), int(times.max()))

    def facts(self, facts: Mapping[str, Any]) -> None:
        """Append facts."""
        payload = json.dumps(facts).encode()
        self._chunk(ChunkKind.FACTS, 0, payload.ljust((len(payload) + 7) // 8 * 8), 0, 0)

    def _chunk(self, kind: ChunkKind, cpu: int, payload: Any, first: int, last: int) -> None:
        length = len(payload) if isinstance(payload, bytes) else payload.nbytes
        head = _HEAD.pack(CHUNK_MAGIC, kind, cpu, length, checksum(payload), first, last)
        self._write([head + _CHECK.pack(zlib.crc32(head)), payload], HEAD_BYTES + length)

    def _write(self, parts: list[Any], length: int) -> None:
        try:
            done = os.writev(self._fd, parts)
            self.written += length
            if done < length:  # a full disk tells so at the next write
                rest = b"".join(map(bytes, parts))[done:]
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error

    def sync(self) -> None:
        """Wait until what was written is on the disk."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Close the file. May be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Chunk(NamedTuple):
    """Where a chunk's payload is."""

    first_ns: int
    kind: int
    cpu: int
    offset: int
    length: int
    checksum: int


class NativeRecording(Recording):
    """A recording made by `nettax record`."""

    format = "nettax"

    def __init__(self, path: Path) -> None:
        """Read the first line, where the chunks are, and what they say of names.

        :raises NettaxError: the file is none of nettax's, or of a version that this one cannot read
        """
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._size = os.fstat(self._fd).st_size
            start = self._read_header()
            self.damage = []
            self._chunks = list(self._scan(start))
            self._read_tables()
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            self.close()
            raise NettaxError(f"{path}: what it says of itself makes no sense: {error}") from error
        except BaseException:
            self.close()
            raise

    def _read_header(self) -> int:
        line, newline, _ = os.pread(self._fd, MOST_HEADER, 0).partition(b"\n")
        if not line.startswith(MAGIC) or not newline:
            raise NettaxError(f"{self.path} is no recording of nettax's, or its first line is cut")
        try:
            facts = json.loads(line)
        except ValueError as error:
            raise NettaxError(f"{self.path}: its first line is damaged: {error}") from error
        if facts["schema"] != SCHEMA or facts.get("event") != layout(EVENT):
            raise NettaxError(
                f"{self.path} is of the format {facts['schema']}, made by nettax "
                f"{facts.get('nettax', '?')}; this one reads {SCHEMA}"
            )
        self.facts: dict[str, Any] = facts
        return len(line) + 1

    def _scan(self, offset: int) -> Iterator[_Chunk]:
        """Hop from head to head; where there is none, look for the next one."""
        while offset < self._size:
            head = os.pread(self._fd, HEAD_BYTES, offset)
            chunk = _parse(head, offset)
            if chunk is None:
                found = self._next_head(offset + 1)
                missing = "the last chunk is cut" if found == self._size else "no chunk here"
                self.damage.append(Damage(offset, f"{missing}: {found - offset} bytes skipped"))
                offset = found
                continue
            offset = chunk.offset + chunk.length
            if offset > self._size:
                cut = offset - self._size
                what = f"the last chunk is cut: {cut} of {chunk.length} bytes are missing"
                self.damage.append(Damage(chunk.offset, what))
                chunk = chunk._replace(length=chunk.length - cut, checksum=-1)
            yield chunk

    def _next_head(self, offset: int) -> int:
        step = 1 << 20
        while offset < self._size:
            block = os.pread(self._fd, step + HEAD_BYTES, offset)
            place = block.find(CHUNK_MAGIC)
            while place >= 0:
                if _parse(block[place : place + HEAD_BYTES], offset + place):
                    return offset + place
                place = block.find(CHUNK_MAGIC, place + 1)
            offset += step
        return self._size

    def _payload(self, chunk: _Chunk) -> bytes | None:
        """What a chunk holds; None, and a word in `damage`, if that is not what was written.

        Of a chunk that is cut there is no checksum of the part that is left.
        """
        data = os.pread(self._fd, chunk.length, chunk.offset)
        if chunk.checksum >= 0 and (len(data) % 8 or checksum(data) != chunk.checksum):
            damage = Damage(chunk.offset, f"{chunk.length} bytes do not match their checksum")
            if damage not in self.damage:
                self.damage.append(damage)
            return None
        return data

    def _read_tables(self) -> None:
        self.tables = Tables()
        for chunk in self._chunks:
            if chunk.kind not in (ChunkKind.NOTES, ChunkKind.FACTS):
                continue
            data = self._payload(chunk)
            if data is None:
                continue
            if chunk.kind == ChunkKind.FACTS and chunk.checksum >= 0:
                self._add_facts(json.loads(data))
        facts = self.facts
        self.tables.irqs = {int(number): name for number, name in facts.get("irqs", {}).items()}
        for chunk in self._chunks:
            if chunk.kind == ChunkKind.NOTES and (data := self._payload(chunk)) is not None:
                for note in records(data, NOTE).tolist():
                    self._add_note(*note)
        self.machine = Machine(
            facts.get("hostname"), facts.get("release"), facts.get("arch"), facts.get("online")
        )
        self.clock = facts.get("clock")
        self.kinds = frozenset(Kind[name] for name in facts.get("kinds", ()))
        self.vectors = None
        before, after = facts.get("squeezed", {}), facts.get("squeezed_end")
        if after is not None:
            self.squeezed = {
                int(cpu): (count - before.get(cpu, count)) % 2**32 for cpu, count in after.items()
            }

        self._untold = list(self._losses(facts))
        self.untraced = untraced(facts)

    def _losses(self, facts: Mapping[str, Any]) -> Iterator[Row]:
        """Those of which no event in the stream tells: at the end, then."""
        end_ns = facts.get("last_ns", 0)
        for cpu, (_, _, _, untold) in facts.get("lost", {}).items():
            if untold:
                yield _lost(int(cpu), end_ns, untold)
        if missed := facts.get("missed", 0):
            yield _lost(EVERY_CPU, end_ns, missed)

    def _add_facts(self, more: Mapping[str, Any]) -> None:
        for name, value in more.items():
            if isinstance(value, dict):
                self.facts.setdefault(name, {}).update(value)
            else:
                self.facts[name] = value

    def _add_note(
        self,
        time_ns: int,
        kind: int,
        number: int,
        other: int,
        kthread: int,
        start_ns: int,
        group: int,
        name: bytes,
    ) -> None:
        text = name.decode(errors="replace")
        if kind == NOTE_DEVICE:
            own = group == self.facts.get("netns")
            self.tables.devices[number] = text if own else f"{text}@{group}"
        elif kind == NOTE_TASK:
            cgroup = self.facts.get("cgroups", {}).get(str(group))
            self.tables.tasks.add(
                Task(number, time_ns, text, other, start_ns, bool(kthread), cgroup)
            )

    @property
    def ended(self) -> bool:
        """Whether the recorder came to its end: else it was killed, or the file is cut."""
        return bool(self.facts.get("ended"))

    def rows(self) -> Iterator[memoryview]:
        """All events, merged by time: what is held at a time is about one chunk of each CPU."""
        order = sorted(c for c in self._chunks if c.kind == ChunkKind.EVENTS)
        sorter = Sorter()
        for chunk in order:
            yield from sorter.until(max(chunk.first_ns - 1, 0))
            yield from self._events(chunk, sorter)
        yield from sorter.rest()
        self.damage += [damage for damage in sorter.damage() if damage not in self.damage]
        if self._untold:
            yield memoryview((Row * len(self._untold))(*self._untold)).cast("B")

    def _events(self, chunk: _Chunk, sorter: Sorter) -> Iterator[memoryview]:
        count = chunk.length // (EVENT_BYTES + RING_HEADER)
        data = self._payload(chunk)
        if data is None:
            lost = _lost(chunk.cpu, chunk.first_ns, count)
            ctypes.memmove(sorter.room(1), ctypes.byref(lost), EVENT_BYTES)
            yield from sorter.added(1)
        else:
            count = min(count, len(data) // (EVENT_BYTES + RING_HEADER))
            native().event_unwrap(data, count, sorter.room(count))
            yield from sorter.added(count)

    def close(self) -> None:
        """Close the file. May be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self


def _parse(head: bytes, offset: int) -> _Chunk | None:
    if len(head) < HEAD_BYTES or _CHECK.unpack_from(head, _HEAD.size)[0] != zlib.crc32(
        head[: _HEAD.size]
    ):
        return None
    magic, kind, cpu, length, checksum, first_ns, _ = _HEAD.unpack_from(head)
    if magic != CHUNK_MAGIC or length > MOST_CHUNK:
        return None
    return _Chunk(first_ns, kind, cpu, offset + HEAD_BYTES, length, checksum)


def records(data: bytes | memoryview, dtype: np.dtype[Any]) -> EventArray:
    """The whole records in a payload, without the rings' headers."""
    stride = dtype.itemsize + 8
    form = np.dtype({"names": ["r"], "formats": [dtype], "offsets": [8], "itemsize": stride})
    return np.frombuffer(data, form, memoryview(data).nbytes // stride)["r"].copy()


def _lost(cpu: int, time_ns: int, count: int) -> Row:
    """:raises OverflowError: no event can say so"""
    if not (0 <= cpu <= EVERY_CPU and 0 <= time_ns < 1 << 64 and 0 <= count < 1 << 64):
        raise OverflowError(f"{count} events lost on CPU {cpu} at {time_ns}")
    return Row(time_ns=time_ns, pid=NO_PID, cpu=cpu, kind=Kind.LOST, value=count)
