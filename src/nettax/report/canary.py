"""What a canary saw, as text and JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from nettax.canary import CanaryInterval, openssl
from nettax.canary.openssl import OpensslSpeed
from nettax.experiment.calibration import Calibration
from nettax.experiment.estimate import Estimate
from nettax.experiment.watch import Watch
from nettax.report.interval import time_text
from nettax.report.table import count, table

__all__ = [
    "calibration_text",
    "document",
    "openssl_document",
    "openssl_text",
    "speed",
    "text",
]

SCHEMA = "nettax.canary/1"
NO_REFERENCE = "no reference: run it with --idle when the CPU is quiet"


def speed(canary: CanaryInterval) -> float:
    """What a loss is told of: steps per second (chain), the share of time without gaps (gap)."""
    return 1 - canary.gap_share if canary.engine == "gap" else canary.rate


def _loss(now: float, idle: float | None) -> float | None:
    return None if not idle else 1 - now / idle


def document(seen: Watch, idle: float | None) -> dict[str, Any]:
    """A watch as the document `nettax.canary/1`; `idle` is the kept reference."""
    canary = seen.canary
    histogram = [asdict(bucket) for bucket in canary.gap_histogram]
    return {
        "schema": SCHEMA,
        "engine": canary.engine,
        "cpu": seen.cpu.cpu,
        "speed": speed(canary),
        "idle_speed": idle,
        "loss": _loss(speed(canary), idle),
        "canary": {**asdict(canary), "gap_histogram": histogram},
        "task": asdict(seen.task),
        "cpu_share": asdict(seen.cpu),
    }


def text(seen: Watch, idle: float | None) -> str:
    """A watch for people: one line for each of the three witnesses, and the gaps."""
    canary, task, wall = seen.canary, seen.task, seen.cpu.wall_ns

    def share(ns: float) -> str:
        return f"{100 * ns / wall:.1f} %"

    lost = _loss(speed(canary), idle)
    if lost is not None:
        clock = f"lost {100 * lost:.1f} % of its undisturbed speed"
    else:
        clock = NO_REFERENCE
    if canary.engine == "gap":
        clock += f"; {100 * canary.gap_share:.1f} % of the time in {count(canary.gaps)} gaps"
    toll = f", ≈toll {share(task.toll_ns.estimate)}" if task.toll_ns else ""
    rows = [
        ("its own clock", clock),
        (
            "the kernel",
            f"billed it {share(task.billed_ns)} "
            f"(utime {share(canary.user_ns)}, stime {share(canary.system_ns)})",
        ),
        (
            "the ledger",
            f"own {share(task.own_ns)}, stolen {share(sum(task.stolen_ns.values()))}, "
            f"displaced {share(sum(task.displaced_ns.values()))}, "
            f"waited for others {share(task.wait_ns - sum(task.displaced_ns.values()))}{toll}",
        ),
    ]
    head = f"{canary.engine} canary on CPU {seen.cpu.cpu} for {wall / 1e9:.3f} s"
    parts = [head, "\n".join(f"  {name:<14} {what}" for name, what in rows)]
    if canary.engine == "gap":
        parts.append(_gaps(canary))
    return "\n\n".join(parts)


def _gaps(canary: CanaryInterval, width: int = 32) -> str:
    """The gaps by length, an octave a line: how many, and how much of their time."""
    octaves: dict[int, tuple[int, float]] = {}
    for bucket in canary.gap_histogram:
        octave = bucket.low_ns.bit_length() - 1
        number, ns = octaves.get(octave, (0, 0.0))
        middle = (bucket.low_ns + bucket.high_ns) / 2
        octaves[octave] = number + bucket.count, ns + bucket.count * middle
    total = sum(ns for _, ns in octaves.values()) or 1
    rows = [
        [
            f"{time_text(1 << octave)} …",
            count(number),
            f"{100 * ns / total:.1f}",
            "█" * round(width * ns / total),
        ]
        for octave, (number, ns) in sorted(octaves.items())
    ]
    return table(["gap", "count", "% of gap time", ""], rows, left=0)


def calibration_text(found: Calibration) -> str:
    """A calibration for people."""
    rows = [
        [count(rate), f"{toll.median / 1e3:.2f}", _interval(toll)] for rate, toll in found.tolls
    ]
    return (
        f"The toll of an interrupt, on CPU {found.victim_cpu} by IPIs from CPU "
        f"{found.sender_cpu}, µs:\n\n"
        + table(["irq/s", "toll", "interval"], rows)
        + "\n\nAt the highest rate: "
        f"{found.traced.median / 1e3:.2f} µs between the tracepoints {_interval(found.traced)};\n"
        f"{found.bare.median / 1e3:.2f} µs in all without the ledger {_interval(found.bare)}, "
        f"of which it adds {found.own.median / 1e3:+.2f} {_interval(found.own)}."
    )


def _interval(estimate: Estimate) -> str:
    return f"[{estimate.low / 1e3:.2f}, {estimate.high / 1e3:.2f}]"


def openssl_document(now: OpensslSpeed, idle: OpensslSpeed | None) -> dict[str, Any]:
    """A run of openssl speed, and the reference, as one document."""
    return {
        "schema": "nettax.openssl/1",
        "now": asdict(now),
        "idle": asdict(idle) if idle else None,
        "loss": {row.now.block_bytes: row.value for row in openssl.compare(idle, now)}
        if idle
        else None,
    }


def openssl_text(cpu: int, now: OpensslSpeed, idle: OpensslSpeed | None) -> str:
    """A run of openssl speed for people, beside the reference."""
    if idle is None:
        head = ["bytes", "operations", "in s"]
        rows = [[str(b.block_bytes), f"{b.operations:,}", f"{b.seconds:.2f}"] for b in now.blocks]
    else:
        head = ["bytes", "idle op/s", "now op/s", "in s", "of s", "lost %"]
        rows = [
            [
                str(row.now.block_bytes),
                f"{row.idle.rate:,.0f}",
                f"{row.now.rate:,.0f}",
                f"{row.now.seconds:.2f}",
                str(row.now.window_s),
                f"{100 * row.value:.1f}",
            ]
            for row in openssl.compare(idle, now)
        ]
    user, system = (100 * ns / now.elapsed_ns for ns in (now.user_ns, now.system_ns))
    billed = (
        f"times(): utime {user:.1f} %, stime {system:.1f} % of {now.elapsed_ns / 1e9:.1f} s: "
        "the bill of a loop without system calls"
    )
    return "\n\n".join(
        (
            f"openssl speed on CPU {cpu}",
            table(head, rows, left=0),
            billed if idle else f"{billed}\n{NO_REFERENCE}",
        )
    )
