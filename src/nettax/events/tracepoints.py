"""From raw tracepoint records to events: many of one tracepoint at once.

Formats tell where the fields are; this module knows what they mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from nettax.events.formats import Field, Format
from nettax.events.model import VECTOR_NAMES, Array, Flag, Kind, Tables, Task
from nettax.events.names import Names, TaskNames
from nettax.events.words import Words

__all__ = ["KINDS", "Decoder", "kind_of"]

_DEAD = 0x10 | 0x20  # EXIT_DEAD, EXIT_ZOMBIE as sched_switch tells them (include/linux/sched.h)
_PREEMPTED = 0x100  # TASK_REPORT_MAX: __trace_sched_switch_state(), since Linux v4.14
_TASK_COMM_WORDS = 4  # TASK_COMM_LEN, 16 bytes
_MAX_NAME_WORDS = 16

KINDS: Final[Mapping[str, Kind]] = {
    "irq_handler_entry": Kind.HARDIRQ_ENTRY,
    "irq_handler_exit": Kind.HARDIRQ_EXIT,
    "softirq_raise": Kind.SOFTIRQ_RAISE,
    "softirq_entry": Kind.SOFTIRQ_ENTRY,
    "softirq_exit": Kind.SOFTIRQ_EXIT,
    "napi_poll": Kind.NAPI_POLL,
    "sched_switch": Kind.SWITCH,
    "sched_wakeup": Kind.WAKEUP,
    "sched_wakeup_new": Kind.WAKEUP,
    "sched_migrate_task": Kind.MIGRATE,
    "sched_process_fork": Kind.FORK,
    "sched_process_exit": Kind.EXIT,
    "netif_receive_skb": Kind.PACKET,
    **{f"{name}_entry": Kind.VECTOR_ENTRY for name in VECTOR_NAMES},
    **{f"{name}_exit": Kind.VECTOR_EXIT for name in VECTOR_NAMES},
}


def kind_of(tracepoint: str) -> Kind | None:
    """The kind of a tracepoint's events; None for one that the model has no place for."""
    return KINDS.get(tracepoint)


