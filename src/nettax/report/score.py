"""What the paced canaries found: lines for people, and documents `nettax.canary-watch/1`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from nettax.experiment.score import SURE, Line
from nettax.report.table import count, table

__all__ = ["document", "lines_text", "total_text"]

SCHEMA = "nettax.canary-watch/1"
HEAD = (
    *("time", "CPU", "taken %", "±", "ledger %", "apart", "lost %"),
    *("late µs", "bursts", "cost %", ""),
)


def document(lines: Sequence[Line], alert: float | None, total: bool = False) -> dict[str, Any]:
    """One interval, or with `total` the whole time, of all CPUs."""
    return {
        "schema": SCHEMA,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "total": total,
        "wall_ns": lines[0].wall_ns,
        "own_cpu_ns": lines[0].own_cpu_ns,
        "cpus": [
            {
                "cpu": line.canary.cpu,
                "taken": line.canary.taken,
                "interval": line.interval,
                "idle": line.idle,
                "loss": line.loss,
                "ledger": line.booked,
                "alert": alert is not None and line.above(alert),
                "canary": asdict(line.canary),
                "task": asdict(line.task) if line.task else None,
            }
            for line in lines
        ],
    }


def lines_text(
    lines: Sequence[Line], alert: float | None, *, header: bool, when: str | None = None
) -> str:
    """A line for each CPU, aligned with those of other times."""
    now = when or time.strftime("%H:%M:%S")
    rows = [_cells(now, line, alert) for line in lines]
    # As wide as any line will be, so that what is printed later stands below it.
    widest = ["00:00:00", "000", "100.0", "50.0", "100.0", "+100.0", "100.0", "99.9k"]
    text = table(HEAD, [[*widest, "999k", "00.00", "!"], *rows], left=1).splitlines()
    return "\n".join([*(text[:1] if header else []), *text[2:]])


def total_text(lines: Sequence[Line], alert: float | None) -> str:
    """The whole time, and what it cost."""
    wall = lines[0].wall_ns
    canaries = sum(line.canary.cpu_ns for line in lines)
    own = lines[0].own_cpu_ns
    return "\n".join(
        (
            lines_text(lines, alert, header=True, when="all"),
            "",
            f"{wall / 1e9:.1f} s; the canaries had {canaries / 1e6:.0f} ms of CPU "
            f"({100 * canaries / wall / len(lines):.2f} % of each), nettax itself "
            f"{own / 1e6:.0f} ms ({100 * own / wall:.2f} %)",
        )
    )


def _cells(now: str, line: Line, alert: float | None) -> list[str]:
    canary, error = line.canary, line.canary.error
    apart = None if line.booked is None or canary.taken is None else canary.taken - line.booked
    return [
        now,
        str(canary.cpu),
        _percent(canary.taken),
        "·" if error is None else f"{100 * SURE * error:.1f}",
        _percent(line.booked),
        "·" if apart is None else f"{100 * apart:+.1f}",
        _percent(line.loss),
        count(canary.late_ns / canary.bursts / 1e3) if canary.bursts else "·",
        count(canary.bursts),
        f"{100 * line.cpu_share:.2f}",
        "!" if alert is not None and line.above(alert) else "",
    ]


def _percent(share: float | None) -> str:
    return "·" if share is None else f"{100 * share:.1f}"
