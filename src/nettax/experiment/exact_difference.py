"""When two sets of counts differ.

Counts of one setting are not quite the same in each guest: what the host sends arrives at another
instruction, so that timers and deferred work of the kernel's meet other operations. And where one
guest runs both settings, the first pays for some slabs that the second finds there: an effect of
order, which is estimated, as each comes first in turn, and taken out.

So a difference is claimed where an interval for it leaves out zero (Student's t, with the variance
that is left among both sides' repetitions), and is no smaller than one operation in all that were
counted: what happens once in a window of n operations is not a cost of each. There are hundreds of
functions and few repetitions, so theirs are held to a confidence that leaves the same chance of one
false name among all (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist, fmean

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
    together: bool
    """A repetition of A and one of B share a guest, A first in the first of these, then B."""

    @property
    def mean_a(self) -> float:
        """Under A."""
        return fmean(self.a) - self._order * self._lead

    @property
    def mean_b(self) -> float:
        """Under B."""
        return fmean(self.b) + self._order * self._lead

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
    def _signs(self) -> list[int]:
        """1 where A came first in the guest, -1 where B did."""
        return [1 if n % 2 == 0 else -1 for n in range(len(self.a))]

    @property
    def _lead(self) -> float:
        """How much more often A came first than B, a share; 0 of an even number of guests."""
        return fmean(self._signs) if self.together else 0.0

    @property
    def _order(self) -> float:
        """What coming first adds, and coming second takes away: by least squares."""
        if not self.together:
            return 0.0
        signs = self._signs
        apart = [a - b for a, b in zip(self.a, self.b, strict=True)]
        mean, lead = fmean(apart), fmean(signs)
        moments = zip(signs, apart, strict=True)
        return sum((s - lead) * (d - mean) for s, d in moments) / (
            2 * sum((s - lead) ** 2 for s in signs)
        )

    @property
    def margin(self) -> float:
        """What the difference may be off by, at the confidence."""
        n, order = len(self.a), self._order
        signs = self._signs if self.together else [0] * n
        left = [
            value - mean - side * sign * order
            for values, mean, side in ((self.a, self.mean_a, 1), (self.b, self.mean_b, -1))
            for value, sign in zip(values, signs, strict=True)
        ]
        degrees = 2 * n - (3 if self.together else 2)
        variance = sum(each * each for each in left) / degrees
        error = math.sqrt(variance * 2 / n / (1 - self._lead**2))
        return student(self.confidence, degrees) * error

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
    *,
    together: bool,
) -> tuple[Difference, list[Difference]]:
    """Of all of an operation, and of the functions that differ, the greatest first."""
    a, b = totals
    least = min(*a, *b) / count
    total = Difference("", tuple(a), tuple(b), CONFIDENCE, least, together)
    names = sorted({name for side in functions for one in side for name in one})
    confidence = 1 - (1 - CONFIDENCE) / max(1, len(names))
    each = (
        Difference(
            name,
            _of(functions[0], name),
            _of(functions[1], name),
            confidence,
            least,
            together,
        )
        for name in names
    )
    found = [one for one in each if one.differs]
    return total, sorted(found, key=lambda one: -abs(one.difference))


def _of(side: Sequence[Mapping[str, Used]], name: str) -> tuple[float, ...]:
    return tuple(one[name].instructions if name in one else 0.0 for one in side)


@cache
def student(confidence: float, degrees: int) -> float:
    """How many standard errors to both sides hold so much of Student's t distribution.

    By bisection of its distribution function, which is a finite sum (M. Abramowitz and I. A.
    Stegun, *Handbook of Mathematical Functions*, 26.7.3 and 26.7.4).
    """
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
    angle = math.atan2(t, math.sqrt(degrees))
    cosine, odd = math.cos(angle), degrees % 2
    term = cosine if odd else 1.0
    total = term if degrees > 1 else 0.0
    for k in range(2 + odd, degrees - 1, 2):
        term *= (k - 1) / k * cosine * cosine
        total += term
    inside = math.sin(angle) * total
    return 1 - (2 / math.pi * (angle + inside) if odd else inside)
