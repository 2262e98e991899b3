"""Keep score beside production work: paced canaries and the ledger, line by line."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

from nettax.canary.paced import Paced, PacedInterval, PacedReading
from nettax.kernel.features import require_host_pids
from nettax.ledger import Ledger, Reading, TaskShare, Toll

__all__ = ["FEWEST", "Line", "Score", "standard_errors"]

FEWEST = 5
"""Bursts; the spread of fewer tells too little of their mean's error."""
_STUDENT = (
    *((4, 2.776), (5, 2.571), (6, 2.447), (7, 2.365), (8, 2.306), (9, 2.262), (10, 2.228)),
    *((12, 2.179), (15, 2.131), (20, 2.086), (30, 2.042), (60, 2.000), (120, 1.980)),
)
"""Student's t: degrees of freedom, and the 97.5th percentile."""


def standard_errors(bursts: int) -> float:
    """How many either side of a mean of so many bursts hold 95 %, if they are normal.

    Between the table's degrees of freedom, those of the lesser: rather too wide.
    """
    return [t for freedom, t in _STUDENT if freedom <= bursts - 1][-1]


@dataclass(frozen=True, slots=True)
class Line:
    """One CPU in one interval, or since the start."""

    canary: PacedInterval
    task: TaskShare | None
    """The ledger's account of the canary; None without the ledger."""
    wall_ns: int
    idle: float | None
    """The share of time in gaps on this CPU when it was quiet, if it was kept."""
    own_cpu_ns: int
    """CPU time of nettax itself, beside the canaries: one process for all CPUs."""

    @property
    def loss(self) -> float | None:
        """What a task that runs here loses beyond what it did when the CPU was quiet.

        None without a burst, or where no quiet reference was kept.
        """
        taken = self.canary.taken
        return None if taken is None or self.idle is None else self._beyond(taken)

    @property
    def margin(self) -> float | None:
        """The error of the share taken, at 95 %; None for fewer than five bursts."""
        error = self.canary.error
        if error is None or self.canary.bursts < FEWEST:
            return None
        return standard_errors(self.canary.bursts) * error

    @property
    def interval(self) -> tuple[float, float] | None:
        """Where the share taken lies, at 95 %; None for fewer than five bursts."""
        taken, margin = self.canary.taken, self.margin
        if taken is None or margin is None:
            return None
        return max(0.0, taken - margin), min(1.0, taken + margin)

    @property
    def booked(self) -> float | None:
        """The ledger's figure: stolen, and the toll if calibrated, of the bursts' time."""
        if self.task is None or not self.canary.bursts:
            return None
        toll = self.task.toll_ns.estimate if self.task.toll_ns else 0
        return (sum(self.task.stolen_ns.values()) + toll) / self.canary.observed_ns

    @property
    def cpu_share(self) -> float:
        """What the canary took of its CPU."""
        return self.canary.cpu_ns / self.wall_ns

    def above(self, threshold: float) -> bool:
        """Whether the loss (without a reference: what was taken) is surely above a threshold.

        Its whole interval is; without one it is not sure.
        """
        return self.interval is not None and self._beyond(self.interval[0]) > threshold

    def _beyond(self, taken: float) -> float:
        return 1 - (1 - taken) / (1 - (self.idle or 0.0))


@dataclass(frozen=True, slots=True)
class _Moment:
    canaries: tuple[PacedReading, ...]
    ledger: Reading | None
    ns: int
    own_cpu_ns: int


class Score:
    """Canaries on some CPUs and the ledger beside them, for as long as it is entered."""

    def __init__(
        self,
        cpus: Sequence[int],
        share: float,
        *,
        ledger: bool = True,
        idle: Callable[[int], float | None] = lambda cpu: None,
    ) -> None:
        """Start nothing yet; `idle` tells which share of a quiet CPU's time is in gaps.

        :raises UsageError: no such share
        """
        self._canaries = Paced(cpus, share)
        self._books = Ledger(cpus=cpus, toll=Toll.load()) if ledger else None
        self._idle = {cpu: idle(cpu) for cpu in cpus}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start both.

        :raises UsageError: no such CPU
        :raises MissingPrivilege: the ledger may not be loaded
        :raises NettaxError: a canary cannot start
        """
        with ExitStack() as stack:
            if self._books:
                require_host_pids()
                stack.enter_context(self._books)
            stack.enter_context(self._canaries)
            self._first = self._last = self._now = self._moment()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def pid(self) -> int:
        """The process of the canaries."""
        return self._canaries.pid

    def read(self) -> tuple[Line, ...]:
        """One line for each CPU, of the time since the last call.

        :raises NettaxError: the canaries have died
        """
        self._last, self._now = self._now, self._moment()
        return self._lines(self._last)

    def total(self) -> tuple[Line, ...]:
        """The same, of all the time up to the last call of `read`."""
        return self._lines(self._first)

    def _moment(self) -> _Moment:
        reading = self._books.read() if self._books else None
        return _Moment(self._canaries.read(), reading, time.monotonic_ns(), time.process_time_ns())

    def _lines(self, then: _Moment) -> tuple[Line, ...]:
        now, booked = self._now, None
        if now.ledger is not None and then.ledger is not None:
            booked = now.ledger - then.ledger
        found = [a - b for a, b in zip(now.canaries, then.canaries, strict=True)]
        return tuple(
            Line(
                canary=canary,
                # Without a burst it may not have run at all, and has no account.
                task=booked.task(canary.tid) if booked and canary.bursts else None,
                wall_ns=now.ns - then.ns,
                idle=self._idle[canary.cpu],
                own_cpu_ns=now.own_cpu_ns - then.own_cpu_ns,
            )
            for canary in found
        )
