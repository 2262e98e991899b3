"""A victim of known speed: a loop of pure computation, on one CPU, whose progress tells the theft.

Whatever stops the canary (a hard IRQ, a softirq, ksoftirqd, a neighbour, the hypervisor) costs it
progress, however the kernel accounts for that. So it is the one measure that no accounting error
can reach. It runs in SCHED_OTHER: a FIFO canary would starve ksoftirqd and so change what it
measures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from nettax.canary.histogram import GapHistogram
from nettax.canary.process import EngineProcess, Running
from nettax.errors import NettaxError, UsageError
from nettax.kernel import proc_pid

Engine = Literal["chain", "gap"]
Kind = Engine | Literal["working-set"]

GAP_THRESHOLD_NS = 250
"""The shortest pause that counts as a gap.

A turn of the gap loop takes 12 ns. An idle virtual CPU shows up to 10^5 pauses of 60–250 ns a
second (0.5 % of its time: neighbours on the core, cache misses of the canary's own page), while the
least interrupt, a bare IPI, takes over 0.5 µs: 250 ns parts the two.
"""
LIFETIME_S = 600
MOST_LIFETIME_S = 2**31 - 1
"""The engines take a C int."""


class NoProgress(NettaxError):
    """A canary published nothing between two readings."""


@dataclass(frozen=True, slots=True)
class CanaryReading:
    """What a canary has done since its start. Subtract two to learn of the time between.

    The progress is of one moment, ``stamp_ns``, at which the canary published it: within the last
    50 µs of its own running time before the reading, the working set within its last 1024 turns
    (40 to 150 µs). The kernel's four times are of the reading itself.
    """

    pid: int
    engine: Kind
    stamp_ns: int
    """CLOCK_MONOTONIC."""
    cycles: int
    """The cycle counter at the stamp: TSC (x86), CNTVCT (arm64), else CLOCK_MONOTONIC."""
    iterations: int
    """Steps of the chain, or turns of the gap loop or of the working set's."""
    gaps: int
    """Turns longer than the threshold; the chain sees none."""
    gap_cycles: int
    gap_histogram: GapHistogram
    user_ns: int
    system_ns: int
    """utime and stime of /proc/PID/stat, the data of times(2), in steps of a USER_HZ tick."""
    cpu_ns: int
    run_delay_ns: int
    """/proc/PID/schedstat. The running slice is added at ticks: up to 1/CONFIG_HZ s behind."""

    def __sub__(self, earlier: CanaryReading) -> CanaryInterval:
        """Return what happened since ``earlier``.

        :raises UsageError: the readings are of two canaries, or in the wrong order.
        :raises NettaxError: (NoProgress) the canary published nothing in between: it was stopped
            all the time, or the readings are less than 50 µs apart (a working set: 1024 turns).
        """
        if (self.pid, self.engine) != (earlier.pid, earlier.engine):
            raise UsageError(f"pids {earlier.pid} and {self.pid} are two canaries: no interval.")
        if self.stamp_ns < earlier.stamp_ns:
            raise UsageError("subtract the earlier reading from the later.")
        if self.stamp_ns == earlier.stamp_ns:
            raise NoProgress(f"the canary (pid {self.pid}) made no progress between the readings.")
        wall_ns = self.stamp_ns - earlier.stamp_ns
        cycles = self.cycles - earlier.cycles
        return CanaryInterval(
            pid=self.pid,
            engine=self.engine,
            start_ns=earlier.stamp_ns,
            end_ns=self.stamp_ns,
            iterations=self.iterations - earlier.iterations,
            gaps=self.gaps - earlier.gaps,
            # The counter's frequency is that of this very interval. Each stamp pairs the clocks
            # within a threshold, so the error is below 2 × threshold / wall: 0.5 ppm of 1 s.
            gap_ns=(self.gap_cycles - earlier.gap_cycles) * wall_ns // cycles,
            gap_histogram=self.gap_histogram - earlier.gap_histogram,
            user_ns=self.user_ns - earlier.user_ns,
            system_ns=self.system_ns - earlier.system_ns,
            cpu_ns=self.cpu_ns - earlier.cpu_ns,
            run_delay_ns=self.run_delay_ns - earlier.run_delay_ns,
        )


@dataclass(frozen=True, slots=True)
class CanaryInterval:
    """What a canary did, and what stopped it, between two readings."""

    pid: int
    engine: Kind
    start_ns: int
    end_ns: int
    """CLOCK_MONOTONIC."""
    iterations: int
    gaps: int
    gap_ns: int
    """The length of all gaps together; each holds one turn of the loop: 12 ns of the gap
    engine's, 30 to 150 ns of a working set's."""
    gap_histogram: GapHistogram
    user_ns: int
    system_ns: int
    """A loop without system calls: all system time is a tick that found an interrupt's work."""
    cpu_ns: int
    run_delay_ns: int

    @property
    def wall_ns(self) -> int:
        return self.end_ns - self.start_ns

    @property
    def rate(self) -> float:
        """Iterations per second of wall time."""
        return self.iterations * 1e9 / self.wall_ns

    @property
    def gap_share(self) -> float:
        """The share of wall time that passed in gaps."""
        return self.gap_ns / self.wall_ns

    @property
    def clean_rate(self) -> float:
        """Turns per second of the time outside gaps: those that nothing interrupted."""
        return (self.iterations - self.gaps) * 1e9 / (self.wall_ns - self.gap_ns)


class Canary(Running):
    """A canary on one CPU, in a process named ``nettax-canary``.

    ``with Canary(cpu=1) as canary`` starts it and waits for its first progress; ``read`` does not
    disturb it, if the reader keeps off its CPU. Engine ``chain`` computes, and its rate must be
    compared with that of idle windows; ``gap`` watches the cycle counter and needs no comparison
    but for the hypervisor's own gaps. It ends after ``lifetime_s`` at the latest, and with the
    thread that started it.
    """

    def __init__(
        self,
        cpu: int,
        engine: Engine = "chain",
        *,
        gap_threshold_ns: int = GAP_THRESHOLD_NS,
        lifetime_s: int = LIFETIME_S,
    ) -> None:
        self._cpu = cpu
        self._engine = engine
        self._arguments = [cpu, lifetime_s]
        if engine == "gap":
            self._arguments.append(gap_threshold_ns)

    def __enter__(self) -> Self:
        """Start the canary.

        :raises UsageError: no such CPU.
        :raises NettaxError: it cannot start, or something keeps it from its CPU.
        """
        self._process = EngineProcess(f"canary_{self._engine}", *self._arguments, cpus=[self._cpu])
        return self

    def read(self) -> CanaryReading:
        """Read the progress and the kernel's account of it.

        :raises NettaxError: the canary has died.
        """
        return read(self._process, self._engine)


def read(process: EngineProcess, engine: Kind) -> CanaryReading:
    """Read an engine's progress and what the kernel says of the thread that runs it.

    :raises NettaxError: the engine has ended.
    """
    pid = process.pid
    stat = proc_pid.task_stat(pid, tid=pid)
    times = proc_pid.schedstat(pid, tid=pid)
    sample = process.sample()  # after them, so that it is the one to notice a death
    if stat is None or times is None:
        raise NettaxError(
            f"/proc does not show the canary (pid {pid}): is it mounted with hidepid?"
        )
    return CanaryReading(
        pid=pid,
        engine=engine,
        stamp_ns=sample.ns,
        cycles=sample.cycles,
        iterations=sample.iterations,
        gaps=sample.gaps,
        gap_cycles=sample.gap_cycles,
        gap_histogram=GapHistogram(tuple(sample.histogram)),
        user_ns=stat.utime_ns,
        system_ns=stat.stime_ns,
        cpu_ns=times.cpu_ns,
        run_delay_ns=times.run_delay_ns,
    )
