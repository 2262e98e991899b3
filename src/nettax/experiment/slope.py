"""A slope with its interval that outliers and steps do not move: Theil's and Sen's.

The slope is the median of those of all pairs of points; the interval lies between two of these,
as far from the middle as Kendall's rank correlation wanders when there is no trend (P. K. Sen,
"Estimates of the regression coefficient based on Kendall's tau", 1968; with ties, M. G. Kendall,
*Rank Correlation Methods*, section 5). Nothing is assumed of the noise but that points do not hang
together: long series are first reduced to medians of blocks, which do so less.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, median

__all__ = ["Slope", "slope"]

MOST_POINTS = 120
LEAST_POINTS = 8


@dataclass(frozen=True, slots=True)
class Slope:
    """Units of y for one of x."""

    value: float
    low: float
    high: float
    n: int
    """Points, or blocks of them, that it was made of."""


def slope(xs: Sequence[float], ys: Sequence[float], confidence: float = 0.95) -> Slope | None:
    """Estimate how fast y grows with x; None of fewer than eight points, or of one x alone.

    :raises ValueError: there are not as many of the one as of the other.
    """
    points = _blocks(list(zip(xs, ys, strict=True)))
    n = len(points)
    slopes = sorted(
        (yb - ya) / (xb - xa)
        for i, (xa, ya) in enumerate(points)
        for xb, yb in points[i + 1 :]
        if xb != xa
    )
    if n < LEAST_POINTS or not slopes:
        return None
    spread = NormalDist().inv_cdf(0.5 + confidence / 2) * math.sqrt(_variance(points))
    low = max(0, math.floor((len(slopes) - spread) / 2) - 1)
    high = min(len(slopes) - 1, math.ceil((len(slopes) + spread) / 2))
    return Slope(median(slopes), slopes[low], slopes[high], n)


def _blocks(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    size = math.ceil(len(points) / MOST_POINTS)
    if size <= 1:
        return points
    blocks = (points[i : i + size] for i in range(0, len(points) - size + 1, size))
    return [(median(x for x, _ in block), median(y for _, y in block)) for block in blocks]


def _variance(points: list[tuple[float, float]]) -> float:
    """Of Kendall's S = concordant less discordant pairs, with no trend; ties make it less."""
    n = len(points)

    def part(size: int) -> int:
        return size * (size - 1) * (2 * size + 5)

    ties = [Counter(x for x, _ in points), Counter(y for _, y in points)]
    least = part(n) - sum(part(size) for each in ties for size in each.values() if size > 1)
    return max(least, 0) / 18
