"""A gap canary for every day: short bursts on each of some CPUs, for a set share of their time.

A burst lasts a millisecond by the clock and comes at a random time in each period, so the bursts
are a random sample of what happens to a task that runs. The share of their time in gaps estimates
what such a task loses, with the error of a mean of that many samples.

It is an ordinary task (SCHED_OTHER, nice 0), so it finds what the work beside it finds; at a lower
priority it would wait for that work, and tell of nothing else. What it does not see: a task that
sleeps between its bursts gets its CPU sooner than one that never does, so where ksoftirqd competes
with the work beside it, the work loses more than the canary. `late` hints at that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from nettax.canary.canary import GAP_THRESHOLD_NS
from nettax.canary.process import EngineProcess, Running
from nettax.errors import NettaxError, UsageError
from nettax.kernel import proc_pid

__all__ = ["BURST_NS", "Paced", "PacedInterval", "PacedReading"]

BURST_NS = 1_000_000
LIFETIME_S = 2**31 - 1
LEAST_SHARE, MOST_SHARE = 0.001, 0.5


@dataclass(frozen=True, slots=True)
class PacedReading:
    """What the canary on one CPU has done since its start."""

    cpu: int
    tid: int
    stamp_ns: int
    """CLOCK_MONOTONIC, at the end of the last burst."""
    cycles: int
    bursts: int
    taken_cycles: int
    late_ns: int
    square: float
    cpu_ns: int
    """CPU time by /proc/PID/schedstat, at the reading."""

    def __sub__(self, earlier: PacedReading) -> PacedInterval:
        """Return what happened since ``earlier``; no burst may have been in between.

        :raises UsageError: the readings are of two canaries, or in the wrong order.
        """
        if self.tid != earlier.tid:
            raise UsageError(f"tasks {earlier.tid} and {self.tid} are two canaries: no interval.")
        if self.stamp_ns < earlier.stamp_ns:
            raise UsageError("subtract the earlier reading from the later.")
        cycles = self.cycles - earlier.cycles
        ns_per_cycle = (self.stamp_ns - earlier.stamp_ns) / cycles if cycles else 0.0
        return PacedInterval(
            cpu=self.cpu,
            tid=self.tid,
            bursts=self.bursts - earlier.bursts,
            taken_ns=round((self.taken_cycles - earlier.taken_cycles) * ns_per_cycle),
            square=self.square - earlier.square,
            late_ns=self.late_ns - earlier.late_ns,
            cpu_ns=self.cpu_ns - earlier.cpu_ns,
        )


@dataclass(frozen=True, slots=True)
class PacedInterval:
    """What the canary on one CPU found in some bursts."""

    cpu: int
    tid: int
    bursts: int
    taken_ns: int
    """In gaps, of the bursts' time together."""
    square: float
    """The sum of the squares of the bursts' shares in gaps."""
    late_ns: int
    """From when bursts were due to when they ran, together: timer, waking, and waiting."""
    cpu_ns: int

    @property
    def observed_ns(self) -> int:
        return self.bursts * BURST_NS

    @property
    def taken(self) -> float | None:
        """The share of the bursts' time in gaps; None without a burst."""
        return self.taken_ns / self.observed_ns if self.bursts else None

    @property
    def error(self) -> float | None:
        """The standard error of `taken`, from how the bursts differ; None for fewer than two."""
        if self.bursts < 2 or self.taken is None:
            return None
        variance = (self.square / self.bursts - self.taken**2) * self.bursts / (self.bursts - 1)
        return math.sqrt(max(variance, 0.0) / self.bursts)


class Paced(Running):
    """A canary on each of `cpus`, which together are one process named ``nettax-canary``.

    Each has at most `share` of its CPU, from its start to any later time: a burst for which that
    leaves too little is left out. The process ends with the thread that entered this.
    """

    def __init__(self, cpus: Sequence[int], share: float) -> None:
        """Start nothing yet.

        :raises UsageError: no CPU, or no such share.
        """
        if not cpus:
            raise UsageError("name at least one CPU for the canary.")
        if not LEAST_SHARE <= share <= MOST_SHARE:
            raise UsageError(
                f"a canary's share of a CPU is from {LEAST_SHARE:.1%} to {MOST_SHARE:.0%}."
            )
        self._cpus = tuple(cpus)
        self._period_ns = math.ceil(BURST_NS / share)

    def __enter__(self) -> Self:
        """Start the canaries; returns before the first burst.

        :raises UsageError: no such CPU.
        :raises NettaxError: one cannot start.
        """
        self._process = EngineProcess(
            "canary_paced",
            *(len(self._cpus), LIFETIME_S, GAP_THRESHOLD_NS, BURST_NS, self._period_ns),
            cpus=self._cpus,
            paced=self._cpus,
        )
        return self

    def read(self) -> tuple[PacedReading, ...]:
        """Read each CPU's canary.

        :raises NettaxError: the process has died.
        """
        return tuple(self._read(page, cpu) for page, cpu in enumerate(self._cpus))

    def _read(self, page: int, cpu: int) -> PacedReading:
        tid = self._process.tid(page)
        times = proc_pid.schedstat(self.pid, tid=tid)
        sample = self._process.sample(page)
        if times is None:
            raise NettaxError(
                f"/proc does not show the canary (task {tid}): is it mounted with hidepid?"
            )
        return PacedReading(
            cpu=cpu,
            tid=tid,
            stamp_ns=sample.ns,
            cycles=sample.cycles,
            bursts=sample.bursts,
            taken_cycles=sample.taken_cycles,
            late_ns=sample.late_ns,
            square=sample.square,
            cpu_ns=times.cpu_ns,
        )
