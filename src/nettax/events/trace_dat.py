"""A trace.dat of trace-cmd as a recording."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from nettax.errors import NettaxError
from nettax.events.model import (
    EVENT,
    EVERY_CPU,
    NO_PID,
    Array,
    EventArray,
    Kind,
    Machine,
    Recording,
    Tables,
    Task,
    note_damage,
)
from nettax.events.order import NEVER, Sorter, take
from nettax.events.ring_pages import Found, events_in
from nettax.events.tracecmd_file import CpuData, pages, read_trace_file
from nettax.events.tracepoints import KINDS, Decoder, Raw
from nettax.events.tracing_data import MAGIC
from nettax.events.words import Words

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

    def chunks(self) -> Iterator[EventArray]:
        self.damage = list(self._head.damage)
        decoder = Decoder(self.tables)
        sorter = Sorter()
        streams = [_Stream(cpu.cpu, self._pages(cpu)) for cpu in self._head.cpus if cpu.size]
        while live := [stream for stream in streams if not stream.over]:
            behind = min(live, key=lambda stream: stream.newest)
            yield from sorter.add(self._next(behind, decoder))
            left = min((stream.newest for stream in streams if not stream.over), default=0)
            if left:
                yield from sorter.until(left - 1)
        end = max((stream.newest for stream in streams), default=0)
        yield from sorter.add(self._untold(streams, end))
        yield from sorter.rest()
        self.damage += sorter.damage()

    def _pages(self, cpu: CpuData) -> Iterator[tuple[bytes, int]]:
        return pages(self._file.fileno(), self._size, self._head, cpu, self.damage, _BLOCK)

    def _next(self, stream: _Stream, decoder: Decoder) -> EventArray:
        """The events of a CPU's next pages."""
        data, offset = next(stream.blocks, (b"", 0))
        if not data:
            stream.over = True
            return np.empty(0, EVENT)
        head = self._head.data
        words = Words(data, "big" if head.order == ">" else "little")
        found = events_in(words, head.page_size, self._long_size())
        if len(found.broken):
            where = offset if self._head.compression != "none" else offset + int(found.broken[0])
            what = f"{len(found.broken)} pages of CPU {stream.cpu} are corrupt in part"
            note_damage(self.damage, where, what)
        times = found.times + np.uint64(self._head.offset_ns & (1 << 64) - 1)
        stream.newest = max(stream.newest, int(times[times < NEVER].max(initial=0)))
        lost = np.zeros(len(found.missed), EVENT)
        if len(times):
            lost["time_ns"] = times[np.minimum(found.missed, len(times) - 1)]
        lost["kind"], lost["pid"], lost["cpu"] = Kind.LOST, NO_PID, min(stream.cpu, EVERY_CPU)
        lost["value"] = found.numbers
        stream.told_lost += int(found.numbers.sum())
        events = self._decode(words, found, times, stream.cpu, decoder)
        return np.concatenate([lost, events]) if len(lost) else events

    def _long_size(self) -> int:
        """Of the kernel's `local_t`, which may differ from that of trace-cmd."""
        for line in self._head.data.header_page.splitlines():
            if "commit;" in line and "size:4;" in line:
                return 4
            if "commit;" in line and "size:8;" in line:
                return 8
        return self._head.data.long_size if self._head.data.long_size in (4, 8) else 8

    def _decode(
        self,
        words: Words,
        found: Found,
        times: Array,
        cpu: int,
        decoder: Decoder,
    ) -> EventArray:
        starts, sizes = found.starts, found.sizes
        types = words.number(starts, 2, False)
        out = np.zeros(len(starts), EVENT)
        out["time_ns"] = times
        out["pid"] = words.number(starts + 4, 4, True)  # common_pid
        out["cpu"] = min(cpu, EVERY_CPU)
        for number in np.unique(types).tolist():
            form = self._formats.get(number)
            if form is None:
                continue
            fixed = max((f.offset + f.size for f in form.fields.values()), default=0)
            mine = np.flatnonzero((types == number) & (sizes >= fixed))
            raw = Raw(words, starts[mine], sizes[mine], form)
            columns = decoder.decode(raw, times[mine], out["pid"][mine])
            for name, column in columns.items():
                out[name][mine] = (
                    column if isinstance(column, int) else column.astype(out.dtype[name])
                )
        return take(out, np.flatnonzero(out["kind"]))

    def _untold(self, streams: list[_Stream], end: int) -> EventArray:
        """Losses that the kernel counted and no page told the number of."""
        rows = [
            (end, NO_PID, min(s.cpu, EVERY_CPU), Kind.LOST, 0, 0, 0, 0, 0, number)
            for s in streams
            if (number := self._head.overrun.get(s.cpu, 0) - s.told_lost) > 0
        ]
        return np.array(rows, EVENT)

    def close(self) -> None:
        self._file.close()
