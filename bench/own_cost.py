"""What the attached ledger costs a victim and the packets, by rate; and each of its programs.

The claim under test: at most 3 % of either. A ratio's interval has to be narrower than that to
say anything, hence the many short windows. Flows come in bursts, as a NIC that coalesces delivers
them: with an interrupt for each packet this testbed ends near 225 kpps, by 4 near 550, by 8 near
900.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from bench.harness import Arm, Traffic, compare, scene
from bench.text import points, ratio
from bench.toggled import ToggledLedger
from nettax.canary.canary import Engine
from nettax.experiment.estimate import Estimate, median
from nettax.experiment.schedule import Condition
from nettax.kernel.bpf import ProgramStats
from nettax.report.table import count, table

__all__ = ["OwnCost", "own_cost", "text"]

CLAIM = 0.03
WINDOW_S = 0.03
ROUNDS = 300
CELLS: tuple[tuple[Traffic, Engine], ...] = (
    (Traffic(50_000, burst=1), "chain"),
    (Traffic(50_000, burst=1), "gap"),
    (Traffic(200_000, burst=4), "chain"),
    (Traffic(200_000, burst=4), "gap"),
    (Traffic(500_000, burst=8), "chain"),
    (Traffic(500_000, burst=8), "gap"),
    (Traffic(None, burst=1), "chain"),
    (Traffic(None, burst=8), "chain"),
)
Stats = Mapping[str, ProgramStats]

TIMED = Traffic(200_000, burst=4)
TIMED_WINDOWS, TIMED_WINDOW_S = 20, 0.1


@dataclass(frozen=True, slots=True)
class Cell:
    """One flow and one victim."""

    traffic: Traffic
    engine: Engine
    nothing: Arm
    nettax: Arm


@dataclass(frozen=True, slots=True)
class ProgramCost:
    """One program, as the kernel times it.

    An empty program shows some 80 ns here: the kernel's own reading of the clock is in it.
    """

    name: str
    ns_per_run: Estimate
    runs_per_s: float
    share: float
    """Of one CPU."""


@dataclass(frozen=True, slots=True)
class OwnCost:
    """The result."""

    window_s: float
    cells: tuple[Cell, ...]
    timed: Traffic
    programs: tuple[ProgramCost, ...]
    """By falling share."""


def own_cost(repeats: int = ROUNDS, progress: Callable[[str], None] = lambda _: None) -> OwnCost:
    """Measure all cells, then time the programs apart, as timing costs too."""
    cells = []
    for traffic, engine in CELLS:
        progress(f"own cost: {traffic}, {engine}")
        cells.append(_cell(traffic, engine, repeats))
    progress("own cost: programs")
    return OwnCost(WINDOW_S, tuple(cells), TIMED, _programs())


def _cell(traffic: Traffic, engine: Engine, rounds: int) -> Cell:
    with scene(traffic, engine, WINDOW_S) as stage, ToggledLedger() as ledger:
        arms: dict[str, Condition] = {"nothing": nullcontext, "nettax": ledger.attached}
        by_name = {arm.name: arm for arm in compare(stage, arms, rounds)}
    return Cell(traffic, engine, by_name["nothing"], by_name["nettax"])


def _programs() -> tuple[ProgramCost, ...]:
    windows = []
    with (
        scene(TIMED, "chain", TIMED_WINDOW_S) as stage,
        ToggledLedger(time_programs=True) as ledger,
        ledger.attached(),
    ):
        for _ in range(TIMED_WINDOWS):
            before, start = ledger.stats(), time.monotonic()
            stage.measure()
            after, end = ledger.stats(), time.monotonic()
            windows.append((before, after, end - start))
    wall_s = sum(seconds for _, _, seconds in windows)
    found = (_program(name, windows, wall_s) for name in windows[0][0])
    return tuple(sorted(filter(None, found), key=lambda program: -program.share))


def _program(
    name: str, windows: Sequence[tuple[Stats, Stats, float]], wall_s: float
) -> ProgramCost | None:
    """One program over all windows; None if it never ran."""
    grown = [
        (after[name].run_ns - before[name].run_ns, after[name].runs - before[name].runs)
        for before, after, _ in windows
    ]
    each = [ns / runs for ns, runs in grown if runs]
    if not each:
        return None
    ns, runs = (sum(column) for column in zip(*grown, strict=True))
    return ProgramCost(name, median(each), runs / wall_s, ns / 1e9 / wall_s)


def text(result: OwnCost) -> str:
    """Two tables."""
    rows = [
        [
            str(cell.traffic),
            cell.engine,
            arm.name,
            ratio(arm.victim),
            points(arm.taken),
            ratio(arm.pps),
            _verdict(arm),
        ]
        for cell in result.cells
        for arm in (cell.nothing, cell.nettax)
    ]
    head = ["flow", "victim", "attached", "victim's speed", "% of CPU", "packets/s", "≤ 3 %"]
    programs = [
        [p.name, ratio(p.ns_per_run, 0), count(p.runs_per_s), f"{100 * p.share:.2f}"]
        for p in result.programs
    ]
    n = result.cells[0].nettax.victim.n
    return "\n\n".join(
        (
            f"Own cost: attached over detached, median of {n} windows of "
            f"{1000 * result.window_s:.0f} ms,\neach between two with nothing [95 % interval]:",
            table(head, rows, left=3),
            f"The programs, timed by the kernel in {result.timed} "
            "(its own clock adds to each run):",
            table(["program", "ns/run", "runs/s", "% of CPU"], programs),
        )
    )


def _verdict(arm: Arm) -> str:
    """Whether the intervals show the claim: that both ratios are above 1 − CLAIM, or not."""
    low = min(arm.victim.low, arm.pps.low)
    high = min(arm.victim.high, arm.pps.high)
    if low >= 1 - CLAIM:
        return "yes"
    return "no" if high < 1 - CLAIM else "open"
