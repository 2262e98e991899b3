"""What tracepoints mean: their fields' places in an event, and whose name a string is.

Formats tell where the fields are; C goes through the records by what is written down here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from nettax.events.formats import Field, Format
from nettax.events.model import VECTOR_NAMES, Kind, Tables, Task
from nettax.events.names import Names
from nettax.events.records import (
    DEVICE,
    IRQ,
    LONGEST,
    RENAME,
    TASK,
    Plan,
    Progress,
    Row,
    Text,
    Tracepoint,
    index,
    native,
)

__all__ = ["KINDS", "Decoder", "kind_of"]

_COMM_BYTES = 16  # TASK_COMM_LEN

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


@dataclass(frozen=True, slots=True)
class _Meaning:
    """Of one kind's fields."""

    numbers: Mapping[str, str]
    """The event's field, by the tracepoint's."""
    names: Sequence[tuple[str, int, str]] = ()
    """Strings: whose name it is, and the event's field that holds that one's number."""


_IRQ_EXIT: Final = _Meaning({"irq": "id", "ret": "a"})
_VECTOR: Final = _Meaning({"vector": "id"})
_SOFTIRQ: Final = _Meaning({"vec": "id"})
_MEANINGS: Final[Mapping[Kind, _Meaning]] = {
    Kind.HARDIRQ_ENTRY: _Meaning({"irq": "id"}, [("name", IRQ, "id")]),
    Kind.HARDIRQ_EXIT: _IRQ_EXIT,
    Kind.VECTOR_ENTRY: _VECTOR,
    Kind.VECTOR_EXIT: _VECTOR,
    Kind.SOFTIRQ_RAISE: _SOFTIRQ,
    Kind.SOFTIRQ_ENTRY: _SOFTIRQ,
    Kind.SOFTIRQ_EXIT: _SOFTIRQ,
    Kind.NAPI_POLL: _Meaning(
        {"work": "a", "budget": "b", "napi": "value"}, [("dev_name", DEVICE, "id")]
    ),
    Kind.PACKET: _Meaning({"len": "a"}, [("name", DEVICE, "id")]),
    Kind.SWITCH: _Meaning(
        {
            "prev_pid": "pid",
            "next_pid": "id",
            "prev_state": "a",  # as it is; C tells it apart
            "prev_prio": "b",
            "next_prio": "c",
        },
        [("prev_comm", TASK, "pid"), ("next_comm", TASK, "id")],
    ),
    Kind.WAKEUP: _Meaning({"pid": "id", "target_cpu": "a", "prio": "b"}, [("comm", TASK, "id")]),
    Kind.MIGRATE: _Meaning({"pid": "id", "orig_cpu": "a", "dest_cpu": "b"}),
    Kind.FORK: _Meaning({"child_pid": "id"}, [("child_comm", TASK, "id")]),
    Kind.EXIT: _Meaning({"pid": "id"}),
}
_RENAMING: Final = _Meaning({"pid": "id"}, [("newcomm", RENAME, "id")])  # task_rename, no event


class Decoder:
    """Has C turn raw records into events, and notes in the tables the names that they show."""

    def __init__(self, tables: Tables, plan: Plan, byteorder: str, names_told: bool) -> None:
        """`names_told`: the recording tells, beside its events, what tasks call themselves.

        Then names in events are looked at only for tasks that have none. `byteorder`: of the
        machine that wrote it, `little` or `big`.
        """
        self.tables = tables
        self._plan = plan
        self._names_told = names_told
        self._devices = Names(tables.devices)
        plan.start(byteorder != sys.byteorder, names_told)

    def describe(self, formats: Sequence[Format]) -> None:
        """Say what the tracepoints are; from then on they are known by their place in this."""
        self._plan.tracepoints = (Tracepoint * max(len(formats), 1))(*map(_tracepoint, formats))

    def index(self, numbers: Sequence[int], places: Sequence[int]) -> None:
        """Say what each number in a record stands for; of equal ones the first counts."""
        index(self._plan, numbers, places)

    def see_names(self, progress: Progress, last: Row) -> None:
        """Note the names at which C has stopped. `last`: the event that it has just filled in."""
        tasks = self.tables.tasks
        for sight in progress.sight[: progress.sights]:
            if sight.whose == DEVICE:
                last.id = self._devices.number(sight.text)
                native().decode_note(self._plan, DEVICE, sight.raw, sight.length, last.id)
            elif sight.whose == IRQ:
                self.tables.irqs.setdefault(sight.number, sight.text)
            elif sight.whose == RENAME or not (
                self._names_told and tasks.at(sight.number, sight.time_ns)
            ):
                tasks.add(Task(sight.number, sight.time_ns, sight.text))


def _tracepoint(form: Format) -> Tracepoint:
    kind = KINDS.get(form.name)
    out = Tracepoint(kind=kind or 0)
    out.least = max((f.offset + f.size for f in form.fields.values()), default=0)
    if kind in (Kind.VECTOR_ENTRY, Kind.VECTOR_EXIT):
        out.a = VECTOR_NAMES.index(form.name.rsplit("_", 1)[0])
    out.c = form.name == "sched_wakeup_new"
    meaning = _MEANINGS[kind] if kind else _RENAMING
    for name, to in meaning.numbers.items():
        field = form.fields.get(name)
        if field and field.size in (1, 2, 4, 8):  # else zero: this kernel's tracepoint lacks it
            number = out.number[out.numbers]
            number.at, number.size, number.signed = field.offset, field.size, field.signed
            number.to = getattr(Row, to).offset
            out.numbers += 1
    for name, whose, to in meaning.names:
        field = form.fields.get(name)
        if field and (not field.dynamic or field.size == 4):
            out.text[out.texts] = _text(field, whose, getattr(Row, to).offset)
            out.texts += 1
    return out


def _text(field: Field, whose: int, to: int) -> Text:
    most = _COMM_BYTES if whose in (TASK, RENAME) else LONGEST
    return Text(
        at=field.offset,
        most=most if field.dynamic else min(field.size, most),
        base=field.offset + field.size if field.relative else 0,
        whose=whose,
        to=to,
        dynamic=field.dynamic,
    )
