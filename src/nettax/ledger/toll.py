"""The toll: what an interrupt costs outside every tracepoint.

Tracepoints sit inside the handlers; entering and leaving an interrupt (the mode switch, saved
registers, cold caches, and in a virtual machine the hypervisor's delivery) happens outside them.
`experiment.calibration` measures that cost per interrupt on this host, at several rates, since an
interrupt that seldom comes finds everything cold. It is kept per host, kernel and version of
nettax, and charged as interrupts × cost. Nothing is ever fitted to the run that it explains.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from nettax.host.state import keep, kept
from nettax.ledger.rows import TollShare

__all__ = ["Toll", "TollPoint"]

NAME = "toll"


@dataclass(frozen=True, slots=True)
class TollPoint:
    """Cost of one interrupt outside the tracepoints, ns, at one rate."""

    rate: float
    """Interrupts per second on the CPU."""
    ns: float
    low: float
    high: float
    """Bounds of the confidence interval."""


@dataclass(frozen=True, slots=True)
class Toll:
    """The calibration of this host."""

    points: tuple[TollPoint, ...]
    """By rising rate."""
    own_ns: float
    """How much of a traced interrupt's whole cost the ledger's own programs are."""

    def at(self, rate: float) -> TollPoint:
        """The cost at a rate of interrupts per second.

        Between two points it is interpolated over the rate's logarithm; beyond the ends it is
        that of the end.
        """
        first, last = self.points[0], self.points[-1]
        inside = min(max(rate, first.rate), last.rate)
        above = next(i for i, point in enumerate(self.points) if inside <= point.rate)
        if above == 0:
            return TollPoint(rate, first.ns, first.low, first.high)
        a, b = self.points[above - 1], self.points[above]
        weight = math.log(inside / a.rate) / math.log(b.rate / a.rate)

        def between(get: Callable[[TollPoint], float]) -> float:
            return get(a) + weight * (get(b) - get(a))

        return TollPoint(
            rate, between(lambda p: p.ns), between(lambda p: p.low), between(lambda p: p.high)
        )

    def charge(self, interrupts: int, wall_ns: int, of: int | None = None) -> TollShare:
        """The toll, in ns, of interrupts that came to a CPU within `wall_ns`.

        `of`: how many of them to charge for, when they are one task's among the CPU's.
        """
        point = self.at(interrupts * 1e9 / wall_ns) if wall_ns else self.points[0]
        number = interrupts if of is None else of
        return TollShare(
            round(number * point.ns), round(number * point.low), round(number * point.high)
        )

    def save(self) -> Path:
        """Keep it for later runs on this host.

        :raises NettaxError: the file cannot be written
        """
        return keep(NAME, asdict(self))

    @classmethod
    def load(cls) -> Self | None:
        """The calibration of this host, kernel and version; None if there is none."""
        found = kept(NAME)
        if found is None:
            return None
        return cls(tuple(TollPoint(**point) for point in found["points"]), found["own_ns"])