class Raw:
    """The raw records of one tracepoint within a buffer: where each begins, and how long it is."""

    def __init__(self, words: Words, starts: Array, sizes: Array, layout: Format) -> None:
        self.words = words
        self.starts = starts
        self._records = words.records(starts)
        self.sizes = sizes
        self.layout = layout

    def number(self, name: str) -> Array:
        """A field as numbers; zeros if this kernel's tracepoint lacks it."""
        field = self.layout.fields.get(name)
        if field is None or field.size not in (1, 2, 4, 8):
            return np.zeros(len(self.starts), np.int64)
        return self._records.number(field.offset, field.size, field.signed)

    def text_keys(self, name: str, words: int = _MAX_NAME_WORDS) -> Array | None:
        """A string field as rows for `Names`; None if there is none."""
        field = self.layout.fields.get(name)
        if field is None:
            return None
        if not field.dynamic:
            size = min(field.size, 4 * words)
            return self.words.text_keys(self.starts + field.offset, size, words)
        return self._dynamic(field, words)

    def same_text(self, name: str) -> bool:
        """Whether a dynamic string is, byte for byte, the same in all these records.

        That is the common case, and cheaper to find out than to read them all.
        """
        field = self.layout.fields.get(name)
        if field is None or not field.dynamic or not len(self.starts):
            return False
        where = self._records.u32(field.offset)
        if (where != where[0]).any() or field.relative or where[0] >> 16 > 4 * _MAX_NAME_WORDS:
            return False
        words = -(-int(where[0] >> 16) // 4)
        columns = (self._records.u32(int(where[0] & 0xFFFF) + 4 * i) for i in range(words))
        return all((column == column[0]).all() for column in columns)

    def first(self) -> Raw:
        """The first of them alone."""
        return Raw(self.words, self.starts[:1], self.sizes[:1], self.layout)

    def _dynamic(self, field: Field, words: int) -> Array:
        where = self._records.u32(field.offset)
        offset, length = (where & 0xFFFF).astype(np.int64), (where >> 16).astype(np.int64)
        if field.relative:
            offset += field.offset + field.size
        length = np.clip(np.minimum(length, self.sizes - offset), 0, 4 * words)
        longest = -(-int(length.max(initial=0)) // 4)
        return self.words.text_keys(self.starts + offset, length, max(longest, 1))


Into = Any  # a view of an EVENT array's fields: a dict of columns


class Decoder:
    """Turns raw records into columns, and notes names in the tables as it meets them."""

    def __init__(self, tables: Tables, *, names_told: bool = False) -> None:
        """`names_told`: the recording tells, beside its events, what tasks call themselves.

        Then names in events are looked at only for tasks that have none.
        """
        self.tables = tables
        self._devices = Names(tables.devices)
        self._tasks = TaskNames(tables.tasks)
        self._names_told = names_told

    def decode(self, raw: Raw, times: Array, pids: Array) -> dict[str, Array | int]:
        """Columns of `EVENT` other than time and CPU.

        `times` and `pids` (of the current task) are those of the records, in ns.
        """
        kind = KINDS[raw.layout.name]
        columns: dict[str, Array | int] = {"kind": int(kind)}
        fill = _FILL.get(kind)
        if fill:
            fill(self, raw, times, pids, columns)
        return columns

    def _irq(self, raw: Raw, times: Array, pids: Array, to: Into) -> None:
        to["id"] = raw.number("irq")
        if raw.layout.name == "irq_handler_exit":
            to["a"] = raw.number("ret")
        else:
            self._irq_names(raw, to["id"])

    def _irq_names(self, raw: Raw, irqs: Array) -> None:
        known = np.fromiter(self.tables.irqs, np.int64, len(self.tables.irqs))
        new = np.flatnonzero(~np.isin(irqs, known))
        if not len(new):
            return
        _, first = np.unique(irqs[new], return_index=True)
        chosen = new[first]
        keys = Raw(raw.words, raw.starts[chosen], raw.sizes[chosen], raw.layout).text_keys("name")
        for irq, key in zip(irqs[chosen], keys if keys is not None else (), strict=False):
            self.tables.irqs[int(irq)] = Words.text(key)

    def _cpu_vector(self, raw: Raw, times: Array, pids: Array, to: Into) -> None:
        to["id"] = raw.number("vector")
        to["a"] = VECTOR_NAMES.index(raw.layout.name.rsplit("_", 1)[0])

    def _softirq(self, raw: Raw, times: Array, pids: Array, to: Into) -> None:
        to["id"] = raw.number("vec")

    def _poll(self, raw: Raw, times: Array, pids: Array, to: Into) -> None:
        to["a"], to["b"] = raw.number("work"), raw.number("budget")
        to["value"] = raw.number("napi")
        to["id"] = self._device(raw, "dev_name")

    def _device(self, raw: Raw, name: str) -> Array | int:
        if raw.same_text(name):
            raw = raw.first()
        keys = raw.text_keys(name)
        if keys is None:
            return 0
        numbers = self._devices.numbers(keys)
        return int(numbers[0]) if len(numbers) == 1 else numbers

    def _packet(self, raw: Raw, times: Array, pids: Array, to: Into) -> None:
        to["a"] = raw.number("len")
        to["id"] = self._device(raw, "name")

    def _switch(self, raw: Raw, times: Array, pids: Array, to: Into) -> None:
        to["pid"], to["id"] = raw.number("prev_pid"), raw.number("next_pid")
        state = raw.number("prev_state").astype(np.uint64) & np.uint64(0x7FFFFFFF)
        preempted = (state & np.uint64(_PREEMPTED)) != 0
        to["a"] = np.where(preempted, 0, state)
        to["b"], to["c"] = raw.number("prev_prio"), raw.number("next_prio")
        dead = (state & np.uint64(_DEAD)) != 0
        to["flags"] = preempted * np.uint8(Flag.PREEMPTED) + dead * np.uint8(Flag.DEAD)
        self._note(raw, to["pid"], "prev_comm", times)
        self._note(raw, to["id"], "next_comm", times)

    def _note(self, raw: Raw, pids: Array, name: str, times: Array) -> None:
        """Note who these pids are, by a field that names them."""
        if self._names_told:
            new = self._tasks.unnamed(pids)
            if not len(new):
                return
            raw = Raw(raw.words, raw.starts[new], raw.sizes[new], raw.layout)
            pids, times = pids[new], times[new]
        self._tasks.note(pids, raw.text_keys(name, _TASK_COMM_WORDS), times)

    def _wakeup(self, raw: Raw, times: Array, pids: Array, to: Into) -> None:
        to["id"], to["a"] = raw.number("pid"), raw.number("target_cpu")
        to["b"] = raw.number("prio")
        to["c"] = int(raw.layout.name == "sched_wakeup_new")
        self._note(raw, to["id"], "comm", times)

    def _migrate(self, raw: Raw, times: Array, pids: Array, to: Into) -> None:
        to["id"] = raw.number("pid")
        to["a"], to["b"] = raw.number("orig_cpu"), raw.number("dest_cpu")

    def _fork(self, raw: Raw, times: Array, pids: Array, to: Into) -> None:
        to["id"] = raw.number("child_pid")
        self._note(raw, to["id"], "child_comm", times)

    def _exit(self, raw: Raw, times: Array, pids: Array, to: Into) -> None:
        to["id"] = raw.number("pid")

    def rename(self, raw: Raw, times: Array) -> None:
        """Note the names that tasks gave themselves (task_rename)."""
        keys = raw.text_keys("newcomm", _TASK_COMM_WORDS)
        if keys is None:
            return
        for pid, key, time in zip(raw.number("pid").tolist(), keys, times.tolist(), strict=True):
            self.tables.tasks.add(Task(pid, time, Words.text(key)))


_FILL: Final[Mapping[Kind, Callable[[Decoder, Raw, Array, Array, Into], None]]] = {
    Kind.HARDIRQ_ENTRY: Decoder._irq,
    Kind.HARDIRQ_EXIT: Decoder._irq,
    Kind.VECTOR_ENTRY: Decoder._cpu_vector,
    Kind.VECTOR_EXIT: Decoder._cpu_vector,
    Kind.SOFTIRQ_RAISE: Decoder._softirq,
    Kind.SOFTIRQ_ENTRY: Decoder._softirq,
    Kind.SOFTIRQ_EXIT: Decoder._softirq,
    Kind.NAPI_POLL: Decoder._poll,
    Kind.PACKET: Decoder._packet,
    Kind.SWITCH: Decoder._switch,
    Kind.WAKEUP: Decoder._wakeup,
    Kind.MIGRATE: Decoder._migrate,
    Kind.FORK: Decoder._fork,
    Kind.EXIT: Decoder._exit,
}
