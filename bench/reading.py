"""What a reading of the ledger costs, and an interval of two, by the number of tasks.

Tasks that sleep have an account that is read but has not changed; tasks that ran in between have
to be decoded and subtracted too.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.text import ratio
from nettax.experiment.estimate import Estimate, median
from nettax.ledger import Ledger
from nettax.report.table import table

__all__ = ["ReadingCost", "reading_cost", "text"]

NUMBERS = (10, 500, 2000)
RUNS = 30
SLEEPERS = Path(__file__).with_name("sleepers.py")


@dataclass(frozen=True, slots=True)
class ReadingCost:
    """Medians at one number of tasks, in ms of wall time."""

    tasks: int
    active: bool
    """Whether each ran between two readings."""
    rows: int
    """Tasks in the last interval, the host's own included."""
    read_ms: Estimate
    interval_ms: Estimate


def reading_cost(
    repeats: int = RUNS, progress: Callable[[str], None] = lambda _: None
) -> tuple[ReadingCost, ...]:
    """Measure at each number of tasks, with the tasks asleep and with each run once."""
    costs = []
    for number in NUMBERS:
        progress(f"reading: {number} tasks")
        with Ledger() as ledger, _sleepers(number) as wake:
            costs += [
                _cost(ledger, number, repeats, None),
                _cost(ledger, number, repeats, wake),
            ]
    return tuple(costs)


def _cost(
    ledger: Ledger, number: int, runs: int, between: Callable[[], None] | None
) -> ReadingCost:
    reads, intervals = [], []
    last = ledger.read()
    rows = 0
    for _ in range(runs):
        if between:
            between()
        start = time.perf_counter()
        reading = ledger.read()
        middle = time.perf_counter()
        interval = reading - last
        end = time.perf_counter()
        reads.append(1000 * (middle - start))
        intervals.append(1000 * (end - middle))
        rows = len(interval.tasks)
        last = reading
    return ReadingCost(number, between is not None, rows, median(reads), median(intervals))


@contextmanager
def _sleepers(number: int) -> Iterator[Callable[[], None]]:
    """Start so many threads; yields a function that has each of them run once."""
    command = [sys.executable, "-IS", str(SLEEPERS), str(number)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        asking, answers = process.stdin, process.stdout
        assert asking and answers
        answers.readline()

        def wake() -> None:
            asking.write("\n")
            answers.readline()

        yield wake


def text(costs: tuple[ReadingCost, ...]) -> str:
    """A table."""
    rows = [
        [
            str(cost.tasks),
            "ran" if cost.active else "slept",
            ratio(cost.read_ms, 2),
            ratio(cost.interval_ms, 2),
            str(cost.rows),
        ]
        for cost in costs
    ]
    head = ["tasks", "in between", "read() ms", "interval ms", "rows"]
    n = costs[0].read_ms.n
    return "\n\n".join(
        (f"Reading: median of {n} readings [95 % interval]:", table(head, rows, left=2))
    )
