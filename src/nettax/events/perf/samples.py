"""Samples and the few other records of a block, as events."""

from __future__ import annotations

import ctypes
import struct
from collections import Counter
from collections.abc import Mapping
from ctypes import POINTER, c_int32, c_uint32, c_uint64

from nettax.events.model import EVERY_CPU, NO_PID, Damage, Kind, Tables, Task, note_damage
from nettax.events.perf.attr import TRACEPOINT, Attr, SampleLayout
from nettax.events.perf.blocks import Block
from nettax.events.perf.header import Header
from nettax.events.records import (
    END,
    NEVER,
    NOWHERE,
    SIGHT,
    Plan,
    Progress,
    Row,
    address,
    native,
)
from nettax.events.tracepoints import KINDS, Decoder

__all__ = ["Samples"]

_LOST, _COMM, _FORK, _LOST_SAMPLES, _ROUND = 2, 3, 7, 13, 68
_BY_BPF = 1 << 15  # PERF_RECORD_MISC_LOST_SAMPLES_BPF: a filter's doing, no loss
_ONE_ATTR, _BY_ID, _BY_TYPE = 0, 1, 2


class _Attr(ctypes.Structure):
    """struct decode_attr."""

    _fields_ = (
        ("tid", c_int32),
        ("time", c_int32),
        ("cpu", c_int32),
        ("read", c_int32),
        ("read_entry", c_int32),
        ("read_head", c_int32),
        ("callchain", c_int32),
        ("raw", c_int32),
        ("least", c_int32),
        ("tracepoint", c_uint32),
    )


class _Perf(ctypes.Structure):
    """struct decode_perf."""

    _fields_ = (
        ("plan", Plan),
        ("attrs", POINTER(_Attr)),
        ("attr_count", c_uint64),
        ("by", c_uint32),
        ("id_at", c_uint32),
    )


