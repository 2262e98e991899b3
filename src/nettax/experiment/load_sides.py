"""Whose CPU time a run took: the server's, the generator's, and what was spent elsewhere.

On one host a packet of either side is often received in the context of the other: a sender on
loopback runs NET_RX in its own system call. So the time in network softirqs is told by where it was
spent, not by whose packets they were.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nettax.kernel.cpu_stat import CpuUsage
from nettax.ledger import Charges, Interval, TaskCharges
from nettax.ledger.rows import VECTORS

__all__ = ["Elsewhere", "Placed", "Side", "elsewhere", "side"]

_NET = (VECTORS.index("net_rx"), VECTORS.index("net_tx"))


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a side may run, and what its quota did, as seen during the run."""

    cpus: tuple[int, ...]
    throttled_ns: int
    """Summed over CPUs."""


@dataclass(frozen=True, slots=True)
class Side:
    """The server or the generator, over the run; times in ns."""

    threads: int
    """That ran."""
    usage: CpuUsage
    """As its cgroup, or its processes, were billed."""
    billed_ns: int
    """The same by the ledger, which adds it up over tasks as they leave a CPU."""
    oncpu_ns: int
    """Between the switches that brought it to a CPU and away: own, and the next three."""
    own_ns: int
    hardirq_ns: int
    """Interrupts in its context."""
    net_ns: int
    """NET_RX and NET_TX in its context."""
    softirq_ns: int
    """Other softirqs in its context."""
    wakeup_ns: int
    """Billed from its wakeups on, before it was on the CPU, less what was billed so to others."""
    waived_ns: int
    """On a CPU and not billed: the hypervisor's steal, and interrupts where they are kept apart."""
    user_ns: int
    """Of its own time, by the ticks: those fall on who is on a CPU, so not into `wakeup_ns`."""
    by_system_calls_ns: int
    """Of both kinds of softirqs, those that its own system calls ran (bh_enable)."""
    wait_ns: int
    """Runnable without running, summed over threads."""
    displaced_ns: int
    """Of that, while ksoftirqd or another network thread had the CPU."""
    saturation: float
    """How much of the run its threads were runnable, 0 to 1: the mean, weighted by CPU time."""
    cpus: tuple[int, ...]
    """Where it may run."""
    throttled_ns: int
    """How long a quota held it up, summed over CPUs."""

    @property
    def system_ns(self) -> int:
        """Its own time in the kernel: what is not user time, which is told by ticks."""
        return self.own_ns - self.user_ns

    @property
    def parts_ns(self) -> int:
        """What it was billed, from its parts: by no record of the scheduler's of any task."""
        return self.oncpu_ns + self.wakeup_ns - self.waived_ns

    @property
    def mismatch(self) -> float | None:
        """How far the parts are from the account of its cgroup or processes, as a share of that."""
        return self.parts_ns / self.usage.total_ns - 1 if self.usage.total_ns else None

    @property
    def waited(self) -> float:
        """Of the time that it wanted a CPU, the share that it had none."""
        wanted = self.oncpu_ns + self.wait_ns
        return self.wait_ns / wanted if wanted else 0.0


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """CPU time in neither side's tasks, of the whole host; in ns."""

    kthreads_ns: int
    """ksoftirqd, NAPI and IRQ threads."""
    idle_net_ns: int
    """NET_RX and NET_TX that ran in no task: over idle. Of little, it may be less than nothing."""
    other_net_ns: int
    """NET_RX and NET_TX in the context of other tasks."""
    other_ns: int
    """What other tasks had."""
    other_on_server_cpus_ns: int
    """What tasks had on the server's CPUs, less both sides and nettax itself.

    The generator as if it ran evenly on all its CPUs; exact where it is on all of the server's or
    on none.
    """
    heaviest: str
    """The other task that had most, wherever it ran; empty: none."""


def _net_ns(charges: Charges) -> int:
    """NET_RX and NET_TX in the context of what was charged."""
    return sum(charges.softirq_ns[vector] for vector in _NET)


def side(
    tasks: Sequence[TaskCharges],
    charges: Charges,
    usage: CpuUsage,
    placed: Placed,
    elapsed_ns: int,
    interrupts_apart: bool,
) -> Side:
    """Add a side up; `charges` are of all its tasks, those that found no room included.

    `interrupts_apart`: whether ticks that fall into interrupts are on nobody's bill.
    """
    wait = sum(task.charges.wait_ns for task in tasks)
    oncpu = sum(task.charges.oncpu_ns for task in tasks)
    runnable = sum(
        task.charges.oncpu_ns
        * min(1.0, (task.charges.oncpu_ns + task.charges.wait_ns) / elapsed_ns)
        for task in tasks
    )
    net = _net_ns(charges)
    ticked = charges.own_ns if interrupts_apart else charges.oncpu_ns
    return Side(
        threads=len(tasks),
        usage=usage,
        billed_ns=charges.billed_ns,
        oncpu_ns=charges.oncpu_ns,
        own_ns=charges.own_ns,
        hardirq_ns=charges.hardirq_ns,
        net_ns=net,
        softirq_ns=sum(charges.softirq_ns) - net,
        wakeup_ns=charges.wakeup_ns,
        waived_ns=charges.waived_ns,
        user_ns=ticked * usage.user_ns // max(1, usage.total_ns),
        by_system_calls_ns=charges.stolen_by_trigger_ns["bh_enable"],
        wait_ns=wait,
        displaced_ns=sum(sum(task.charges.displaced_ns.values()) for task in tasks),
        saturation=runnable / oncpu if oncpu else 0.0,
        cpus=placed.cpus,
        throttled_ns=placed.throttled_ns,
    )


def elsewhere(
    interval: Interval,
    tasks: Iterable[TaskCharges],
    server: Side,
    generator: Side,
) -> Elsewhere:
    """What was spent in neither side's tasks; `tasks` are those of both."""
    ours = {task.key for task in tasks}
    others = [
        task
        for task in interval.charges
        if task.key not in ours and task.kind == "task" and task.tgid != os.getpid()
    ]
    own = [
        task.charges.oncpu_ns
        for task in interval.charges
        if task.tgid == os.getpid() and task.cpu in server.cpus
    ]
    beside = len(set(server.cpus) & set(generator.cpus)) / len(generator.cpus)
    in_tasks = sum(
        cpu.own_ns + sum(cpu.stolen_ns.values()) for cpu in interval.cpus if cpu.cpu in server.cpus
    )
    most = max(others, key=lambda task: task.charges.oncpu_ns, default=None)
    kthreads = sum(sum(cpu.kthread_ns.values()) for cpu in interval.cpus)
    net = sum(cpu.softirq_ns["net_rx"] + cpu.softirq_ns["net_tx"] for cpu in interval.cpus)
    other_net = sum(_net_ns(task.charges) for task in others)
    in_threads = sum(task.charges.own_ns for task in interval.charges if task.kind == "ksoftirqd")
    return Elsewhere(
        kthreads_ns=kthreads,
        # ksoftirqd's time is nearly all in softirqs, and in its own account.
        idle_net_ns=net - server.net_ns - generator.net_ns - other_net - in_threads,
        other_net_ns=other_net,
        other_ns=sum(task.charges.oncpu_ns for task in others),
        other_on_server_cpus_ns=round(
            in_tasks - sum(own) - server.oncpu_ns - generator.oncpu_ns * beside
        ),
        heaviest=f"{most.comm} ({most.pid})" if most else "",
    )
