"""A trace.dat of trace-cmd as a recording."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from ctypes import c_uint32, c_uint64
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nettax.errors import NettaxError
from nettax.events.model import (
    EVERY_CPU,
    NO_PID,
    Kind,
    Machine,
    Recording,
    Tables,
    Task,
    note_damage,
)
from nettax.events.order import Fields, Sorter
from nettax.events.records import EVENT_BYTES, SIGHT, Plan, Progress, Row, native
from nettax.events.tracecmd_file import CpuData, pages, read_trace_file
from nettax.events.tracepoints import KINDS, Decoder
from nettax.events.tracing_data import MAGIC

__all__ = ["MAGIC", "TraceDat"]

_BLOCK = 1 << 20  # bytes of one CPU's pages in one go
# Clocks of tracefs that count ns (Documentation/trace/ftrace.rst), as others call them.
_CLOCKS: Final = {
    "mono": "CLOCK_MONOTONIC",
    "mono_raw": "CLOCK_MONOTONIC_RAW",
    "boot": "CLOCK_BOOTTIME",
    "tai": "CLOCK_TAI",
    "local": "trace clock local",
    "global": "trace clock global",
    "perf": "perf clock",
}
_NO_TIMES: Final = ("counter", "uptime", "x86-tsc", "ppc-tb")


@dataclass(slots=True)
class _Stream:
    """One CPU's events, as far as they were read."""

    cpu: int
    blocks: Iterator[tuple[bytes, int]]
    newest: int = 0
    told_lost: int = 0
    over: bool = False


class _Ring(ctypes.Structure):
    """struct decode_ring (native/decode_ring.h)."""

    _fields_ = (
        ("plan", Plan),
        ("offset_ns", c_uint64),
        ("page_size", c_uint32),
        ("long_size", c_uint32),
        ("big", c_uint32),
        ("tracepoint_count", c_uint32),
        ("cpu", c_uint32),
        ("page", c_uint32),
        ("at", c_uint64),
        ("end", c_uint64),
        ("now", c_uint64),
        ("last_ns", c_uint64),
        ("misses", c_uint32),
        ("broken", c_uint32),
        ("missed", c_uint64),
        ("told", c_uint64),
        ("at_broken", c_uint32),
        ("_pad", c_uint32),
    )


class TraceDat(Recording):
    """Reads what `trace-cmd record` wrote, in versions 6 and 7, compressed or not."""

    format = "trace.dat"
    vectors = None

    def __init__(self, path: Path) -> None:
        """Open it, and read its head.

        :raises NettaxError: it is no trace.dat, or nothing of it can be read
        :raises OSError: as open(2) gives it
        """
        self.path = path
        self._file = path.open("rb", buffering=0)
        try:
            self._size = os.fstat(self._file.fileno()).st_size
            try:
                self._head = read_trace_file(self._file.fileno(), self._size)
            except NettaxError as error:
                raise NettaxError(f"{path}: {error}") from None
            self._formats = {
                number: form for number, form in self._head.formats.items() if form.name in KINDS
            }
            if self._head.clock in _NO_TIMES:
                raise NettaxError(
                    f"{path}: its times are of the clock {self._head.clock}, not in ns:\n"
                    "record again with trace-cmd record -C mono"
                )
        except BaseException:
            self._file.close()
            raise
        self.clock = _CLOCKS.get(self._head.clock, self._head.clock) or None
        self.kinds = None  # it tells what could be recorded, not what was
        words = self._head.uname.split()
        self.machine = Machine(
            hostname=words[1] if len(words) > 2 else None,
            release=words[2] if len(words) > 2 else None,
            arch=words[-1] if len(words) > 3 else None,
            cpus=len(self._head.cpus) or None,
        )
        self.tables = Tables()
        for pid, comm in self._head.data.comms.items():
            self.tables.tasks.add(Task(pid, 0, comm))
        self.damage = list(self._head.damage)

    def rows(self) -> Iterator[memoryview]:
        self.damage = list(self._head.damage)
        ring = _Ring(page_size=self._head.data.page_size, long_size=self._long_size())
        byteorder = "big" if self._head.data.order == ">" else "little"
        decoder = Decoder(self.tables, ring.plan, byteorder, names_told=False)
        decoder.describe(list(self._formats.values()))
        decoder.index(list(self._formats), range(len(self._formats)))
        ring.tracepoint_count = len(self._formats)
        ring.offset_ns = self._head.offset_ns & (1 << 64) - 1
        ring.big = byteorder == "big"
        sorter = Sorter()
        streams = [_Stream(cpu.cpu, self._pages(cpu)) for cpu in self._head.cpus if cpu.size]
        while live := [stream for stream in streams if not stream.over]:
            behind = min(live, key=lambda stream: stream.newest)
            data, offset = next(behind.blocks, (b"", 0))
            if not data:
                behind.over = True
                continue
            target = sorter.room(len(data) // 8)
            yield from sorter.added(self._decode(behind, data, offset, ring, decoder, target))
            left = min((stream.newest for stream in streams if not stream.over), default=0)
            if left:
                yield from sorter.until(left - 1)
        end = max((stream.newest for stream in streams), default=0)
        yield from sorter.add(self._untold(streams, end))
        yield from sorter.rest()
        self.damage += sorter.damage()

    def _pages(self, cpu: CpuData) -> Iterator[tuple[bytes, int]]:
        return pages(self._file.fileno(), self._size, self._head, cpu, self.damage, _BLOCK)

    def _decode(
        self,
        stream: _Stream,
        data: bytes,
        offset: int,
        ring: _Ring,
        decoder: Decoder,
        target: int,
    ) -> int:
        """Write the events of a CPU's next pages to an address; returns how many."""
        ring.cpu = min(stream.cpu, EVERY_CPU)
        ring.page = ring.at = ring.last_ns = ring.misses = ring.broken = ring.told = 0
        progress = Progress(newest=stream.newest)
        while native().decode_pages(ctypes.byref(ring), data, len(data), target, progress) == SIGHT:
            decoder.see_names(
                progress, Row.from_address(target + EVENT_BYTES * (progress.rows - 1))
            )
        if ring.broken:
            where = offset if self._head.compression != "none" else offset + ring.at_broken
            what = f"{ring.broken} pages of CPU {stream.cpu} are corrupt in part"
            note_damage(self.damage, where, what)
        stream.newest = progress.newest
        stream.told_lost += ring.told
        return int(progress.rows)

    def _long_size(self) -> int:
        """Of the kernel's `local_t`, which may differ from that of trace-cmd."""
        for line in self._head.data.header_page.splitlines():
            if "commit;" in line and "size:4;" in line:
                return 4
            if "commit;" in line and "size:8;" in line:
                return 8
        return self._head.data.long_size if self._head.data.long_size in (4, 8) else 8

    def _untold(self, streams: list[_Stream], end: int) -> list[Fields]:
        """Losses that the kernel counted and no page told the number of."""
        return [
            (end, NO_PID, min(s.cpu, EVERY_CPU), Kind.LOST, 0, 0, 0, 0, 0, number)
            for s in streams
            if (number := self._head.overrun.get(s.cpu, 0) - s.told_lost) > 0
        ]

    def close(self) -> None:
        self._file.close()
