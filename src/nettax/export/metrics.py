"""A snapshot as metrics: names, units and help by Prometheus' rules.

https://prometheus.io/docs/practices/naming/. Sums over the labels of one metric make sense. What
can fall is a gauge: the residual is signed, and the toll is a cost per interrupt that changes with
their rate (multiply it by the rate of interrupts), never a sum of estimates.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from nettax.export.exposition import Family, Sample, label
from nettax.export.snapshot import Snapshot
from nettax.ledger import Charges, CpuShare, TaskCharges, TollPoint
from nettax.ledger.charges import BY_TRIGGER, DISPLACED
from nettax.ledger.rows import KTHREADS, TRIGGERS, VECTORS
from nettax.version import __version__

__all__ = ["families"]

S = 1e9  # ns; divided by, times have nine digits, multiplied they have noise
# Bounds of the buckets: the slots of the kernel's histograms from 2^9 ns, half a microsecond, to
# 2^27, an eighth of a second. Slot i counts runs of [2^i, 2^(i+1)) ns; a bucket includes its upper
# bound, so that a run of just 2^(i+1) ns is one bucket too high.
BOUNDS = range(9, 28)
NET_RX, NET_TX = VECTORS.index("net_rx"), VECTORS.index("net_tx")

Group = tuple[str, Charges]
"""The labels of a workload or task, and what it was charged."""


def families(snapshot: Snapshot) -> Iterator[Family]:
    """All metrics of a snapshot."""
    yield from _information(snapshot)
    yield from _cpus(snapshot)
    yield from _toll(snapshot.toll)
    workloads = [
        (f"{label('kind', kind)},{label('name', name)}", charges)
        for (kind, name), charges in snapshot.workloads.items()
    ]
    yield from _charges("workload", "Tasks of a container, unit or cgroup", workloads)
    yield _gauge("workloads", "Workloads with series of their own.", len(workloads) - 1)
    yield _gauge(
        "workloads_folded",
        "Workloads that share the series of kind other, for want of one of their own.",
        snapshot.folded,
    )
    if snapshot.tasks:
        yield from _charges("task", "One task", list(map(_labelled, snapshot.tasks)))
    yield from _histograms(snapshot)
    yield from _events(snapshot)


def _labelled(task: TaskCharges) -> Group:
    return f'pid="{task.pid}",{label("comm", task.comm)}', task.charges


def _information(snapshot: Snapshot) -> Iterator[Family]:
    build = ",".join(
        (
            label("version", __version__),
            label("kernel", os.uname().release),
            label("pythonversion", platform.python_version()),
        )
    )
    yield Family("nettax_build", "info", "What is running, and where.", [("_info", build, 1)])
    apart = {True: "no", False: "yes", None: "unknown"}[snapshot.accounting.interrupts_apart]
    mode = f'{label("mode", snapshot.accounting.mode)},interrupts_billed_to_tasks="{apart}"'
    yield Family(
        "nettax_accounting",
        "info",
        "How this kernel bills CPU time, and whether tasks pay for interrupts.",
        [("_info", mode, 1)],
    )


def _counter(name: str, text: str, samples: Iterable[tuple[str, float]]) -> Family:
    """A counter, by labels and values."""
    totals = [("_total", labels, value) for labels, value in samples]
    return Family(f"nettax_{name}", "counter", text, totals)


def _gauge(name: str, text: str, value: float) -> Family:
    return Family(f"nettax_{name}", "gauge", text, [("", "", value)])


def _cpus(snapshot: Snapshot) -> Iterator[Family]:
    cpus = snapshot.cpus

    def each(get: Callable[[CpuShare], float]) -> list[tuple[str, float]]:
        return [(f'cpu="{cpu.cpu}"', get(cpu)) for cpu in cpus]

    def seconds(get: Callable[[CpuShare], int]) -> list[tuple[str, float]]:
        return [(f'cpu="{cpu.cpu}"', get(cpu) / S) for cpu in cpus]

    def by(
        key: str, get: Callable[[CpuShare], Mapping[str, int]], unit: float = S
    ) -> list[tuple[str, float]]:
        return [
            (f'cpu="{cpu.cpu}",{key}="{name}"', value / unit if unit != 1 else value)
            for cpu in cpus
            for name, value in get(cpu).items()
        ]

    yield _counter(
        "cpu_seconds",
        "Where each CPU's time went; with the residual, all accounts add up to its wall time.",
        by("account", _accounts),
    )
    yield _counter(
        "cpu_wall_seconds",
        "Time accounted for on each CPU.",
        seconds(lambda cpu: cpu.wall_ns),
    )
    yield _signed("cpu_residual_seconds", "Wall time less all accounts; signed.", cpus)
    yield _counter(
        "cpu_stolen_seconds",
        "The account stolen, by what took the time: hard IRQs, from network kernel threads too, "
        "or a softirq vector, from tasks; also what a task's own sending ran.",
        by("source", lambda cpu: cpu.stolen_ns),
    )
    yield _counter(
        "cpu_hardirq_seconds",
        "Time in hard IRQs, whatever they interrupted.",
        seconds(lambda cpu: cpu.hardirq_ns),
    )
    yield _counter(
        "cpu_hardirqs", "Hard IRQs of every kind, IPIs included.", each(lambda c: c.hardirq_count)
    )
    yield _counter("cpu_ipis", "Interrupts from other CPUs.", each(lambda cpu: cpu.ipi_count))
    irqs = [
        (f'cpu="{irq.cpu}",irq="{irq.irq}",{label("name", irq.name)}', irq) for irq in snapshot.irqs
    ]
    yield _counter(
        "irqs",
        "Hard IRQs by line of /proc/interrupts: of a NIC, by queue.",
        [(labels, irq.count) for labels, irq in irqs],
    )
    yield _counter(
        "irq_seconds",
        "Time in the handlers of these.",
        [(labels, irq.time_ns / S) for labels, irq in irqs],
    )
    yield _counter(
        "cpu_softirq_seconds",
        "Time in softirqs less the hard IRQs inside, whatever they interrupted.",
        by("vector", lambda cpu: cpu.softirq_ns),
    )
    yield _counter(
        "cpu_softirqs", "Softirqs run.", by("vector", lambda cpu: cpu.softirq_count, unit=1)
    )
    yield _counter("cpu_napi_polls", "NAPI polls.", each(lambda cpu: cpu.polls))
    yield _counter(
        "cpu_napi_packets",
        "Work that NAPI polls reported: received packets, and what else a driver counts.",
        each(lambda cpu: cpu.packets),
    )
    yield _counter(
        "cpu_napi_softirq_packets",
        "Those of nettax_cpu_napi_packets_total that were polled in NET_RX softirqs.",
        each(lambda cpu: cpu.softirq_packets),
    )
    yield _counter(
        "cpu_squeezes",
        "Times that NET_RX stopped with work left, its budget or time used up.",
        [(f'cpu="{cpu}"', count) for cpu, count in snapshot.squeezes.items()],
    )
    yield _counter("cpu_context_switches", "Task switches.", each(lambda cpu: cpu.switches))
    yield _counter(
        "cpu_hypervisor_steal_seconds",
        "Time that the hypervisor gave to others (/proc/stat); part of the other accounts.",
        seconds(lambda cpu: cpu.steal_ns),
    )
    yield Family(
        "nettax_cpu_online",
        "gauge",
        "1 while the CPU is online; the accounts of one that is not stand still.",
        [("", f'cpu="{cpu.cpu}"', int(cpu.online)) for cpu in cpus],
    )
    yield _gauge(
        "cpus_unaccounted",
        "Online CPUs without accounts: not among those chosen, or online only since the start.",
        snapshot.unaccounted,
    )


def _accounts(cpu: CpuShare) -> dict[str, int]:
    return {
        "idle": cpu.idle_ns,
        "idle_interrupted": cpu.idle_interrupted_ns,
        "own": cpu.own_ns,
        "stolen": sum(cpu.stolen_ns.values()),
        **cpu.kthread_ns,
    }


def _signed(name: str, text: str, cpus: Sequence[CpuShare]) -> Family:
    samples: list[Sample] = [("", f'cpu="{cpu.cpu}"', cpu.residual_ns / S) for cpu in cpus]
    return Family(f"nettax_{name}", "gauge", text, samples)


def _toll(points: Mapping[int, TollPoint]) -> Iterator[Family]:
    """The calibrated cost of one interrupt; nothing where none is kept."""
    bounds: Sequence[tuple[str, str, Callable[[TollPoint], float]]] = (
        ("", "calibrated", lambda point: point.ns),
        ("_low", "lower bound", lambda point: point.low),
        ("_high", "upper bound", lambda point: point.high),
    )
    for suffix, what, get in bounds if points else ():
        yield Family(
            f"nettax_cpu_interrupt_toll{suffix}_seconds",
            "gauge",
            f"Cost of one interrupt outside the tracepoints, at this CPU's rate of them; {what}.",
            [("", f'cpu="{cpu}"', get(point) / S) for cpu, point in points.items()],
        )


def _charges(prefix: str, whose: str, groups: Sequence[Group]) -> Iterator[Family]:
    """What workloads or tasks were charged."""

    def counter(name: str, text: str, get: Callable[[Charges], float]) -> Family:
        samples = [("_total", labels, get(charges)) for labels, charges in groups]
        return Family(f"nettax_{prefix}_{name}", "counter", f"{whose}: {text}", samples)

    def by(
        name: str,
        text: str,
        key: str,
        parts: Sequence[str],
        get: Callable[[Charges], Sequence[int]],
    ) -> Family:
        ends = [f',{key}="{part}"' for part in parts]
        samples = [
            ("_total", labels + end, ns / S)
            for labels, charges in groups
            for end, ns in zip(ends, get(charges), strict=True)
        ]
        return Family(f"nettax_{prefix}_{name}", "counter", f"{whose}: {text}", samples)

    yield counter(
        "billed_seconds", "what the kernel charged, as top shows it.", lambda c: c.billed_ns / S
    )
    yield counter(
        "own_seconds", "time on a CPU, less the interrupts inside.", lambda c: c.own_ns / S
    )
    yield by(
        "stolen_seconds",
        "time that interrupts took while it was on a CPU; other is all but network softirqs.",
        "source",
        ("hardirq", "net_rx", "net_tx", "other"),
        _sources,
    )
    yield by(
        "stolen_softirq_seconds",
        "the softirqs among it, by what ran them; bh_enable is mostly its own sending.",
        "trigger",
        TRIGGERS,
        lambda charges: charges.values[BY_TRIGGER],
    )
    yield by(
        "displaced_seconds",
        "time it waited for a CPU on which a network kernel thread ran; who waited, in full.",
        "kthread",
        KTHREADS,
        lambda charges: charges.values[DISPLACED],
    )
    yield counter(
        "waiting_seconds", "time it waited for a CPU, whatever ran there.", lambda c: c.wait_ns / S
    )
    yield counter("interrupts", "hard IRQs that interrupted it.", lambda c: c.interrupts)
    yield counter("context_switches", "times it left a CPU.", lambda c: c.switches)


def _sources(charges: Charges) -> tuple[int, int, int, int]:
    softirqs = charges.softirq_ns
    received, sent = softirqs[NET_RX], softirqs[NET_TX]
    return charges.hardirq_ns, received, sent, sum(softirqs) - received - sent


def _histograms(snapshot: Snapshot) -> Iterator[Family]:
    slots = dict(snapshot.histograms)
    if not slots:
        return
    hardirq_ns = sum(cpu.hardirq_ns for cpu in snapshot.cpus)
    yield Family(
        "nettax_hardirq_duration_seconds",
        "histogram",
        "How long hard IRQs ran.",
        _buckets("", slots.pop("hardirq"), hardirq_ns),
    )
    yield Family(
        "nettax_napi_poll_duration_seconds",
        "histogram",
        "How long NAPI polls in softirqs ran.",
        _buckets("", slots.pop("poll"), None),
    )
    samples = []
    for vector, counts in slots.items():
        total = sum(cpu.softirq_ns[vector] for cpu in snapshot.cpus)
        samples += _buckets(f'vector="{vector}"', counts, total)
    yield Family(
        "nettax_softirq_duration_seconds",
        "histogram",
        "How long softirqs ran, less the hard IRQs inside.",
        samples,
    )


def _buckets(labels: str, slots: Sequence[int], total_ns: int | None) -> list[Sample]:
    """Cumulative buckets of a log2 histogram, and where it is known the sum."""
    samples: list[Sample] = []
    start = f"{labels}," if labels else ""
    below = sum(slots[: BOUNDS.start])
    for slot in BOUNDS:
        below += slots[slot]
        samples.append(("_bucket", f'{start}le="{(2 << slot) / S}"', below))
    count = sum(slots)
    samples.append(("_bucket", f'{start}le="+Inf"', count))
    if total_ns is not None:
        samples += [("_count", labels, count), ("_sum", labels, total_ns / S)]
    return samples


def _events(snapshot: Snapshot) -> Iterator[Family]:
    events, cost = snapshot.events, snapshot.own_cost
    for name, text, value in (
        ("lost_events", "Events that the kernel dropped: a program was running.", events.lost),
        ("unmatched_events", "Events that did not fit the state they met.", events.unmatched),
        (
            "inferred_seconds",
            "Time around untraced switches, divided by the scheduler's own record.",
            events.inferred_ns / S,
        ),
        (
            "unkept_seconds",
            "On-CPU time of tasks for which the map of tasks had no room.",
            events.unkept_ns / S,
        ),
    ):
        yield _counter(name, text, [("", value)])
    if cost.bpf_ns is not None and cost.bpf_runs is not None:
        yield _counter("bpf_seconds", "Time inside nettax's programs.", [("", cost.bpf_ns / S)])
        yield _counter("bpf_runs", "Runs of nettax's programs.", [("", cost.bpf_runs)])
