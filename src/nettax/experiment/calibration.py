"""Calibrate the toll: what an interrupt costs its victim outside every tracepoint.

A gap canary on one CPU is hit by IPIs from another. An IPI of membarrier(2) does next to nothing
in its handler, so what the canary loses beyond what the ledger books is the cost of entering and
leaving it. Each window lies between two without IPIs, which hold the tick's and the hypervisor's
own gaps; with x the share of wall time in gaps less the share booked as stolen or waited,

    toll = (x − x_idle) / (interrupts − interrupts_idle)

at each of several rates: an interrupt that seldom comes finds caches cold, here and in the
hypervisor. What the ledger itself adds to an interrupt is the growth of the gaps when it is
attached, at the highest rate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import mean

from nettax.canary import IpiStorm
from nettax.errors import NettaxError, UsageError
from nettax.experiment.estimate import Estimate, median, paired_difference
from nettax.experiment.schedule import Run, Schedule, interleave
from nettax.experiment.watch import off
from nettax.kernel import cpus
from nettax.kernel.features import require_host_pids
from nettax.ledger import Ledger, Toll, TollPoint

__all__ = ["Calibration", "calibrate"]

RATES = (3_000, 10_000, 20_000, 40_000)  # IPIs per second
WINDOW_S = 0.12
ROUNDS = 16


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured, in ns per interrupt."""

    tolls: tuple[tuple[float, Estimate], ...]
    """Outside the tracepoints, with the ledger attached: by rising rate of interrupts per s."""
    traced: Estimate
    """Between the tracepoints, at the highest rate."""
    bare: Estimate
    """All that an interrupt costs without the ledger, at the highest rate."""
    own: Estimate
    """What the ledger adds to that."""
    victim_cpu: int
    sender_cpu: int

    def kept(self) -> Toll:
        """The calibration as the ledger charges it."""
        points = (TollPoint(rate, t.median, t.low, t.high) for rate, t in self.tolls)
        return Toll(tuple(points), self.own.median)


@dataclass(frozen=True, slots=True)
class _Window:
    """One window on the victim's CPU, as shares of wall time and interrupts per ns."""

    gap: float
    booked: float
    traced: float
    interrupts: float


def calibrate(
    victim: int | None = None,
    *,
    rounds: int = ROUNDS,
    seed: int | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Calibration:
    """Measure the toll on a CPU, by default the last one online, with IPIs from another.

    Takes about 1.5 s a round. `progress` is told how many windows are done, of how many.

    :raises UsageError: fewer than two CPUs online
    :raises NettaxError: the IPIs did not arrive, or what they cost is lost in the noise
    """
    require_host_pids()
    online = cpus.online()
    if len(online) < 2:
        raise UsageError("calibrating takes two CPUs, one to interrupt the other: one is online")
    victim = online[-1] if victim is None else victim
    sender = next(cpu for cpu in reversed(online) if cpu != victim)
    done, of = 0, rounds * (len(RATES) + 2)

    def step() -> None:
        nonlocal done
        done += 1
        progress(done, of)

    with off(victim), IpiStorm(victim, sender) as storm:
        with Ledger(cpus=[victim]) as ledger:
            by_rate = _by_rate(storm, ledger, rounds, seed, step)
        attached, bare = _attached_and_bare(storm, victim, rounds, seed, step)
    tolls = tuple(_toll(rate, runs) for rate, runs in by_rate.items())
    _refuse_the_unknown(*tolls[-1])
    whole = [_gap(run) for run in attached]
    alone = [_gap(run) for run in bare]
    return Calibration(
        tolls=tolls,
        traced=median([run.value.traced / run.value.interrupts for run in by_rate[RATES[-1]]]),
        bare=median(alone),
        own=paired_difference(whole, alone),
        victim_cpu=victim,
        sender_cpu=sender,
    )


def _by_rate(
    storm: IpiStorm, ledger: Ledger, rounds: int, seed: int | None, step: Callable[[], None]
) -> dict[int, list[Run[_Window]]]:
    runs: dict[int, list[Run[_Window]]] = {rate: [] for rate in RATES}
    conditions = {str(rate): (lambda rate=rate: _sending(storm, rate)) for rate in RATES}
    schedule = Schedule.draw(conditions, rounds, seed)
    for run in interleave(schedule, conditions, lambda: _measure(storm, ledger)):
        runs[int(run.condition)].append(run)
        step()
    return runs


def _attached_and_bare(
    storm: IpiStorm, victim: int, rounds: int, seed: int | None, step: Callable[[], None]
) -> tuple[list[Run[_Window]], list[Run[_Window]]]:
    runs: dict[str, list[Run[_Window]]] = {"attached": [], "bare": []}

    @contextmanager
    def attached() -> Iterator[None]:
        with Ledger(cpus=[victim]), _sending(storm, RATES[-1]):
            yield

    conditions = {"attached": attached, "bare": lambda: _sending(storm, RATES[-1])}
    schedule = Schedule.draw(conditions, rounds, seed)
    for run in interleave(schedule, conditions, lambda: _measure(storm, None)):
        runs[run.condition].append(run)
        step()
    return runs["attached"], runs["bare"]


@contextmanager
def _sending(storm: IpiStorm, rate: int) -> Iterator[None]:
    storm.set_rate(rate)
    try:
        yield
    finally:
        storm.set_rate(0)


def _measure(storm: IpiStorm, ledger: Ledger | None) -> _Window:
    before = ledger.read() if ledger else None
    start = storm.read()
    time.sleep(WINDOW_S)
    gaps = storm.read() - start
    if ledger is None or before is None:
        return _Window(gaps.victim.gap_share, 0, 0, gaps.ipis / gaps.victim.wall_ns)
    interval = ledger.read() - before
    (cpu,) = interval.cpus
    return _Window(
        gap=gaps.victim.gap_share,
        booked=interval.task(storm.pid).kept_off_ns / cpu.wall_ns,
        traced=(cpu.hardirq_ns + sum(cpu.softirq_ns.values())) / cpu.wall_ns,
        interrupts=cpu.hardirq_count / cpu.wall_ns,
    )


def _toll(rate: int, runs: list[Run[_Window]]) -> tuple[float, Estimate]:
    arrived = median([run.value.interrupts * 1e9 for run in runs]).median
    if arrived < rate / 2:
        raise NettaxError(
            f"of {rate} IPIs a second only {arrived:.0f} arrived: this host is too busy to\n"
            "calibrate now. Try again when it is quiet"
        )

    def cost(run: Run[_Window]) -> float:
        idle = run.before, run.after
        unbooked = run.value.gap - run.value.booked - mean(w.gap - w.booked for w in idle)
        return unbooked / (run.value.interrupts - mean(w.interrupts for w in idle))

    return arrived, median([cost(run) for run in runs])


def _refuse_the_unknown(rate: float, cost: Estimate) -> None:
    """At the highest rate, where it is known best, an interrupt must be seen to cost something."""
    if cost.low <= 0:
        raise NettaxError(
            f"what an interrupt costs is lost in this host's noise: {cost.median / 1e3:.2f} µs "
            f"[{cost.low / 1e3:.2f}, {cost.high / 1e3:.2f}] at {rate:.0f}/s.\n"
            "Nothing is kept. Try again when it is quiet"
        )


def _gap(run: Run[_Window]) -> float:
    """Gap beyond the idle windows beside it, ns per IPI."""
    return (run.value.gap - mean((run.before.gap, run.after.gap))) / run.value.interrupts
