"""Calibrate the toll: what an interrupt costs its victim outside every tracepoint.

A gap canary on one CPU is hit by IPIs at a known rate from another, with the ledger attached and
without. An IPI of membarrier(2) does next to nothing in its handler, so of the gap that it makes

    gap = toll + time between the tracepoints (with the ledger)

the ledger sees the second term, and the difference is the toll. Both are taken per interrupt and
beyond a baseline without IPIs, which holds the tick and the hypervisor's own gaps:

    toll = (Δgap − Δtraced) / Δinterrupts

The same gaps without the ledger tell what the ledger itself adds to an interrupt.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from statistics import mean

from nettax.canary import IpiStorm
from nettax.errors import NettaxError, UsageError
from nettax.experiment.estimate import Estimate, median
from nettax.experiment.schedule import Run, Schedule, interleave
from nettax.kernel import cpus
from nettax.ledger import Ledger, Toll
from nettax.ledger.toll import identity

__all__ = ["Calibration", "calibrate"]

RATE = 50_000  # IPIs per second: many enough to tower over the noise, few enough to all arrive
WINDOW_S = 0.2


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured, in ns per interrupt."""

    toll: Estimate
    """Outside the tracepoints, with the ledger attached: what is charged."""
    traced: Estimate
    """Between the tracepoints, as the ledger sees it."""
    bare: Estimate
    """All that an interrupt costs without the ledger."""
    own: Estimate
    """What the ledger adds to an interrupt: toll + traced − bare, round by round."""
    victim_cpu: int
    sender_cpu: int

    def kept(self) -> Toll:
        """The calibration as the ledger charges it, for this host."""
        toll = self.toll
        return Toll(toll.median, toll.low, toll.high, self.own.median, toll.n, *identity())


@dataclass(frozen=True, slots=True)
class _Window:
    """What one window showed on the victim's CPU, per ns of wall time."""

    gap: float
    interrupts: float
    traced: float


def calibrate(
    victim_cpu: int | None = None,
    sender_cpu: int | None = None,
    *,
    rounds: int = 15,
    seed: int | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Calibration:
    """Measure the toll in interleaved windows, each against its idle neighbours.

    Takes about 2 s a round. `progress` is told how many rounds are done, of how many.

    :raises UsageError: fewer than two CPUs online
    :raises NettaxError: the IPIs did not arrive
    """
    victim, sender = _pick(victim_cpu, sender_cpu)
    rate, ledger = 0, None

    def measure() -> _Window:
        return _measure(victim, sender, rate, ledger)

    @contextmanager
    def storm(attached: bool) -> Iterator[None]:
        nonlocal rate, ledger
        around: AbstractContextManager[Ledger | None] = (
            Ledger(cpus=[victim]) if attached else nullcontext()
        )
        with around as entered:
            rate, ledger = RATE, entered
            try:
                yield
            finally:
                rate, ledger = 0, None

    schedule = Schedule.draw(("attached", "bare"), rounds, seed)
    conditions = {"attached": lambda: storm(True), "bare": lambda: storm(False)}
    runs: dict[str, list[Run[_Window]]] = {"attached": [], "bare": []}
    for run in interleave(schedule, conditions, measure):
        runs[run.condition].append(run)
        progress(len(runs["attached"]), rounds)
    return _conclude(runs["attached"], runs["bare"], victim, sender)


def _pick(victim: int | None, sender: int | None) -> tuple[int, int]:
    online = cpus.online()
    if len(online) < 2:
        raise UsageError("calibrating takes two CPUs, one to interrupt the other: one is online")
    victim = online[-1] if victim is None else victim
    return victim, next(cpu for cpu in online if cpu != victim) if sender is None else sender


def _measure(victim: int, sender: int, rate: int, ledger: Ledger | None) -> _Window:
    with IpiStorm(victim, sender, rate) as storm:
        booked = ledger.read() if ledger else None
        start = storm.read()
        time.sleep(WINDOW_S)
        gaps = storm.read() - start
        if ledger is None or booked is None:
            return _Window(gaps.victim.gap_share, gaps.ipis / gaps.victim.wall_ns, 0)
        (cpu,) = (ledger.read() - booked).cpus
    traced = cpu.hardirq_ns + sum(cpu.softirq_ns.values())
    return _Window(gaps.victim.gap_share, cpu.hardirq_count / cpu.wall_ns, traced / cpu.wall_ns)


def _conclude(
    attached: list[Run[_Window]], bare: list[Run[_Window]], victim: int, sender: int
) -> Calibration:
    expected = RATE / 1e9
    if min(run.value.interrupts for run in (*attached, *bare)) < expected / 2:
        raise NettaxError(
            f"CPU {victim} took less than half of the {RATE} IPIs a second sent to it from CPU "
            f"{sender}:\nthe host is too busy to calibrate now. Try again when it is idle"
        )

    def gap(run: Run[_Window]) -> float:
        """Gap beyond the idle windows beside it, ns per interrupt."""
        return (run.value.gap - mean((run.before.gap, run.after.gap))) / run.value.interrupts

    whole = [gap(run) for run in attached]
    traced = [run.value.traced / run.value.interrupts for run in attached]
    alone = [gap(run) for run in bare]
    return Calibration(
        toll=median([g - t for g, t in zip(whole, traced, strict=True)]),
        traced=median(traced),
        bare=median(alone),
        own=median([g - b for g, b in zip(whole, alone, strict=True)]),
        victim_cpu=victim,
        sender_cpu=sender,
    )
