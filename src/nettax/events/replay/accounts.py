"""What the replay adds up: per CPU, and per task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["KTHREADS", "TASK", "Accounts", "CpuAccount", "TaskAccount", "kthread_of"]

KTHREADS: Final = ("ksoftirqd", "napi", "irq")
TASK: Final = len(KTHREADS)
"""The kind of any other task."""


def kthread_of(comm: str) -> int:
    """The kind of a task by its name, as the kernel names its threads."""
    if comm.startswith("ksoftirqd/"):
        return 0
    if comm.startswith(("napi/", "backlog_napi/")):
        return 1
    return 2 if comm.startswith("irq/") else TASK


@dataclass(frozen=True, slots=True)
class CpuAccount:
    """One CPU's totals, ns and numbers."""

    cpu: int
    start_ns: int
    end_ns: int
    idle_ns: int
    idle_interrupted_ns: int
    own_ns: int
    stolen_hardirq_ns: int
    stolen_softirq_ns: Sequence[int]
    """By vector, as are the other two of softirqs."""
    kthread_ns: Sequence[int]
    """By `KTHREADS`."""
    lost: int
    """Events."""
    hard_ns: int
    """Of hard IRQs and softirqs, whoever was current: the former are not part of the latter."""
    soft_ns: Sequence[int]
    soft_count: Sequence[int]
    interrupts: int
    ipis: int
    """Of the interrupts, nested ones included."""
    polls: int
    packets: int
    softirq_packets: int
    """Packets that were polled in a NET_RX softirq."""
    switches: int
    unmatched: int
    """Entries without an exit, exits without an entry, switches that do not continue the last."""
    inferred_ns: int
    """Of slices that had to be divided."""


@dataclass(frozen=True, slots=True)
class TaskAccount:
    """One task's sums."""

    pid: int
    life: int
    """0: the first that had this pid in the recording, and so on."""
    kind: int
    """0 to 2 of `KTHREADS`, 3 for any other."""
    sums: tuple[int, ...]
    """In the order of struct charges (bpf/ledger.h), which a replay must give too."""
    billed: bool
    """Whether what it was billed is known."""
    cpu: int
    last_ns: int
    """When it was last seen on a CPU, or waiting for one."""
    exited: bool


@dataclass(frozen=True, slots=True)
class Accounts:
    """All that a replay tells."""

    cpus: tuple[CpuAccount, ...]
    tasks: tuple[TaskAccount, ...]
    start_ns: int
    end_ns: int
    sliced: bool
    """Whether switches were recorded; without, only what was stolen is known, and from whom."""
    events: int
    lost: int
    histograms: Sequence[Sequence[int]]
    """log2 run times: a row for each softirq vector, then hard IRQs, then polls."""

    @property
    def unmatched(self) -> int:
        return sum(cpu.unmatched for cpu in self.cpus)

    @property
    def inferred_ns(self) -> int:
        return sum(cpu.inferred_ns for cpu in self.cpus)
