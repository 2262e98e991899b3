"""How long the gaps were: counts in buckets that grow with the length, four to an octave.

Buckets are exact to 8 ns; above that each is a quarter of a power of two wide, so that a length
is known to within 25 %. The writer's half of the arithmetic is ``canary_bucket`` in
native/meter.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nettax.errors import UsageError

BUCKETS = 136
"""As CANARY_BUCKETS in native/canary.h; the last bucket is open."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Gaps whose length was at least ``low_ns`` and less than ``high_ns``."""

    low_ns: int
    high_ns: int
    count: int


@dataclass(frozen=True, slots=True)
class GapHistogram:
    """Gaps by their length; iteration gives the buckets that are not empty, shortest first."""

    counts: tuple[int, ...]

    def __iter__(self) -> Iterator[Bucket]:
        for index, count in enumerate(self.counts):
            if count:
                yield Bucket(_low_ns(index), _low_ns(index + 1), count)

    def __sub__(self, earlier: GapHistogram) -> GapHistogram:
        """Return the gaps since ``earlier``.

        :raises UsageError: ``earlier`` has gaps that this one lacks.
        """
        counts = tuple(now - then for now, then in zip(self.counts, earlier.counts, strict=True))
        if min(counts) < 0:
            raise UsageError("a histogram of gaps only grows: subtract the earlier from the later.")
        return GapHistogram(counts)


def _low_ns(index: int) -> int:
    """Return the least length in a bucket, in ns."""
    if index < 8:
        return index
    octave, quarter = divmod(index, 4)
    return (4 + quarter) << (octave - 1)
