"""What the ledger says about an interval: frozen rows, all times in ns, all counts plain.

Field names are those of the schema `nettax.stat/1`; what they mean is in docs/ledger.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

__all__ = [
    "VECTORS",
    "CpuShare",
    "Events",
    "GroupShare",
    "IrqShare",
    "OwnCost",
    "TaskShare",
    "TollShare",
]

# Softirq vectors in the kernel's order (include/linux/interrupt.h), as /proc/softirqs names them.
VECTORS = (
    "hi",
    "timer",
    "net_tx",
    "net_rx",
    "block",
    "irq_poll",
    "tasklet",
    "sched",
    "hrtimer",
    "rcu",
)
KTHREADS = ("ksoftirqd", "napi", "irq")
TRIGGERS = ("irq_exit", "bh_enable", "unknown")
KINDS = (*KTHREADS, "task", "idle")


@dataclass(frozen=True, slots=True)
class TollShare:
    """Interrupts × the calibrated cost of entering and leaving one: an estimate, with its interval.

    It lies inside the other accounts (own, idle, stolen): never add it to them.
    """

    estimate: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class CpuShare:
    """Where one CPU's time went.

    wall = idle + idle_interrupted + own + Σ stolen + Σ kthread + residual.
    """

    cpu: int
    online: bool
    wall_ns: int
    idle_ns: int
    idle_interrupted_ns: int
    own_ns: int
    stolen_ns: Mapping[str, int]
    """From tasks, by `hardirq` or softirq vector; hard IRQs also from network kernel threads."""
    kthread_ns: Mapping[str, int]
    """On-CPU time of ksoftirqd, NAPI and IRQ threads, less the hard IRQs inside it."""
    residual_ns: int
    unkept_ns: int
    """Part of own, stolen and kthread that belongs to tasks for which the map had no room."""
    hardirq_ns: int
    """In any context: tasks, idle, kernel threads."""
    softirq_ns: Mapping[str, int]
    """By vector, in any context."""
    softirq_count: Mapping[str, int]
    hardirq_count: int
    """Hard IRQs of every kind, IPIs included."""
    ipi_count: int
    polls: int
    packets: int
    """Work that NAPI polls reported: received packets, and whatever else a driver counts."""
    softirq_packets: int
    """Those of them that were polled in NET_RX softirqs, not by NAPI threads or busy polling."""
    squeezed: int | None
    switches: int
    steal_ns: int
    """The hypervisor's, from /proc/stat: inside the other accounts, as `toll_ns` is."""
    toll_ns: TollShare | None

    @property
    def ns_per_packet(self) -> float | None:
        """NET_RX time by packets polled in softirqs; None where less than a tenth of its runs poll.

        A CPU that hands its packets to others (RPS) runs NET_RX to send them IPIs, without a poll
        (net/core/dev.c, net_rps_action_and_irq_enable): few packets would have all of that time.
        """
        if not self.softirq_packets or 10 * self.polls < self.softirq_count["net_rx"]:
            return None
        return self.softirq_ns["net_rx"] / self.softirq_packets

    @classmethod
    def total(cls, rows: Sequence[Self]) -> Self:
        """All rows as one, field by field; `cpu` is how many there are.

        A field that one of them lacks is None.
        """
        sums = {f.name: _sum([getattr(row, f.name) for row in rows]) for f in fields(cls)}
        return cls(**{**sums, "cpu": len(rows), "online": all(row.online for row in rows)})


def _sum(values: list[Any]) -> Any:
    first = values[0]
    if any(value is None for value in values):
        return None
    if isinstance(first, Mapping):
        return {key: sum(value[key] for value in values) for key in first}
    if isinstance(first, TollShare):
        return TollShare(*(sum(getattr(v, f.name) for v in values) for f in fields(TollShare)))
    return sum(values)


@dataclass(frozen=True, slots=True)
class IrqShare:
    """How often one line interrupted one CPU, and for how long."""

    irq: str
    """As /proc/interrupts names the line: an IRQ's number, or LOC, RES, CAL …"""
    name: str
    """What it is for: the handler's own name, which of a NIC tells the queue."""
    cpu: int
    count: int
    """Of a line that devices share, those of this handler: it is called for each of them."""
    time_ns: int
    """In the handler; over all lines of a CPU, its `hardirq_ns`."""


class _Taken:
    """What rows of tasks and of groups have in common beside their fields."""

    __slots__ = ()
    stolen_ns: Mapping[str, int]
    displaced_ns: Mapping[str, int]

    @property
    def taken_ns(self) -> int:
        """Stolen and displaced together."""
        return sum(self.stolen_ns.values()) + sum(self.displaced_ns.values())


@dataclass(frozen=True, slots=True)
class TaskShare(_Taken):
    """What one task was billed, and what it got.

    on-CPU = own + Σ stolen; billed = on-CPU + wakeup − waived.
    """

    pid: int
    tgid: int
    start_ns: int
    """Since boot: with `pid`, the task's identity."""
    comm: str
    kind: str
    """`task`, or `ksoftirqd`, `napi`, `irq`."""
    cgroup: str | None
    cpu: int
    """Where it ran last."""
    exited: bool
    followed: bool
    billed_ns: int
    """What the kernel charged (sum_exec_runtime, which utime + stime add up to)."""
    oncpu_ns: int
    own_ns: int
    stolen_ns: Mapping[str, int]
    stolen_by_trigger_ns: Mapping[str, int]
    """The softirqs in `stolen_ns`, by what ran them."""
    displaced_ns: Mapping[str, int]
    """Part of `wait_ns` during which a network kernel thread had the CPU."""
    wait_ns: int
    interrupts: int
    switches: int
    wakeup_ns: int
    """Billed from before it came on the CPU, less what was billed so to who came after it."""
    waived_ns: int
    """On the CPU and not billed: the hypervisor's steal, interrupts where they are kept apart."""
    toll_ns: TollShare | None

    @property
    def kept_off_ns(self) -> int:
        """All that kept it from running: what was stolen, and its waiting for whatever reason."""
        return sum(self.stolen_ns.values()) + self.wait_ns


@dataclass(frozen=True, slots=True)
class GroupShare(_Taken):
    """What several tasks were billed, and what they got, together; fields as in `TaskShare`."""

    name: str
    kind: str
    """Of a process as in `TaskShare`; `cgroup`; or of a workload: `docker`, `service` …"""
    pid: int | None
    """Of a process."""
    tasks: int
    """How many of it ran or waited."""
    exited: bool
    """All of these."""
    billed_ns: int
    oncpu_ns: int
    own_ns: int
    stolen_ns: Mapping[str, int]
    stolen_by_trigger_ns: Mapping[str, int]
    displaced_ns: Mapping[str, int]
    """Two that wait at once both waited: it may exceed wall time."""
    wait_ns: int
    interrupts: int
    switches: int
    wakeup_ns: int
    waived_ns: int
    toll_ns: TollShare | None


@dataclass(frozen=True, slots=True)
class Events:
    """What the ledger could not account for."""

    lost: int
    """Events that the kernel dropped because a program was already running on that CPU."""
    unmatched: int
    """Events that did not fit the state they met (an exit without an entry)."""
    inferred_ns: int
    """Time around untraced switches, divided by the scheduler's own record."""
    unkept_ns: int
    """On-CPU time of tasks for which the map had no room."""


@dataclass(frozen=True, slots=True)
class OwnCost:
    """What the measurement itself cost."""

    cpu_ns: int
    """CPU time of this process."""
    bpf_ns: int | None
    """Time inside the programs in the kernel; None unless it was asked to count."""
    bpf_runs: int | None
