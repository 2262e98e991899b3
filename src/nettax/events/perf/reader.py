"""A perf.data file as a recording."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from nettax.errors import NettaxError
from nettax.events.model import (
    EVERY_CPU,
    NO_PID,
    Damage,
    Kind,
    Recording,
    Tables,
)
from nettax.events.order import Sorter
from nettax.events.perf.attr import Attr
from nettax.events.perf.blocks import Blocks
from nettax.events.perf.header import BIG, LITTLE, Header, filtered_vectors, read_header
from nettax.events.perf.samples import Samples
from nettax.events.records import Row
from nettax.events.tracepoints import KINDS, kind_of

__all__ = ["MAGICS", "PerfData"]

MAGICS: Final = (LITTLE, BIG)


class PerfData(Recording):
    """Reads what `perf record` wrote to a file or to a pipe, compressed or not, in either order
    of bytes.

    Tracepoints that the model has no place for are passed over.
    """

    format = "perf.data"

    def __init__(self, path: Path) -> None:
        """Open it, and read its head.

        :raises NettaxError: it is no perf.data, or nothing of it can be read
        :raises OSError: as open(2) gives it
        """
        self.path = path
        self._file = path.open("rb", buffering=0)
        try:
            self.tables = Tables()
            self._size = os.fstat(self._file.fileno()).st_size
            self._header = self._read_header()
            self._look()
        except BaseException:
            self._file.close()
            raise

    def _read_header(self) -> Header:
        self._file.seek(0)
        try:
            header = read_header(self._file, self._size)
        except NettaxError as error:
            raise NettaxError(f"{self.path}: {error}") from None
        return header

    def _look(self) -> None:
        """What the head tells; of a pipe's, as far as the first samples."""
        header = self._header
        if header.piped:
            for _ in Blocks(self._file.fileno(), self._size, header, []):
                if header.formats:
                    break
        self.damage = list(header.damage)
        known = [attr for attr in header.attrs if header.name(attr) in KINDS]
        if not known:
            raise NettaxError(self._why_nothing(header))
        self._check(known)
        self.machine = header.machine
        self.clock = known[0].clock
        kinds = {kind_of(header.name(attr)) for attr in known}
        self.kinds = frozenset(kind for kind in kinds if kind)
        self.vectors = filtered_vectors(header.command)

    def _why_nothing(self, header: Header) -> str:
        if not header.attrs:
            why = "it describes no events"
        elif not header.formats:
            why = "it does not say how its events are laid out; perf was stopped before its end?"
        else:
            names = sorted({header.name(attr) or "?" for attr in header.attrs})
            why = f"none of its events ({', '.join(names[:5])}) is of interrupts or of switches"
        what = "".join(f"\n  byte {d.offset}: {d.what}" for d in self.damage[:3])
        return f"{self.path}: {why}{what}"

    def _check(self, known: list[Attr]) -> None:
        layouts = [attr.layout for attr in known]
        for part, fix in (("time", "-T"), ("cpu", "-a or --sample-cpu"), ("raw", "-R")):
            if any(getattr(layout, part) is None for layout in layouts):
                raise NettaxError(
                    f"{self.path}: its events have no {part}: record again with perf record {fix}"
                )

    def rows(self) -> Iterator[memoryview]:
        header = self._header
        if header.piped:
            header = self._header = self._read_header()
        self.damage = list(header.damage)
        samples = Samples(header, self.tables, self.damage)
        sorter = Sorter()
        for block in Blocks(self._file.fileno(), self._size, header, self.damage):
            count, safe = samples.decode(block, sorter.room(block.chain.count))
            yield from sorter.added(count)
            if safe:
                yield from sorter.until(safe)
        yield from sorter.rest()
        yield from self._reckoning(samples, sorter)

    def _reckoning(self, samples: Samples, sorter: Sorter) -> Iterator[memoryview]:
        """What is known at the end: losses that no record told, and what was passed over."""
        lost = [
            Row(
                time_ns=samples.newest,
                kind=Kind.LOST,
                pid=NO_PID,
                cpu=min(cpu, EVERY_CPU),
                value=number,
            )
            for cpu, number in _untold(samples.told_lost, samples.counted_lost).items()
        ]
        if lost:
            yield memoryview((Row * len(lost))(*lost)).cast("B")
        if samples.unknown:
            self.damage.append(
                Damage(
                    samples.first_unknown or 0,
                    f"{samples.unknown} samples are of no event that the head describes",
                )
            )
        self.damage += sorter.damage()

    def close(self) -> None:
        self._file.close()


def _untold(told: Counter[int], counted: Counter[int]) -> Counter[int]:
    """Losses by CPU that the kernel counted and no record in the stream told.

    Before Linux v6.2 perf told all of what was counted as CPU 0's: then it is nobody's.
    """
    missing = counted.total() - told.total()
    untold = counted - told
    if missing <= 0:
        return Counter()
    return untold if untold.total() == missing else Counter({EVERY_CPU: missing})
