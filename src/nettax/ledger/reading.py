"""Two readings of the counters make an interval: the only arithmetic between kernel and rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nettax.errors import NettaxError
from nettax.kernel.accounting import Accounting
from nettax.ledger.charges import Charges
from nettax.ledger.irqs import Place, irq_shares
from nettax.ledger.rows import KTHREADS, VECTORS, CpuShare, Events, IrqShare, OwnCost, TaskShare
from nettax.ledger.tasks import Decoder, TaskCharges, TaskRows, interrupt_rates, task_charges
from nettax.ledger.toll import Toll

__all__ = ["Interval", "Reading"]

NOTHING = Charges()


@dataclass(frozen=True, slots=True)
class Reading:
    """The counters at one moment, cumulative since the ledger was armed.

    Subtract an earlier reading to get an `Interval`. Tasks that have exited are in the first
    reading after their end and in no later one, so subtract consecutive readings.
    """

    decoder: Decoder
    time_ns: int
    """CLOCK_MONOTONIC."""
    cpus: Mapping[int, Any]
    """struct cpu_totals by CPU."""
    offline: frozenset[int]
    tasks: Mapping[bytes, bytes]
    """struct task_account by struct task_key, as the kernel keeps them."""
    irqs: Mapping[Place, bytes]
    """struct irq_line by CPU and place."""
    cgroups: Mapping[int, Charges]
    """By cgroup id; empty unless asked for."""
    squeezed: Mapping[int, int]
    steal_ns: Mapping[int, int]
    lost: int
    self_cpu_ns: int
    bpf_ns: int | None
    bpf_runs: int | None
    histograms: Mapping[int, Any]
    """struct cpu_histograms by CPU; empty unless asked for."""
    accounting: Accounting

    def __sub__(self, earlier: Reading) -> Interval:
        cpus = tuple(self._cpus(earlier))
        charges = tuple(self._charges(earlier))
        return Interval(
            start_ns=earlier.time_ns,
            wall_ns=self.time_ns - earlier.time_ns,
            cpus=cpus,
            tasks=TaskRows(charges, interrupt_rates(cpus)),
            charges=charges,
            irqs=tuple(
                irq_shares(self.decoder.lines, self.irqs, earlier.irqs, self.cpus, earlier.cpus)
            ),
            cgroups=self._cgroups(earlier),
            events=Events(
                lost=self.lost - earlier.lost,
                unmatched=self._growth(earlier, "unmatched"),
                inferred_ns=self._growth(earlier, "inferred_ns"),
                unkept_ns=sum(cpu.unkept_ns for cpu in cpus),
            ),
            own_cost=OwnCost(
                self.self_cpu_ns - earlier.self_cpu_ns,
                _minus(self.bpf_ns, earlier.bpf_ns),
                _minus(self.bpf_runs, earlier.bpf_runs),
            ),
            histograms=_histograms(self.histograms, earlier.histograms),
            toll=self.decoder.toll,
            accounting=self.accounting,
        )

    def _growth(self, earlier: Reading, field: str) -> int:
        return sum(
            getattr(t, field) - getattr(earlier.cpus[c], field) for c, t in self.cpus.items()
        )

    def _cpus(self, earlier: Reading) -> Iterator[CpuShare]:
        for cpu, now in self.cpus.items():
            then = earlier.cpus[cpu]
            offline = cpu in self.offline or cpu in earlier.offline
            squeezed = _minus(self.squeezed.get(cpu), earlier.squeezed.get(cpu))
            if squeezed is not None:
                squeezed %= 2**32  # as wide as the kernel's counter
            steal = self.steal_ns.get(cpu, 0) - earlier.steal_ns.get(cpu, 0)
            yield _cpu_share(cpu, not offline, now, then, squeezed, steal, self.decoder.toll)

    def _charges(self, earlier: Reading) -> Iterator[TaskCharges]:
        return task_charges(self.decoder, self.tasks, earlier.tasks, self.cpus, earlier.cpus)

    def _cgroups(self, earlier: Reading) -> dict[int, Charges]:
        grown = (
            (cgroup_id, now - earlier.cgroups.get(cgroup_id, NOTHING))
            for cgroup_id, now in self.cgroups.items()
        )
        return {cgroup_id: charges for cgroup_id, charges in grown if any(charges.values)}


@dataclass(frozen=True, slots=True)
class Interval:
    """The ledger of one interval: who had each CPU, and what was taken from whom."""

    start_ns: int
    """CLOCK_MONOTONIC."""
    wall_ns: int
    cpus: tuple[CpuShare, ...]
    tasks: Sequence[TaskShare]
    """Every task that ran or waited, in no order; each row is made when it is looked at."""
    charges: Sequence[TaskCharges]
    """The same tasks in the same order, as vectors: to compare, sort and add up many."""
    irqs: tuple[IrqShare, ...]
    """Interrupts by line and CPU, in no order; those of a CPU add up to its `hardirq_ns`."""
    cgroups: Mapping[int, Charges]
    """What the tasks of each cgroup were charged, by its id; empty unless asked for.

    Network kernel threads are not in it. Waits are booked as they end. Under id 0 is what belongs
    to cgroups for which the map had no room.
    """
    events: Events
    own_cost: OwnCost
    histograms: Mapping[str, tuple[int, ...]]
    """Run times summed over CPUs: slot i counts [2^i, 2^(i+1)) ns; empty unless asked for."""
    toll: Toll | None
    """The calibration that `toll_ns` was charged by; None if this host has none."""
    accounting: Accounting
    """How the kernel bills, on which the difference between `billed_ns` and `oncpu_ns` depends."""

    def task(self, pid: int) -> TaskShare:
        """The row of one task.

        :raises NettaxError: it has none: it neither ran nor waited for a CPU
        """
        for i, task in enumerate(self.charges):
            if task.pid == pid:
                return self.tasks[i]
        raise NettaxError(
            f"process {pid} never ran for {self.wall_ns / 1e9:.2f} s: something else had its CPU.\n"
            "Try again when this host is quieter"
        )


def _minus(now: int | None, then: int | None) -> int | None:
    return None if now is None or then is None else now - then


def _named(names: tuple[str, ...], now: tuple[int, ...], then: tuple[int, ...]) -> dict[str, int]:
    return {name: a - b for name, a, b in zip(names, now, then, strict=True)}


def _cpu_share(
    cpu: int, online: bool, now: Any, then: Any, squeezed: int | None, steal: int, toll: Toll | None
) -> CpuShare:
    stolen = {
        "hardirq": now.stolen_hardirq_ns - then.stolen_hardirq_ns,
        **_named(VECTORS, now.stolen_softirq_ns, then.stolen_softirq_ns),
    }
    kthread = _named(KTHREADS, now.kthread_ns, then.kthread_ns)
    wall = now.now_ns - then.now_ns
    idle = now.idle_ns - then.idle_ns
    interrupted = now.idle_interrupted_ns - then.idle_interrupted_ns
    own = now.own_ns - then.own_ns
    booked = idle + interrupted + own + sum(stolen.values()) + sum(kthread.values())
    interrupts = now.interrupts - then.interrupts
    return CpuShare(
        cpu=cpu,
        online=online,
        wall_ns=wall,
        idle_ns=idle,
        idle_interrupted_ns=interrupted,
        own_ns=own,
        stolen_ns=stolen,
        kthread_ns=kthread,
        residual_ns=wall - booked,
        unkept_ns=now.unkept_ns - then.unkept_ns,
        hardirq_ns=now.hardirq_ns - then.hardirq_ns,
        softirq_ns=_named(VECTORS, now.softirq_ns, then.softirq_ns),
        softirq_count=_named(VECTORS, now.softirq_count, then.softirq_count),
        hardirq_count=interrupts,
        ipi_count=now.ipis - then.ipis,
        polls=now.polls - then.polls,
        packets=now.packets - then.packets,
        softirq_packets=now.softirq_packets - then.softirq_packets,
        squeezed=squeezed,
        switches=now.switches - then.switches,
        steal_ns=steal,
        toll_ns=toll.charge(interrupts, wall) if toll else None,
    )


def _histograms(now: Mapping[int, Any], then: Mapping[int, Any]) -> dict[str, tuple[int, ...]]:
    if not now:
        return {}
    slots = len(next(iter(now.values())).hardirq)
    total: dict[str, list[int]] = {}
    for cpu, later in now.items():
        for name, counts in _slots(later, slots).items():
            before = _slots(then[cpu], slots)[name]
            row = total.setdefault(name, [0] * slots)
            for i, (a, b) in enumerate(zip(counts, before, strict=True)):
                row[i] += a - b
    return {name: tuple(row) for name, row in total.items() if any(row)}


def _slots(histograms: Any, slots: int) -> dict[str, tuple[int, ...]]:
    softirqs = histograms.softirq
    vectors = {name: softirqs[i * slots :][:slots] for i, name in enumerate(VECTORS)}
    return {"hardirq": histograms.hardirq, **vectors, "poll": histograms.poll}
