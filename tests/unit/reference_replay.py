"""The ledger's rules, one event after the other: slow, plain, and what the replay must match."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from nettax.events.model import EVERY_CPU, Flag, Kind

NR_VECTORS = 10
IPIS = 4
KIND_TASK, KIND_IDLE = 3, 4


@dataclass
class Cpu:
    """One CPU."""

    start: int
    since: int
    end: int = 0
    recorded: bool = True
    pid: int = -1
    depth: int = 0
    hard_since: int = 0
    hard_grace: bool = True
    soft_grace: bool = True
    vector: int = -1
    soft_since: int = 0
    soft_hard: int = 0
    trigger: int = 2
    poll: tuple[int, int] = 0, 0  # when the last one ended, and hard_ns then
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
    unbilled: bool = False
    exited: bool = False
    last: int = 0

    def flat(self) -> tuple[int, ...]:
        return (
            *(self.oncpu, self.own, self.billed, self.hard, *self.soft, *self.trigger),
            *(*self.displaced, self.wait, self.interrupts, self.switches),
        )


class Reference:
    """Follows events; `kind_of` tells a pid's kind."""

    def __init__(self, kind_of: Callable[[int], int], *, sliced: bool = True) -> None:
        self.kind_of = kind_of
        self.sliced = sliced
        self.cpus: dict[int, Cpu] = {}
        self.tasks: dict[tuple[int, int], Task] = {}
        self.lives: dict[int, int] = defaultdict(int)
        self.waiting: dict[int, tuple[int, int]] = {}  # CPU, since
        self.first: int | None = None
        self.now = 0
        self.lost_everywhere = 0, 0  # how many, and when at last
        self.histograms = [[0] * 40 for _ in range(NR_VECTORS + 2)]

    def run(self, events: Iterable[Any]) -> None:
        awaited = self.awaited(events)
        for event in events:
            late = int(event["time_ns"]) < self.now
            self.now = max(self.now, int(event["time_ns"]))
            self.first = self.now if self.first is None else self.first
            number, kind = int(event["cpu"]), int(event["kind"])
            if number == EVERY_CPU:
                if kind == Kind.LOST:
                    self.lose_everywhere(event)
                continue
            if kind == Kind.BEGIN:
                awaited.discard(number)
                self.begin(number, int(event["pid"]))
            elif number in awaited or (kind == Kind.END and number not in self.cpus):
                continue
            elif (cpu := self.cpu(number)).recorded:
                if kind == Kind.END:
                    flagged = int(event["flags"]) & Flag.BILLED
                    self.settle(cpu, int(event["value"]) if flagged else -1)
                else:
                    self.event(number, cpu, event)
            else:
                continue
            self.cpus[number].unmatched += late
        for pid in list(self.waiting):
            self.wait_ends(pid, self.now, final=True)
        for cpu in self.cpus.values():
            if cpu.recorded:
                self.settle(cpu, -1)

    def awaited(self, events: Iterable[Any]) -> set[int]:
        """CPUs that are told to begin, so that what comes before is not of the recording."""
        marks: dict[int, int] = {}
        for event in events:
            if event["kind"] in (Kind.BEGIN, Kind.END):
                marks.setdefault(int(event["cpu"]), int(event["kind"]))
        return {number for number, kind in marks.items() if kind == Kind.BEGIN}

    def cpu(self, number: int) -> Cpu:
        if number not in self.cpus:
            lost, since = self.lost_everywhere
            cpu = Cpu(self.first or 0, since or self.first or 0, last=since, lost=lost)
            self.cpus[number] = cpu
        return self.cpus[number]

    def begin(self, number: int, pid: int) -> None:
        old = self.cpus.get(number)
        runs = []
        if old is not None:
            self.traced(old, self.now)
            runs = old.runs
        self.cpus[number] = Cpu(self.now, self.now, pid=pid, last=self.now, runs=runs)

    def lose_everywhere(self, e: Any) -> None:
        for cpu in self.cpus.values():
            if cpu.recorded:
                self.loss(cpu, int(e["value"]))
                cpu.last, cpu.last_pid = self.now, int(e["pid"])
        self.lost_everywhere = self.lost_everywhere[0] + int(e["value"]), self.now

    def count_run(self, row: int, ns: int) -> None:
        self.histograms[row][min(max(ns, 1).bit_length() - 1, 39)] += 1

    def task(self, pid: int) -> Task:
        return self.tasks.setdefault((pid, self.lives[pid]), Task())

    def event(self, number: int, cpu: Cpu, e: Any) -> None:  # noqa: C901
        kind, time, ident = int(e["kind"]), self.now, int(e["id"])
        if kind in (Kind.HARDIRQ_ENTRY, Kind.VECTOR_ENTRY):
            if cpu.depth == 0:
                cpu.hard_since = time
            cpu.depth += 1
        elif kind in (Kind.HARDIRQ_EXIT, Kind.VECTOR_EXIT):
            self.hard_exit(cpu, kind, int(e["a"]))
        elif kind == Kind.SOFTIRQ_ENTRY:
            self.heal(cpu)
            cpu.vector, cpu.soft_since, cpu.soft_hard = ident, time, cpu.hard_ns
            cpu.poll = time, cpu.hard_ns
            flags = int(e["flags"])
            cpu.trigger = 1 if flags & Flag.BH_ENABLE else 0 if flags & Flag.IRQ_EXIT else 2
        elif kind == Kind.SOFTIRQ_EXIT:
            self.soft_exit(cpu, ident)
        elif kind == Kind.NAPI_POLL:
            cpu.polls += 1
            cpu.packets += int(e["a"])
            if cpu.vector == 3:
                cpu.softirq_packets += int(e["a"])
                self.count_run(11, (time - cpu.poll[0]) - (cpu.hard_ns - cpu.poll[1]))
                cpu.poll = time, cpu.hard_ns
        elif kind == Kind.LOST:
            self.loss(cpu, int(e["value"]))
        elif kind == Kind.SWITCH:
            self.switch(number, cpu, e)
        elif kind == Kind.WAKEUP and self.sliced:
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
        if not self.sliced and (cpu.slice_interrupts or cpu.soft):
            # What ended just now is a slice of its own.
            cpu.since = time - cpu.hard - sum(cpu.soft.values())
            self.close(cpu, int(e["pid"]), time, -1)
        cpu.last, cpu.last_pid = time, int(e["pid"])

    def traced(self, cpu: Cpu, until: int) -> None:
        """The clocks of network kernel threads run by traced switches alone."""
        if cpu.recorded and cpu.pid > 0 and self.kind_of(cpu.pid) < KIND_TASK:
            cpu.runs.append((self.kind_of(cpu.pid), cpu.since, until))

    def heal(self, cpu: Cpu) -> None:
        cpu.unmatched += (cpu.depth > 0) + (cpu.vector >= 0)
        cpu.depth, cpu.vector = 0, -1

    def hard_exit(self, cpu: Cpu, kind: int, which: int) -> None:
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
            self.count_run(10, self.now - cpu.hard_since)

    def soft_exit(self, cpu: Cpu, vector: int) -> None:
        if cpu.vector != vector or not 0 <= vector < NR_VECTORS:
            cpu.unmatched += not cpu.soft_grace
            cpu.soft_grace = False
        else:
            ns = (self.now - cpu.soft_since) - (cpu.hard_ns - cpu.soft_hard)
            cpu.soft_ns[vector] += ns
            cpu.soft_count[vector] += 1
            cpu.soft[vector, cpu.trigger] += ns
            self.count_run(vector, ns)
        cpu.vector = -1

    def loss(self, cpu: Cpu, lost: int) -> None:
        cpu.lost += lost
        cpu.depth, cpu.vector = 0, -1
        cpu.hard_grace = cpu.soft_grace = True
        self.traced(cpu, self.now)
        if self.sliced:
            self.close(cpu, current(cpu), max(cpu.last or cpu.start, cpu.since), -1)
        cpu.since, cpu.pid, cpu.turn = self.now, -1, None

    def switch(self, number: int, cpu: Cpu, e: Any) -> None:
        self.heal(cpu)
        cpu.switches += 1
        if not self.sliced:
            return
        self.traced(cpu, self.now)
        left, came, flags = int(e["pid"]), cpu.pid, int(e["flags"])
        left = current(cpu) if left < 0 else left
        billed = int(e["value"]) if flags & Flag.BILLED else -1
        if came >= 0 and came != left:
            cpu.unmatched += 1
            cpu.inferred_ns += self.now - cpu.since
            turn = self.now - billed if billed >= 0 else cpu.turn
            turn = self.now if turn is None else min(max(turn, cpu.since), self.now)
            guess = turn - cpu.since if billed >= 0 else -1
            hidden = (cpu.hard, cpu.soft, cpu.slice_interrupts)
            cpu.hard, cpu.soft, cpu.slice_interrupts = 0, defaultdict(int), 0
            self.close(cpu, came, turn, guess)
            cpu.hard, cpu.soft, cpu.slice_interrupts = hidden
            cpu.since = turn
        self.close(cpu, left, self.now, billed)
        if left > 0:
            task = self.task(left)
            task.switches += 1
            self.waiting.pop(left, None)
            if flags & Flag.DEAD:
                task.exited = True
                self.lives[left] += 1
            elif flags & Flag.PREEMPTED or int(e["a"]) == 0:
                self.waiting[left] = number, self.now
        cpu.since, cpu.pid, cpu.turn = self.now, int(e["id"]), None
        if cpu.pid in self.waiting:
            self.wait_ends(cpu.pid, self.now)

    def close(self, cpu: Cpu, pid: int, end: int, billed: int) -> None:
        """Charge the slice that ends; `billed`: -1 where nothing tells."""
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
            task.billed += max(billed, 0)
            task.unbilled |= billed < 0 and length > 0
            task.last = max(task.last, end)
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

    def settle(self, cpu: Cpu, billed: int) -> None:
        self.traced(cpu, self.now)
        cpu.recorded, cpu.end = False, self.now
        if not self.sliced:
            return
        hard = self.now - cpu.hard_since if cpu.depth else 0
        cpu.hard_ns += hard
        cpu.hard += hard
        if 0 <= cpu.vector < NR_VECTORS:
            running = (self.now - cpu.soft_since) - (cpu.hard_ns - cpu.soft_hard)
            cpu.soft_ns[cpu.vector] += running
            cpu.soft[cpu.vector, cpu.trigger] += running
        self.close(cpu, current(cpu), self.now, billed)

    def wait_ends(self, pid: int, time: int, final: bool = False) -> None:
        number, since = self.waiting.pop(pid)
        task = self.task(pid)
        task.wait += time - since
        task.last = max(task.last, time)
        cpu = self.cpus.get(number)
        if cpu is None:
            return
        runs = list(cpu.runs)
        if cpu.recorded and cpu.pid > 0 and self.kind_of(cpu.pid) < KIND_TASK:
            runs.append((self.kind_of(cpu.pid), cpu.since, time))
        for kind, low, high in runs:
            task.displaced[kind] += max(0, min(high, time) - max(low, since))


def current(cpu: Cpu) -> int:
    """Who has it, as far as it is known."""
    return cpu.last_pid if cpu.pid < 0 else cpu.pid
