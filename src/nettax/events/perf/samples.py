"""Samples and the few other records of a block, as events."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nettax.events.formats import Format
from nettax.events.model import (
    EVENT,
    EVERY_CPU,
    NO_PID,
    Array,
    Damage,
    EventArray,
    Kind,
    Task,
    note_damage,
)
from nettax.events.order import joined, take
from nettax.events.perf.attr import TRACEPOINT, Attr, SampleLayout
from nettax.events.perf.blocks import Block, heads
from nettax.events.perf.header import Header
from nettax.events.tracepoints import KINDS, Decoder, Raw
from nettax.events.words import Words

__all__ = ["Samples"]

_LOST, _COMM, _EXIT, _FORK, _SAMPLE, _LOST_SAMPLES, _ROUND = 2, 3, 4, 7, 9, 13, 68
_BY_BPF = 1 << 15  # PERF_RECORD_MISC_LOST_SAMPLES_BPF: a filter's doing, no loss
_LAST = 127
_IS_OTHER = np.isin(np.arange(_LAST + 1), (_LOST, _COMM, _FORK, _LOST_SAMPLES))


@dataclass(frozen=True, slots=True)
class Decoded:
    """A block's events, unsorted, and what its rounds say of order."""

    events: EventArray
    rounds: Array
    """At each FINISHED_ROUND, how many of `events` came before it."""


