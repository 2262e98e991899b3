"""How long nettax takes to start, and how large it gets, beside other tools.

Budgets: `--help` in 0.15 s; `stat -d 0.1` in 0.5 s, that tenth included; 60 MB resident.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.text import ratio
from bench.tools import in_private_tracefs
from nettax.experiment.estimate import Estimate, median
from nettax.report.table import table

__all__ = ["StartUp", "start_up", "text"]

RUNS = 20
RUSAGE = Path(__file__).with_name("rusage.py")
NETTAX = (sys.executable, "-m", "nettax")
COUNT_BY_PID = "tracepoint:irq:softirq_entry { @n[pid] = count(); } interval:ms:100 { exit(); }"


@dataclass(frozen=True, slots=True)
class Case:
    """A command, and what of its time it was told to wait."""

    name: str
    command: tuple[str, ...]
    waits_s: float = 0.0
    budget_s: float | None = None
    budget_bytes: int | None = None


CASES = (
    Case("python -c pass", (sys.executable, "-c", "pass")),
    Case("nettax --help", (*NETTAX, "--help"), budget_s=0.15, budget_bytes=60_000_000),
    Case("nettax stat -d 0.1", (*NETTAX, "stat", "-d", "0.1"), 0.1, 0.5, 60_000_000),
    Case(
        "perf stat -a sleep 0.1",
        ("perf", "stat", "-a", "-e", "irq:softirq_entry", "sleep", "0.1"),
        waits_s=0.1,
    ),
    Case("bpftrace, 0.1 s", ("bpftrace", "-e", COUNT_BY_PID), waits_s=0.1),
)


@dataclass(frozen=True, slots=True)
class Start:
    """One command's runs."""

    case: Case
    wall_s: Estimate
    """The wait included."""
    cpu_s: Estimate
    rss_bytes: Estimate


@dataclass(frozen=True, slots=True)
class StartUp:
    """The result."""

    starts: tuple[Start, ...]
    missing: tuple[str, ...]
    phases_ms: dict[str, Estimate]


def start_up(repeats: int = RUNS, progress: Callable[[str], None] = lambda _: None) -> StartUp:
    """Run each command `repeats` times."""
    starts, missing = [], []
    for case in CASES:
        progress(f"start-up: {case.name}")
        if (start := _start(case, repeats)) is None:
            missing.append(case.name)
        else:
            starts.append(start)
    progress("start-up: phases")
    return StartUp(tuple(starts), tuple(missing), _phases(repeats))


def _start(case: Case, runs: int) -> Start | None:
    if shutil.which(case.command[0]) is None:
        return None
    ran = _output(
        in_private_tracefs([sys.executable, "-IS", str(RUSAGE), str(runs), *case.command])
    )
    figures = [tuple(map(float, line.split())) for line in ran.splitlines()]
    wall, cpu, rss = zip(*figures, strict=True)
    return Start(case, median(wall), median(cpu), median(rss))


def _phases(runs: int) -> dict[str, Estimate]:
    lives = [json.loads(_output((sys.executable, "-m", "bench.phases"))) for _ in range(runs)]
    return {phase: median([life[phase] for life in lives]) for phase in lives[0]}


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def text(result: StartUp) -> str:
    """Two tables."""
    rows = [
        [
            start.case.name,
            ratio(start.wall_s),
            f"{start.wall_s.median - start.case.waits_s:.3f}",
            ratio(start.cpu_s),
            f"{start.rss_bytes.median / 1e6:.0f}",
            _verdict(start),
        ]
        for start in result.starts
    ]
    head = ["command", "wall s", "less its wait", "CPU s", "RSS MB", "in budget"]
    phases = [[phase, ratio(ms, 1)] for phase, ms in result.phases_ms.items()]
    total = sum(ms.median for ms in result.phases_ms.values())
    n = result.starts[0].wall_s.n
    return "\n\n".join(
        (
            f"Start-up: median of {n} runs each, files in the cache [95 % interval]:",
            table(head, rows),
            f"Where a ledger's {total:.0f} ms go, in a fresh process, after Python's own start:",
            table(["phase", "ms"], phases),
            *(f"{name}: not installed" for name in result.missing),
        )
    )


def _verdict(start: Start) -> str:
    case = start.case
    if case.budget_s is None or case.budget_bytes is None:
        return "·"
    kept = start.wall_s.high <= case.budget_s and start.rss_bytes.high <= case.budget_bytes
    return "yes" if kept else "no"
