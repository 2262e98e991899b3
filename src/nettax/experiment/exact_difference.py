"""When two sets of counts differ.

Counts of one setting are not quite the same in each boot: what the host sends arrives at another
instruction, so that timers and deferred work of the kernel's meet other operations. So a
difference is claimed where an interval for it leaves out zero (Student's t with the variance that
both sides' repetitions show), and is no smaller than one operation in all that were counted: what
happens once in a window of n operations is not a cost of each. There are hundreds of functions and
few repetitions, so theirs are held to a confidence that leaves the same chance of one false name
among all (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist, fmean, variance

from nettax.experiment.exact_functions import Used

__all__ = ["CONFIDENCE", "Difference", "differences", "student"]

CONFIDENCE = 0.999
"""That no difference is claimed of an operation where there is none."""


@dataclass(frozen=True)
class Difference:
    """Instructions an operation took under A and under B, in each guest."""

    name: str
    """A function; empty for all of the operation."""
    a: tuple[float, ...]
    b: tuple[float, ...]
    confidence: float
    least: float
    """Below this no difference is claimed, however sure."""

    @property
    def mean_a(self) -> float:
        """Under A."""
        return fmean(self.a)

    @property
    def mean_b(self) -> float:
        """Under B."""
        return fmean(self.b)

    @property
    def difference(self) -> float:
        """A's mean less B's."""
        return self.mean_a - self.mean_b

    @property
    def ratio(self) -> float:
        """A's mean over B's; infinite if B has none."""
        return self.mean_a / self.mean_b if self.mean_b else math.inf

    @property
    def spread(self) -> float:
        """How far repetitions of one setting are apart: the worse one's range over its least."""
        return max((max(one) - min(one)) / (min(one) or 1) for one in (self.a, self.b))

    @property
    def margin(self) -> float:
        """What the difference may be off by, at the confidence."""
        n = len(self.a)
        error = math.sqrt((variance(self.a) + variance(self.b)) / n)
        return student(self.confidence, 2 * n - 2) * error

    @property
    def low(self) -> float:
        """The interval's lower end."""
        return self.difference - self.margin

    @property
    def high(self) -> float:
        """The interval's upper end."""
        return self.difference + self.margin

    @property
    def differs(self) -> bool:
        """The interval leaves out zero, and the difference is not too small."""
        return abs(self.difference) > max(self.margin, self.least)


def differences(
    totals: tuple[Sequence[float], Sequence[float]],
    functions: tuple[Sequence[Mapping[str, Used]], Sequence[Mapping[str, Used]]],
    count: int,
) -> tuple[Difference, list[Difference]]:
    """Of all of an operation, and of the functions that differ, the greatest first."""
    a, b = totals
    least = min(*a, *b) / count
    total = Difference("", tuple(a), tuple(b), CONFIDENCE, least)
    names = sorted({name for side in functions for one in side for name in one})
    confidence = 1 - (1 - CONFIDENCE) / max(1, len(names))
    each = (
        Difference(name, _of(functions[0], name), _of(functions[1], name), confidence, least)
        for name in names
    )
    found = [one for one in each if one.differs]
    return total, sorted(found, key=lambda one: -abs(one.difference))


def _of(side: Sequence[Mapping[str, Used]], name: str) -> tuple[float, ...]:
    return tuple(one[name].instructions if name in one else 0.0 for one in side)


@cache
def student(confidence: float, degrees: int) -> float:
    """How many standard errors to both sides hold so much of Student's t distribution.

    By bisection of its distribution function for even degrees of freedom, which is a finite sum
    (M. Abramowitz and I. A. Stegun, *Handbook of Mathematical Functions*, 26.7.4).

    :raises ValueError: the degrees are odd, or none.
    """
    if degrees < 2 or degrees % 2:
        raise ValueError("an even number of degrees of freedom is needed")
    low, high = 0.0, 2 * NormalDist().inv_cdf((1 + confidence) / 2)
    while _outside(high, degrees) > 1 - confidence:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        if _outside(middle, degrees) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def _outside(t: float, degrees: int) -> float:
    """The share of the distribution beyond −t and t."""
    cosine_squared = degrees / (degrees + t * t)
    term = total = 1.0
    for k in range(1, degrees // 2):
        term *= (2 * k - 1) / (2 * k) * cosine_squared
        total += term
    return 1 - t / math.sqrt(degrees + t * t) * total