class Samples:
    """Decodes blocks, given what the header says of the events in them."""

    def __init__(self, header: Header, decoder: Decoder, damage: list[Damage]) -> None:
        self._header = header
        self._decoder = decoder
        self._damage = damage
        self._attrs = 0
        self._trailers: dict[str, int] = {}
        self._ids = np.empty(0, np.uint64)
        self._of_id = np.empty(0, np.int64)
        self.told_lost: Counter[int] = Counter()
        """Events lost, by CPU, as told in the stream, with their time."""
        self.counted_lost: Counter[int] = Counter()
        """The same, as counted by the kernel up to the end."""
        self.unknown = 0
        """Samples of events that the header does not describe, or that are cut short."""
        self.first_unknown: int | None = None

    def decode(self, block: Block) -> Decoded:
        """The events of a block."""
        if len(self._header.attrs) != self._attrs:
            self._learn()
        words = Words(block.data, self._header.byteorder)
        kinds, sizes = heads(block.data, self._header.byteorder)
        kinds = kinds[block.starts >> 3]
        sizes = sizes[block.starts >> 3].astype(np.int64)
        is_sample = kinds == _SAMPLE
        samples, places = self._samples(block, words, is_sample, sizes)
        others = np.flatnonzero(_IS_OTHER[np.minimum(kinds, _LAST)])
        if len(others):
            lost, where = self._others(block, kinds, sizes, others)
            if len(lost):
                _set_back(lost, where, samples, places)
                places = np.append(places, where)
                order = np.argsort(places, kind="stable")
                samples, places = take(joined([samples, lost]), order), places[order]
        return Decoded(samples, np.searchsorted(places, np.flatnonzero(kinds == _ROUND)))

    def _learn(self) -> None:
        """Note whose each id is."""
        attrs = self._header.attrs
        self._attrs = len(attrs)
        self._trailers = attrs[0].trailer() if attrs and attrs[0].sample_id_all else {}
        ids = np.array([i for attr in attrs for i in attr.ids], np.uint64)
        owners = np.repeat(np.arange(len(attrs)), [len(attr.ids) for attr in attrs])
        order = np.argsort(ids, kind="stable")
        self._ids, self._of_id = ids[order], owners[order]

    def _samples(
        self, block: Block, words: Words, chosen: Array, sizes: Array
    ) -> tuple[EventArray, Array]:
        """Events of the samples among the records, and which record each one was."""
        places = np.flatnonzero(chosen)
        starts, sizes = block.starts[places], sizes[places]
        owners = self._owners(words, starts)
        out = np.zeros(len(starts), EVENT)
        good = np.zeros(len(starts), bool)
        attrs = self._header.attrs
        present = np.bincount(owners + 1, minlength=len(attrs) + 1)[1:]
        layouts = {attr.layout for attr, n in zip(attrs, present.tolist(), strict=True) if n}
        if len(layouts) == 1:
            self._common(out, None, words, starts, *layouts)
        for number in np.flatnonzero(present).tolist():
            mine = np.flatnonzero(owners == number)
            layout = attrs[number].layout
            if len(layouts) > 1:
                self._common(out, mine, words, starts[mine], layout)
            form = self._format(attrs[number])
            if form is None or form.name not in KINDS:
                self._rename(form, layout, words, starts[mine], sizes[mine], out["time_ns"][mine])
                continue
            good[self._fill(out, mine, words, starts, sizes, layout, form)] = True
        unknown = np.flatnonzero(owners < 0)
        if len(unknown):
            self._note_unknown(len(unknown), block.offset + int(starts[unknown[0]]))
        if not good.all():
            out, places = take(out, np.flatnonzero(good)), places[good]
        return out, places

    def _note_unknown(self, number: int, offset: int) -> None:
        self.unknown += number
        if self.first_unknown is None:
            self.first_unknown = offset

    def _owners(self, words: Words, starts: Array) -> Array:
        """Which attr each sample is of; -1: of none."""
        attrs = self._header.attrs
        at = {attr.layout.id for attr in attrs}
        if len(attrs) == 1:
            return np.zeros(len(starts), np.int64)
        if len(at) == 1 and (place := at.pop()) is not None and len(self._ids):
            ids = words.records(starts).u64(place)
            low, high = int(self._ids[0]), int(self._ids[-1])
            if high - low < 1 << 16:  # they are numbered through: a table will do
                table = np.full(high - low + 2, -1, np.int64)
                table[(self._ids - np.uint64(low)).astype(np.int64)] = self._of_id
                # ids below the first wrap around to huge ones
                index = np.minimum(ids - np.uint64(low), np.uint64(high - low + 1))
                return table[index.astype(np.int64)]
            found = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
            return np.where(self._ids[found] == ids, self._of_id[found], -1)
        return self._owners_by_type(words, starts)

    def _owners_by_type(self, words: Words, starts: Array) -> Array:
        """Without ids, by the number that each raw record begins with."""
        owners = np.full(len(starts), -1, np.int64)
        layouts = {attr.layout for attr in self._header.attrs}
        if len(layouts) != 1:
            return owners
        layout = layouts.pop()
        if layout.raw is None:
            return owners
        numbers = words.number(_raw_at(words, starts, layout) + 4, 2, False)
        for number, attr in enumerate(self._header.attrs):
            if attr.type == TRACEPOINT:
                owners[numbers == attr.config] = number
        return owners

    def _common(
        self,
        out: EventArray,
        mine: Array | None,
        words: Words,
        starts: Array,
        layout: SampleLayout,
    ) -> None:
        """What every sample has: when, who, where. `mine`: their places, None: all."""
        where = slice(None) if mine is None else mine
        records = words.records(starts)
        if layout.time is not None:
            out["time_ns"][where] = records.u64(layout.time)
        out["pid"][where] = NO_PID
        if layout.tid is not None:
            out["pid"][where] = records.u32(layout.tid + 4).view(np.int32)
        if layout.cpu is not None:
            out["cpu"][where] = records.u32(layout.cpu)

    def _format(self, attr: Attr) -> Format | None:
        return self._header.formats.get(attr.config) if attr.type == TRACEPOINT else None

    def _raw(
        self, words: Words, starts: Array, sizes: Array, layout: SampleLayout, form: Format
    ) -> tuple[Raw, Array]:
        """The raw records, and which of them are whole."""
        at = _raw_at(words, starts, layout)
        length = words.u32(at).astype(np.int64)
        fixed = max((f.offset + f.size for f in form.fields.values()), default=0)
        whole = (at + 4 + length <= starts + sizes) & (length >= fixed)
        return Raw(words, at + 4, length, form), whole

    def _fill(
        self,
        out: EventArray,
        mine: Array,
        words: Words,
        starts: Array,
        sizes: Array,
        layout: SampleLayout,
        form: Format,
    ) -> Array:
        """Decode one tracepoint's samples into their places; returns the places."""
        if layout.raw is None:
            return mine[:0]
        raw, whole = self._raw(words, starts[mine], sizes[mine], layout, form)
        if not whole.all():
            self._note_unknown(int((~whole).sum()), int(starts[mine[~whole][0]]))
            mine = mine[whole]
            raw = Raw(words, raw.starts[whole], raw.sizes[whole], form)
        for name, column in self._decoder.decode(
            raw, out["time_ns"][mine], out["pid"][mine]
        ).items():
            out[name][mine] = column
        return mine

    def _rename(
        self,
        form: Format | None,
        layout: SampleLayout,
        words: Words,
        starts: Array,
        sizes: Array,
        times: Array,
    ) -> None:
        if form is None or form.name != "task_rename" or layout.raw is None:
            return
        raw, whole = self._raw(words, starts, sizes, layout, form)
        raw = Raw(words, raw.starts[whole], raw.sizes[whole], form)
        self._decoder.rename(raw, times[whole])

    def _others(
        self, block: Block, kinds: Array, sizes: Array, chosen: Array
    ) -> tuple[EventArray, Array]:
        """Names into the tables; losses as events, with which record each one was."""
        lost, where = [], []
        for i in chosen.tolist():
            start, size = int(block.starts[i]), int(sizes[i])
            record = block.data[start : start + size].tobytes()
            try:
                event = self._other(int(kinds[i]), record)
            except struct.error:
                note_damage(self._damage, block.offset + start, "a record is too short")
                continue
            if event:
                lost.append(event)
                where.append(i)
        out = np.zeros(len(lost), EVENT)
        for row, (time, cpu, number) in zip(out, lost, strict=True):
            row["kind"], row["time_ns"], row["cpu"] = Kind.LOST, time, cpu
            row["value"], row["pid"] = number, NO_PID
        return out, np.array(where, np.int64)

    def _other(self, kind: int, record: bytes) -> tuple[int, int, int] | None:
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


def _set_back(lost: EventArray, where: Array, samples: EventArray, places: Array) -> None:
    """Let no loss be later than the sample before which it stands in its CPU's buffer.

    The kernel takes the sample's time first, and that of the loss as it writes both.
    """
    if not len(samples):
        return
    after = np.searchsorted(places, where)
    there = after < len(samples)
    after = np.minimum(after, len(samples) - 1)
    there &= samples["cpu"][after] == lost["cpu"]
    times = np.minimum(lost["time_ns"], samples["time_ns"][after])
    lost["time_ns"] = np.where(there, times, lost["time_ns"])


def _raw_at(words: Words, starts: Array, layout: SampleLayout) -> Array:
    """Where the size of each raw record is, behind the parts of variable size."""
    at = starts
    if layout.read is not None:
        counters = np.minimum(words.u32(starts + layout.read), 1 << 13).astype(np.int64)
        at = starts + layout.read + layout.read_head + layout.read_entry * counters
    if layout.callchain is not None:
        depths = np.minimum(words.u32(at + layout.callchain), 1 << 13).astype(np.int64)
        at = at + layout.callchain + 8 + 8 * depths
    return at + (layout.raw or 0)
