"""The ledger's rules, one event after the other: slow, plain, and what the replay must match."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from nettax.events.model import Flag, Kind

NR_VECTORS = 10
IPIS = 4
KIND_TASK, KIND_IDLE = 3, 4


@dataclass
class Cpu:
    """One CPU."""

    start: int
    since: int
    pid: int = -1
    depth: int = 0
    hard_since: int = 0
    hard_grace: bool = True
    soft_grace: bool = True
    vector: int = -1
    soft_since: int = 0
    soft_hard: int = 0
    trigger: int = 2
    hard_ns: int = 0
    interrupts: int = 0
    ipis: int = 0
    polls: int = 0
    packets: int = 0
    softirq_packets: int = 0
    switches: int = 0
    unmatched: int = 0
    inferred_ns: int = 0
    idle_ns: int = 0
    idle_interrupted_ns: int = 0
    own_ns: int = 0
    stolen_hardirq_ns: int = 0
    lost: int = 0
    soft_ns: list[int] = field(default_factory=lambda: [0] * NR_VECTORS)
    soft_count: list[int] = field(default_factory=lambda: [0] * NR_VECTORS)
    stolen_softirq_ns: list[int] = field(default_factory=lambda: [0] * NR_VECTORS)
    kthread_ns: list[int] = field(default_factory=lambda: [0] * 3)
    # of the open slice
    hard: int = 0
    soft: dict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))
    slice_interrupts: int = 0
    turn: int | None = None
    last: int = 0
    last_pid: int = -1
    runs: list[tuple[int, int, int]] = field(default_factory=list)  # kind, from, to


@dataclass
class Task:
    """One life of one pid."""

    oncpu: int = 0
    own: int = 0
    billed: int = 0
    hard: int = 0
    soft: list[int] = field(default_factory=lambda: [0] * NR_VECTORS)
    trigger: list[int] = field(default_factory=lambda: [0] * 3)
    displaced: list[int] = field(default_factory=lambda: [0] * 3)
    wait: int = 0
    interrupts: int = 0
    switches: int = 0

    def flat(self) -> tuple[int, ...]:
        return (
            *(self.oncpu, self.own, self.billed, self.hard, *self.soft, *self.trigger),
            *(*self.displaced, self.wait, self.interrupts, self.switches),
        )


class Reference:
    """Follows events; `kind_of` tells a pid's kind."""

    def __init__(self, kind_of: Callable[[int], int]) -> None:
        self.kind_of = kind_of
        self.cpus: dict[int, Cpu] = {}
        self.tasks: dict[tuple[int, int], Task] = {}
        self.lives: dict[int, int] = defaultdict(int)
        self.waiting: dict[int, tuple[int, int]] = {}  # CPU, since
        self.first: int | None = None
        self.now = 0

    def run(self, events: Iterable[Any]) -> None:
        for event in events:
            self.now = int(event["time_ns"])
            self.first = self.now if self.first is None else self.first
            self.event(event)
        for pid in list(self.waiting):
            self.wait_ends(pid, self.now, final=True)
        for cpu in self.cpus.values():
            self.settle(cpu)

    def task(self, pid: int) -> Task:
        return self.tasks.setdefault((pid, self.lives[pid]), Task())

    def event(self, e: Any) -> None:  # noqa: C901
        kind, number = Kind(int(e["kind"])), int(e["cpu"])
        cpu = self.cpus.setdefault(number, Cpu(self.first or 0, self.first or 0))
        time, ident = self.now, int(e["id"])
        if kind in (Kind.HARDIRQ_ENTRY, Kind.VECTOR_ENTRY):
            if cpu.depth == 0:
                cpu.hard_since = time
            cpu.depth += 1
        elif kind in (Kind.HARDIRQ_EXIT, Kind.VECTOR_EXIT):
            self.hard_exit(cpu, kind, int(e["a"]))
        elif kind == Kind.SOFTIRQ_ENTRY:
            self.heal(cpu)
            cpu.vector, cpu.soft_since, cpu.soft_hard = ident, time, cpu.hard_ns
            flags = int(e["flags"])
            cpu.trigger = 1 if flags & Flag.BH_ENABLE else 0 if flags & Flag.IRQ_EXIT else 2
        elif kind == Kind.SOFTIRQ_EXIT:
            self.soft_exit(cpu, ident)
        elif kind == Kind.NAPI_POLL:
            cpu.polls += 1
            cpu.packets += int(e["a"])
            cpu.softirq_packets += int(e["a"]) if cpu.vector == 3 else 0
        elif kind == Kind.LOST:
            self.loss(cpu, int(e["value"]))
        elif kind == Kind.SWITCH:
            self.switch(number, cpu, e)
        elif kind == Kind.WAKEUP:
            if ident > 0 and ident not in self.waiting:
                self.waiting[ident] = int(e["a"]), time
        elif kind == Kind.MIGRATE and ident in self.waiting:
            self.wait_ends(ident, time)
            self.waiting[ident] = int(e["b"]), time
        if kind not in (Kind.SWITCH, Kind.LOST):
            if int(e["pid"]) == cpu.pid:
                cpu.turn = None
            elif cpu.turn is None:
                cpu.turn = time
        cpu.last, cpu.last_pid = time, int(e["pid"])

    def traced(self, cpu: Cpu, until: int) -> None:
        """The clocks of network kernel threads run by traced switches alone."""
        if cpu.pid > 0 and self.kind_of(cpu.pid) < KIND_TASK:
            cpu.runs.append((self.kind_of(cpu.pid), cpu.since, until))

    def heal(self, cpu: Cpu) -> None:
        cpu.unmatched += (cpu.depth > 0) + (cpu.vector >= 0)
        cpu.depth, cpu.vector = 0, -1

    def hard_exit(self, cpu: Cpu, kind: Kind, which: int) -> None:
        if cpu.depth == 0:
            cpu.unmatched += not cpu.hard_grace
            cpu.hard_grace = False
            return
        cpu.ipis += kind == Kind.VECTOR_EXIT and which < IPIS
        cpu.depth -= 1
        if cpu.depth == 0:
            cpu.interrupts += 1
            cpu.slice_interrupts += 1
            cpu.hard_ns += self.now - cpu.hard_since
            cpu.hard += self.now - cpu.hard_since

    def soft_exit(self, cpu: Cpu, vector: int) -> None:
        if cpu.vector != vector or not 0 <= vector < NR_VECTORS:
            cpu.unmatched += not cpu.soft_grace
            cpu.soft_grace = False
        else:
            ns = (self.now - cpu.soft_since) - (cpu.hard_ns - cpu.soft_hard)
            cpu.soft_ns[vector] += ns
            cpu.soft_count[vector] += 1
            cpu.soft[vector, cpu.trigger] += ns
        cpu.vector = -1

    def loss(self, cpu: Cpu, number: int) -> None:
        cpu.lost += number
        cpu.depth, cpu.vector = 0, -1
        cpu.hard_grace = cpu.soft_grace = True
        self.traced(cpu, self.now)
        self.close(
            cpu, cpu.last_pid if cpu.pid < 0 else cpu.pid, max(cpu.last or cpu.start, cpu.since)
        )
        cpu.since, cpu.pid, cpu.turn = self.now, -1, None

    def switch(self, number: int, cpu: Cpu, e: Any) -> None:
        self.heal(cpu)
        cpu.switches += 1
        self.traced(cpu, self.now)
        left, came, flags = int(e["pid"]), cpu.pid, int(e["flags"])
        billed = int(e["value"]) if flags & Flag.BILLED else -1
        if came >= 0 and came != left:
            cpu.unmatched += 1
            cpu.inferred_ns += self.now - cpu.since
            turn = self.now - billed if billed >= 0 else cpu.turn
            turn = self.now if turn is None else min(max(turn, cpu.since), self.now)
            guess = turn - cpu.since if billed >= 0 else 0
            hidden = (cpu.hard, cpu.soft, cpu.slice_interrupts)
            cpu.hard, cpu.soft, cpu.slice_interrupts = 0, defaultdict(int), 0
            self.close(cpu, came, turn)
            if came > 0:
                self.task(came).billed += guess
            cpu.hard, cpu.soft, cpu.slice_interrupts = hidden
            cpu.since = turn
        self.close(cpu, left, self.now)
        if left > 0:
            task = self.task(left)
            task.billed += max(billed, 0)
            task.switches += 1
            self.waiting.pop(left, None)
            if flags & Flag.DEAD:
                self.lives[left] += 1
            elif flags & Flag.PREEMPTED or int(e["a"]) == 0:
                self.waiting[left] = number, self.now
        cpu.since, cpu.pid, cpu.turn = self.now, int(e["id"]), None
        if cpu.pid in self.waiting:
            self.wait_ends(cpu.pid, self.now)

    def close(self, cpu: Cpu, pid: int, end: int) -> None:
        """Charge the slice that ends."""
        length, soft = end - cpu.since, sum(cpu.soft.values())
        own = length - cpu.hard - soft
        kind = KIND_IDLE if pid == 0 else self.kind_of(pid)
        if pid < 0:
            pass
        elif kind == KIND_IDLE:
            cpu.idle_ns += own
            cpu.idle_interrupted_ns += cpu.hard + soft
        else:
            cpu.stolen_hardirq_ns += cpu.hard
            task = self.task(pid)
            task.oncpu += length
            task.hard += cpu.hard
            task.interrupts += cpu.slice_interrupts
            if kind == KIND_TASK:
                cpu.own_ns += own
                task.own += own
                for (vector, trigger), ns in cpu.soft.items():
                    cpu.stolen_softirq_ns[vector] += ns
                    task.soft[vector] += ns
                    task.trigger[trigger] += ns
            else:
                cpu.kthread_ns[kind] += own + soft
                task.own += own + soft
        cpu.hard, cpu.soft, cpu.slice_interrupts = 0, defaultdict(int), 0

    def settle(self, cpu: Cpu) -> None:
        hard = self.now - cpu.hard_since if cpu.depth else 0
        cpu.hard_ns += hard
        cpu.hard += hard
        if 0 <= cpu.vector < NR_VECTORS:
            running = (self.now - cpu.soft_since) - (cpu.hard_ns - cpu.soft_hard)
            cpu.soft_ns[cpu.vector] += running
            cpu.soft[cpu.vector, cpu.trigger] += running
        self.close(cpu, cpu.last_pid if cpu.pid < 0 else cpu.pid, self.now)

    def wait_ends(self, pid: int, time: int, final: bool = False) -> None:
        number, since = self.waiting.pop(pid)
        task = self.task(pid)
        task.wait += time - since
        cpu = self.cpus.get(number)
        if cpu is None:
            return
        runs = list(cpu.runs)
        if cpu.pid > 0 and self.kind_of(cpu.pid) < KIND_TASK:
            runs.append((self.kind_of(cpu.pid), cpu.since, time))
        for kind, low, high in runs:
            task.displaced[kind] += max(0, min(high, time) - max(low, since))
