"""What a soak found: text for people, and a document `nettax.soak-report/1`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from nettax.experiment.slope import Slope
from nettax.experiment.soak_findings import Findings, Growth
from nettax.experiment.soak_journal import Record
from nettax.report.table import count, safe, table

__all__ = ["document", "text"]

SCHEMA = "nettax.soak-report/1"
SLOWER = 1.5
"""Times the first third's p99: less is what a shared host does by itself."""


def document(record: Record, found: Findings) -> dict[str, Any]:
    """The findings, with the plan and the host."""
    latency = {
        f"p{100 * share:g}_ns": found.latency.quantile(share) for share in (0.5, 0.9, 0.99, 0.999)
    }
    return {
        "schema": SCHEMA,
        "plan": asdict(record.plan),
        **record.about,
        "ended": record.ended,
        "verdict": verdict(found),
        **asdict(found),
        "latency": {**latency, "total": found.latency.total},
    }


def text(record: Record, found: Findings) -> str:
    """The findings: load, growth, errors, and what to make of them."""
    plan = record.plan
    parts = f" in {found.segments} parts" if found.segments > 1 else ""
    lines = [
        f"{safe(plan.target)} {plan.protocol}: {_time(found.elapsed_s)} of "
        f"{_time(plan.duration_s)}{parts}, {_ended(record)}",
        f"requests: {count(found.due)} due, {count(found.answered)} answered, "
        f"{count(found.unanswered)} unanswered; {_statuses(found.statuses)}"
        f"connections: {count(found.opened)}",
        f"rude clients: {_counts(found.rude)}",
        "",
        _growth_table(found),
        "",
        _latency(found),
        f"TIME-WAIT: {found.most_time_wait} at most, {found.last_time_wait} at the end; "
        f"threads: {found.most_threads} at most; server: {_cpu(found)}",
        "",
        _errors(found),
        f"(the server's by {safe(record.about.get('errors_by', 'unknown means'))})",
        "",
        *verdict(found),
    ]
    return "\n".join(lines)


def verdict(found: Findings) -> list[str]:
    """What to make of it, a sentence each."""
    said = []
    for name, unit, growth in (
        ("memory", "bytes", found.memory),
        ("descriptors", "", found.fds),
    ):
        if growth is None:
            said.append(f"{name}: not known; the server's /proc may not be looked at")
        elif growth.per_hour is None:
            said.append(f"{name}: too few samples to tell")
        elif growth.grows:
            each = f"{_interval(growth.per_connection)} {unit}".rstrip()
            said.append(f"{name}: grows, by {each} a connection: a leak, unless it ends")
        else:
            said.append(f"{name}: flat")
    if found.drift and found.drift.last_p99_ns > SLOWER * found.drift.first_p99_ns:
        said.append("latency: the last third is slower than the first")
    # What the kernel saw and what was printed are the same errors, told twice.
    broken = max((n for key, n in found.server_errors.items() if "EPIPE" in key), default=0)
    if broken:
        said.append(f"EPIPE: {count(broken)} times the server wrote to a peer that had left")
    return said


def _growth_table(found: Findings) -> str:
    rows = [
        _growth_row("memory, KiB", found.memory, 1024),
        _growth_row("descriptors", found.fds, 1),
    ]
    head = ("of the server", "first", "last", "most", "per hour", "per connection")
    return table(head, rows)


def _growth_row(name: str, growth: Growth | None, unit: int) -> tuple[str, ...]:
    if growth is None:
        return (name, *"?????")
    sizes = (f"{size / unit:.0f}" for size in (growth.first, growth.last, growth.most))
    connection = _interval(growth.per_connection)
    return (name, *sizes, _interval(growth.per_hour, unit), f"{connection} B" if unit > 1 else "·")


def _interval(slope: Slope | None, unit: int = 1) -> str:
    if slope is None:
        return "?"
    value, low, high = (x / unit for x in (slope.value, slope.low, slope.high))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def _latency(found: Findings) -> str:
    if found.drift is None:
        return "latency: too few answers"
    drift = found.drift
    return (
        f"latency, from when due: p50 {_us(drift.first_p50_ns)} → {_us(drift.last_p50_ns)}, "
        f"p99 {_us(drift.first_p99_ns)} → {_us(drift.last_p99_ns)} (first third → last)"
    )


def _us(ns: int) -> str:
    return f"{ns / 1000:.0f} µs" if ns < 10_000_000 else f"{ns / 1e6:.0f} ms"


def _cpu(found: Findings) -> str:
    share = 100 * found.server_cpu_ns / 1e9 / found.elapsed_s if found.elapsed_s else 0.0
    return f"{share:.1f} % of one CPU"


def _errors(found: Findings) -> str:
    rows = [
        (side, safe(what), count(n))
        for side, errors in (
            ("server", found.server_errors),
            ("client", found.client_errors),
            ("rude client", found.rude_errors),
        )
        for what, n in errors.items()
    ]
    return table(("side", "error", "times"), rows, left=2) if rows else "errors: none, on any side"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count(n)} {name}" for name, n in sorted(counts.items())) or "none"


def _statuses(statuses: Mapping[str, int]) -> str:
    return f"{_counts(statuses)}; " if statuses else ""


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _ended(record: Record) -> str:
    if record.ended is None:
        return "killed, or still running"
    return {"done": "to its end", "stopped": "stopped before its end"}.get(
        record.ended, safe(record.ended)
    )
