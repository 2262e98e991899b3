"""What tools that account for interrupts cost a victim and its packets, beside one another.

Each runs as its users run it, with a report a second where it can, in turns and in random order,
each between two windows with nothing. perf records the events that nettax attaches to, and throws
them away: that is its least cost. Claim under test: of the tools that name victims, nettax is the
cheapest.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

from bench.harness import Arm, Traffic, compare, scene
from bench.text import points, ratio
from bench.tools import TOOLS, Tool, tracing
from nettax.experiment.schedule import Condition
from nettax.report.table import table

__all__ = ["Comparison", "compare_tools", "text"]

TRAFFICS = (Traffic(50_000, burst=1), Traffic(200_000, burst=4))
WINDOW_S = 0.3
ROUNDS = 16
NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result."""

    window_s: float
    flows: tuple[tuple[Traffic, tuple[Arm, ...]], ...]
    missing: tuple[Tool, ...]


def compare_tools(
    repeats: int = ROUNDS, progress: Callable[[str], None] = lambda _: None
) -> Comparison:
    """Measure what is installed."""
    installed = [tool for tool in TOOLS if tool.installed]
    flows = []
    for traffic in TRAFFICS:
        progress(f"comparison: {traffic}")
        with scene(traffic, "chain", WINDOW_S) as stage:
            arms: dict[str, Condition] = {NOTHING: nullcontext}
            arms |= {tool.name: _runs(tool) for tool in installed}
            flows.append((traffic, compare(stage, arms, repeats)))
    missing = tuple(tool for tool in TOOLS if not tool.installed)
    return Comparison(WINDOW_S, tuple(flows), missing)


def _runs(tool: Tool) -> Condition:
    return lambda: tracing(tool)


def text(result: Comparison) -> str:
    """A table, and what is missing from it."""
    names_victims = {tool.name: "yes" if tool.victims else "no" for tool in TOOLS}
    rows = [
        [
            str(traffic),
            arm.name,
            names_victims.get(arm.name, "·"),
            ratio(arm.victim),
            points(arm.taken),
            ratio(arm.pps),
        ]
        for traffic, arms in result.flows
        for arm in arms
    ]
    head = ["flow", "running", "names victims", "victim's speed", "% of CPU", "packets/s"]
    n = result.flows[0][1][0].victim.n
    return "\n\n".join(
        (
            f"Comparison: running over nothing, median of {n} windows of "
            f"{1000 * result.window_s:.0f} ms,\neach between two with nothing [95 % interval]:",
            table(head, rows, left=3),
            *(f"{t.name}: not installed (apt install {t.package})" for t in result.missing),
        )
    )
