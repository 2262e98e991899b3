"""What a burst showed: text for people, and a document `nettax.burst/1`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from nettax.experiment.burst import BurstRun
from nettax.load.burst import BurstConnection
from nettax.load.histogram import Histogram
from nettax.report.table import count, table

__all__ = ["document", "text"]

SCHEMA = "nettax.burst/1"
SHARES = (0.5, 0.9, 0.99, 1.0)
STEP_NS = 900_000_000
"""A connection that took longer waited for a SYN to be sent again: the first after 1 s."""


def document(run: BurstRun) -> dict[str, Any]:
    """All of it, connection by connection."""
    burst = run.burst
    return {
        "schema": SCHEMA,
        "message_bytes": burst.message_bytes,
        "connect": _quantiles(burst.connect),
        "echo": _quantiles(burst.echo),
        "retried": burst.retried,
        "errors": burst.errors,
        "connect_cpu_ns": burst.connect_cpu_ns,
        "echo_cpu_ns": burst.echo_cpu_ns,
        "echo_wall_ns": burst.echo_wall_ns,
        "counters": run.counters,
        "connections": [asdict(connection) for connection in burst.connections],
    }


def _quantiles(times: Histogram) -> dict[str, int | None]:
    return {f"p{100 * share:g}_ns": times.quantile(share) for share in SHARES}


def text(run: BurstRun) -> str:
    """The two latencies apart, the steps of SYN retries, and the kernel's counts beside them."""
    burst = run.burst
    head = ("latency", "times", "p50", "p90", "p99", "most")
    lines = [
        table(
            head,
            [_row("connect", burst.connect), _row("echo", burst.echo)],
        ),
        "",
        _steps(burst.connections),
    ]
    if burst.errors:
        failed = ", ".join(f"{count(n)} {name}" for name, n in sorted(burst.errors.items()))
        lines.append(f"failed: {failed}")
    kernel = ", ".join(f"{name} +{n}" for name, n in run.counters.items() if n)
    lines.append(f"kernel: {kernel or 'no overflow, drop or retransmission'}")
    lines.append(_say(run))
    return "\n".join(lines)


def _row(name: str, times: Histogram) -> tuple[str, ...]:
    return (name, count(times.total), *(_time(times.quantile(share)) for share in SHARES))


def _time(ns: int | None) -> str:
    if ns is None:
        return "·"
    if ns < 10_000_000:
        return f"{ns / 1000:.0f} µs"
    return f"{ns / 1e6:.0f} ms" if ns < 10_000_000_000 else f"{ns / 1e9:.0f} s"


def _steps(connections: tuple[BurstConnection, ...]) -> str:
    """Connections by how often their SYN was sent: the steps that a mean hides."""
    by_retries: dict[int, list[BurstConnection]] = {}
    for connection in connections:
        if connection.connect_ns is not None:
            by_retries.setdefault(connection.syn_retries, []).append(connection)
    rows = []
    for retries, those in sorted(by_retries.items()):
        times = Histogram.of(c.connect_ns or 0 for c in those)
        starts = [c.start_ns / 1e6 for c in those]
        rows.append(
            (
                str(retries),
                str(len(those)),
                f"{min(starts):.1f}–{max(starts):.1f} ms",
                _time(times.quantile(0)),
                _time(times.quantile(1)),
            )
        )
    return table(("SYN retries", "connections", "started", "least", "most"), rows)


def _say(run: BurstRun) -> str:
    burst = run.burst
    overflows = run.counters.get("TcpExt.ListenOverflows", 0)
    slow = sum((c.connect_ns or 0) > STEP_NS for c in burst.connections)
    if burst.retried or slow:
        why = "the listen queue was full" if overflows else "their SYNs were lost"
        return (
            f"{max(burst.retried, slow)} of {len(burst.connections)} connections waited a second "
            f"or more to connect: {why}"
        )
    return "no connection waited for a SYN to be sent again"