class Samples:
    """Decodes blocks, given what the header says of the events in them."""

    def __init__(self, header: Header, tables: Tables, damage: list[Damage]) -> None:
        self._header = header
        self._perf = _Perf()
        self._decoder = Decoder(tables, self._perf.plan, header.byteorder, names_told=True)
        self._damage = damage
        self._learnt = (-1, -1)
        self._trailers: dict[str, int] = {}
        self._flush = 0
        self.newest = 0
        """Of all events' times, ns."""
        self.told_lost: Counter[int] = Counter()
        """Events lost, by CPU, as told in the stream, with their time."""
        self.counted_lost: Counter[int] = Counter()
        """The same, as counted by the kernel up to the end."""
        self.unknown = 0
        """Samples of events that the header does not describe, or that are cut short."""
        self.first_unknown: int | None = None

    def decode(self, block: Block, target: int) -> tuple[int, int]:
        """Write the events of a block; `target`: an address, with room for one a record.

        Returns how many, and the time up to which nothing will come any more; 0: not told.
        """
        if (len(self._header.attrs), len(self._header.formats)) != self._learnt:
            self._learn()
        count, data = block.chain.count, address(block.data)
        rows = (Row * count).from_address(target)
        progress = Progress(newest=self.newest)
        lost: list[int] = []
        safe = 0
        while True:
            why = native().decode_samples(
                ctypes.byref(self._perf), data, block.chain.starts, count, target, progress
            )
            if why == END:
                break
            if why == SIGHT:
                self._decoder.see_names(progress, rows[max(progress.rows - 1, 0)])
                continue
            kind = self._other(block, block.chain.starts[progress.next - 1], progress, rows)
            if kind == _LOST:
                lost.append(progress.rows - 1)
            elif kind == _ROUND:
                # As perf does: a round ends, and all before the end of the last one is there.
                safe, self._flush = self._flush, progress.newest
        self.newest = progress.newest
        if progress.unknown and self.first_unknown is None:
            self.first_unknown = block.offset + progress.at_unknown
        self.unknown += progress.unknown
        for place in lost:
            _set_back(rows, place, progress.rows)
        return progress.rows, safe

    def _learn(self) -> None:
        """Write down for C where things are in a sample, and how to tell whose it is."""
        attrs, perf = self._header.attrs, self._perf
        self._learnt = len(attrs), len(self._header.formats)
        self._trailers = attrs[0].trailer() if attrs and attrs[0].sample_id_all else {}
        forms = [
            self._header.formats.get(a.config) if a.type == TRACEPOINT else None for a in attrs
        ]
        known = [f for f in forms if f and (f.name in KINDS or f.name == "task_rename")]
        places = {form.id: place for place, form in enumerate(known)}
        self._decoder.describe(known)
        perf.attrs = (_Attr * max(len(attrs), 1))(
            *(
                _attr(attr.layout, places.get(form.id, NOWHERE) if form else NOWHERE)
                for attr, form in zip(attrs, forms, strict=True)
            )
        )
        perf.attr_count = len(attrs)
        self._learn_owners(attrs)

    def _learn_owners(self, attrs: list[Attr]) -> None:
        perf = self._perf
        ids = [(number, place) for place, attr in enumerate(attrs) for number in attr.ids]
        at = {attr.layout.id for attr in attrs}
        if len(attrs) == 1:
            perf.by = _ONE_ATTR
        elif ids and len(at) == 1 and (place := at.pop()) is not None:
            perf.by, perf.id_at = _BY_ID, place
        else:  # by the number that each raw record begins with, if it is found without knowing
            perf.by, ids = _BY_TYPE, []
            if len({attr.layout for attr in attrs}) == 1 and attrs[0].layout.raw is not None:
                ids = [(a.config, i) for i, a in enumerate(attrs) if a.type == TRACEPOINT]
        self._decoder.index([number for number, _ in ids], [place for _, place in ids])

    def _other(self, block: Block, start: int, progress: Progress, rows: ctypes.Array[Row]) -> int:
        """See to a record that is no sample; returns its kind if that matters."""
        kind, _, size = struct.unpack_from(self._header.order + "IHH", block.data, start)
        if kind == _ROUND:
            return int(kind)
        record = bytes(memoryview(block.data)[start : start + size])
        try:
            lost = self._told(kind, record)
        except struct.error:
            note_damage(self._damage, block.offset + start, "a record is too short")
            return 0
        if not lost:
            return 0
        time, cpu, number = lost
        rows[progress.rows] = Row(time_ns=time, cpu=cpu, kind=Kind.LOST, pid=NO_PID, value=number)
        progress.rows += 1
        if progress.newest < time < NEVER:
            progress.newest = time
        return int(kind)

    def _told(self, kind: int, record: bytes) -> tuple[int, int, int] | None:
        order, tasks = self._header.order, self._decoder.tables.tasks
        if kind == _COMM:
            _, tid = struct.unpack_from(order + "ii", record, 8)
            comm = record[16:32].split(b"\0", 1)[0].decode(errors="backslashreplace")
            tgid = struct.unpack_from(order + "i", record, 8)[0]
            tasks.add(Task(tid, self._trailer(record)["time"], comm, tgid))
        elif kind == _FORK:
            pid, _, tid, parent, time = struct.unpack_from(order + "iiiiQ", record, 8)
            if before := tasks.at(parent, time):
                tasks.add(Task(tid, time, before.comm, pid))
        elif kind == _LOST:
            who, number = struct.unpack_from(order + "QQ", record, 8)
            when = self._trailer(record, who)
            self.told_lost[when["cpu"]] += number
            return when["time"], when["cpu"], number
        elif kind == _LOST_SAMPLES:
            (misc,) = struct.unpack_from(order + "H", record, 4)
            (number,) = struct.unpack_from(order + "Q", record, 8)
            if not misc & _BY_BPF:
                self.counted_lost[self._trailer(record)["cpu"]] += number
        return None

    def _trailer(self, record: bytes, owner: int | None = None) -> Mapping[str, int]:
        """Time and CPU out of what follows a record's own fields."""
        found = {"time": 0, "cpu": EVERY_CPU}
        order = self._header.order
        for name, back in self._trailers.items():
            if name in found and len(record) - back >= 8:
                code = "Q" if name == "time" else "I"
                (found[name],) = struct.unpack_from(order + code, record, len(record) - back)
        found["cpu"] = min(found["cpu"], EVERY_CPU)
        return found


def _attr(layout: SampleLayout, tracepoint: int) -> _Attr:
    parts = ("tid", "time", "cpu", "read", "callchain", "raw")
    places = {name: getattr(layout, name) for name in parts}
    fixed = [places[name] for name in ("tid", "time", "cpu", "read")]
    if layout.read is None:
        fixed += [layout.callchain] if layout.callchain is not None else [layout.raw]
    return _Attr(
        **{name: -1 if place is None else place for name, place in places.items()},
        read_entry=layout.read_entry,
        read_head=layout.read_head,
        least=max((place + 8 for place in fixed if place is not None), default=8),
        tracepoint=tracepoint,
    )


def _set_back(rows: ctypes.Array[Row], lost: int, count: int) -> None:
    """Let a loss be no later than the sample before which it stands in its CPU's buffer.

    The kernel takes the sample's time first, and that of the loss as it writes both.
    """
    after = next((i for i in range(lost + 1, count) if rows[i].kind != Kind.LOST), None)
    if after is not None and rows[after].cpu == rows[lost].cpu:
        rows[lost].time_ns = min(rows[lost].time_ns, rows[after].time_ns)
