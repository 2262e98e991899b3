"""What a tracepoint prints of itself, by perf, ftrace or trace-cmd: back to fields."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from nettax.events.model import VECTOR_NAMES, Flag, Kind, Tables, Task
from nettax.events.names import Names
from nettax.events.tracepoints import KINDS

__all__ = ["Fields", "Printed"]

Fields = tuple[int, int, int, int, int, int, int]
"""Flags, id, a, b, c, value, and the pid (-1: as the line begins)."""

_NUMBERS = {
    name: re.compile(rf"\b{name}=(-?(?:0x[0-9a-f]+|\d+))")
    for name in ("irq", "vec", "vector", "pid", "orig_cpu", "dest_cpu")
}
_IRQ = re.compile(r"irq=(-?\d+) name=(.*)")
_POLL = re.compile(
    r"napi poll on napi struct (?:0x)?([0-9a-f]+|\(____ptrval____\)) for device (.*?)"
    r"(?: work (-?\d+) budget (-?\d+))?$"
)
_RECEIVE = re.compile(r"dev=(\S+) skbaddr=\S+ len=(\d+)")
# As the kernel prints it, and as libtraceevent's plugin does.
_SWITCH = re.compile(
    r"prev_comm=(.*) prev_pid=(\d+) prev_prio=(-?\d+) prev_state=(\S+) ==> "
    r"next_comm=(.*) next_pid=(\d+) next_prio=(-?\d+)"
)
_SWITCH_SHORT = re.compile(r"(.*):(\d+) \[(-?\d+)\] (\S+) ==> (.*):(\d+) \[(-?\d+)\]")
_WAKEUP = re.compile(r"comm=(.*) pid=(\d+) prio=(-?\d+) (?:success=\d )?target_cpu=(\d+)")
_WAKEUP_SHORT = re.compile(r"(.*):(\d+) \[(-?\d+)\].* CPU:(\d+)")
_FORK = re.compile(r"comm=.* pid=\d+ child_comm=(.*) child_pid=(\d+)")
_STATES: Final = "SDTtXZPI"  # TASK_STATE_TO_CHAR_STR, from bit 0 on
_MOST = 1 << 31


class Printed:
    """Reads the printed form of events, and notes names in the tables."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._devices = Names(tables.devices)

    def fields(self, name: str, text: str, time_ns: int) -> tuple[Kind, Fields] | None:
        """The kind and fields of an event, or None if it has no place in the model.

        :raises ValueError: it should have, but does not read like it
        """
        kind = KINDS.get(name)
        if kind is None:
            return None
        fields = _READ[kind](self, name, text, time_ns)
        if max(fields[:5]) >= _MOST or min(fields[:5]) < -_MOST or not 0 <= fields[5] < 1 << 64:
            raise ValueError(text)
        return kind, fields

    def _entry(self, name: str, text: str, time_ns: int) -> Fields:
        match = _matched(_IRQ, text)
        irq = int(match[1])
        self._tables.irqs.setdefault(irq, match[2].strip())
        return 0, irq, 0, 0, 0, 0, -1

    def _exit(self, name: str, text: str, time_ns: int) -> Fields:
        return 0, self._need(text, "irq"), int("ret=handled" in text), 0, 0, 0, -1

    def _need(self, text: str, name: str) -> int:
        match = _NUMBERS[name].search(text)
        if match is None:
            raise ValueError(text)
        return int(match[1], 0)

    def _cpu_vector(self, name: str, text: str, time_ns: int) -> Fields:
        which = VECTOR_NAMES.index(name.rsplit("_", 1)[0])
        return 0, self._need(text, "vector") if "vector=" in text else 0, which, 0, 0, 0, -1

    def _softirq(self, name: str, text: str, time_ns: int) -> Fields:
        return 0, self._need(text, "vec"), 0, 0, 0, 0, -1

    def _poll(self, name: str, text: str, time_ns: int) -> Fields:
        address, device, work, budget = _matched(_POLL, text.strip()).groups()
        napi = 0 if address.startswith("(") else int(address, 16)
        number = self._devices.number(device)
        return 0, number, int(work or 0), int(budget or 0), 0, napi, -1

    def _switch(self, name: str, text: str, time_ns: int) -> Fields:
        match = _SWITCH.match(text) or _matched(_SWITCH_SHORT, text)
        prev_comm, prev, prio, state, next_comm, next_, next_prio = match.groups()
        self._name(int(prev), prev_comm, time_ns)
        self._name(int(next_), next_comm, time_ns)
        bits = sum(1 << _STATES.index(letter) for letter in state if letter in _STATES)
        preempted, dead = "+" in state, "X" in state or "Z" in state
        flags = Flag.PREEMPTED * preempted | Flag.DEAD * dead
        return flags, int(next_), bits, int(prio), int(next_prio), 0, int(prev)

    def _wakeup(self, name: str, text: str, time_ns: int) -> Fields:
        match = _WAKEUP.match(text) or _matched(_WAKEUP_SHORT, text)
        comm, pid, prio, cpu = match.groups()
        self._name(int(pid), comm, time_ns)
        return 0, int(pid), int(cpu), int(prio), int(name == "sched_wakeup_new"), 0, -1

    def _migrate(self, name: str, text: str, time_ns: int) -> Fields:
        pid, here, there = (self._need(text, name) for name in ("pid", "orig_cpu", "dest_cpu"))
        return 0, pid, here, there, 0, 0, -1

    def _fork(self, name: str, text: str, time_ns: int) -> Fields:
        comm, child = _matched(_FORK, text).groups()
        self._name(int(child), comm, time_ns)
        return 0, int(child), 0, 0, 0, 0, -1

    def _ended(self, name: str, text: str, time_ns: int) -> Fields:
        return 0, self._need(text, "pid"), 0, 0, 0, 0, -1

    def _packet(self, name: str, text: str, time_ns: int) -> Fields:
        device, length = _matched(_RECEIVE, text).groups()
        return 0, self._devices.number(device), int(length), 0, 0, 0, -1

    def _name(self, pid: int, comm: str, time_ns: int) -> None:
        if 0 < pid < _MOST:
            self._tables.tasks.add(Task(pid, time_ns, comm))


def _matched(pattern: re.Pattern[str], text: str) -> re.Match[str]:
    match = pattern.match(text)
    if match is None:
        raise ValueError(text)
    return match


_READ: Final[dict[Kind, Callable[[Printed, str, str, int], Fields]]] = {
    Kind.HARDIRQ_ENTRY: Printed._entry,
    Kind.HARDIRQ_EXIT: Printed._exit,
    Kind.VECTOR_ENTRY: Printed._cpu_vector,
    Kind.VECTOR_EXIT: Printed._cpu_vector,
    Kind.SOFTIRQ_RAISE: Printed._softirq,
    Kind.SOFTIRQ_ENTRY: Printed._softirq,
    Kind.SOFTIRQ_EXIT: Printed._softirq,
    Kind.NAPI_POLL: Printed._poll,
    Kind.SWITCH: Printed._switch,
    Kind.WAKEUP: Printed._wakeup,
    Kind.MIGRATE: Printed._migrate,
    Kind.FORK: Printed._fork,
    Kind.EXIT: Printed._ended,
    Kind.PACKET: Printed._packet,
}
