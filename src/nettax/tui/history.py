"""What the last minutes were like: of all CPUs, and of the tasks that mattered."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping
from typing import Final, NamedTuple

from nettax.ledger import Charges, TaskCharges
from nettax.ledger.charges import DISPLACED
from nettax.tui.accounts import FIGURES
from nettax.tui.moment import Moment

__all__ = ["SHARES", "History", "Past", "shares"]

INTERVALS = 240  # as wide as a terminal is
MOST_TASKS = 100  # of each interval
LEAST = 0.0005  # of one CPU: what a table shows as nothing is not kept
SHARES: Final = ("billed", "own", "taken", "hardirq", "net", "softirq", "displaced")


class Past(NamedTuple):
    """One interval that is over."""

    taken: float
    """Stolen from tasks, and kernel threads' time: a share of all CPUs' time."""
    tasks: Mapping[bytes, tuple[float, ...]]
    """`shares` by the tasks' keys, of those that mattered."""


def shares(charges: Charges, wall_ns: int) -> tuple[float, ...]:
    """The figures named in `SHARES`, as shares of one CPU."""
    return tuple(FIGURES[name](charges) / (wall_ns or 1) for name in SHARES)


def _weight(task: TaskCharges) -> int:
    """How much a task matters; of thousands, so not by names."""
    values = task.charges.values
    return values[0] + sum(values[DISPLACED])  # on-CPU time, of which the stolen is a part


class History:
    """The last intervals, the oldest first.

    Of each interval the 100 tasks with the most time on a CPU and displaced are kept, and of them
    those with enough to show. Of others there is no history, except from when one is watched.
    """

    def __init__(self) -> None:
        self._past: deque[Past] = deque(maxlen=INTERVALS)
        self.watched: bytes | None = None
        """The key of a task that is kept however little it has."""

    def add(self, moment: Moment) -> None:
        """Keep what matters of an interval that is over."""
        wall = moment.wall_ns or 1
        least = LEAST * wall
        # Stolen time is on-CPU time, and displaced time is waiting.
        some = [
            t for t in moment.tasks if t.charges.oncpu_ns >= least or t.charges.wait_ns >= least
        ]
        if len(some) > MOST_TASKS:
            some = heapq.nlargest(MOST_TASKS, some, key=_weight)
        kept = some
        if self.watched:
            kept = [*some, *(task for task in moment.tasks if task.key == self.watched)]
        tasks = {task.key: shares(task.charges, wall) for task in kept}
        time_ns = moment.total.wall_ns
        self._past.append(Past(moment.taken_ns / time_ns if time_ns else 0.0, tasks))

    def taken(self) -> list[float]:
        """What was taken in each interval, as a share of all CPUs' time."""
        return [past.taken for past in self._past]

    def task(self, key: bytes, last: int = INTERVALS) -> list[tuple[float, ...] | None]:
        """The `shares` of a task in the last intervals; None where it had too little to be kept."""
        past = list(self._past)[-last:]
        return [each.tasks.get(key) for each in past]
