"""Times in buckets that grow with them, 64 to an octave; histograms of parts add up to the whole's.

Buckets are exact to 128 ns; above that each is 1/64 of a power of two wide, so that a time is known
to within 1.6 %. The writer's half of the arithmetic is ``load_record`` in native/load.h.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from nettax.errors import UsageError

__all__ = ["BUCKETS", "Bucket", "Histogram"]

BUCKETS = 2432
"""As LOAD_BUCKETS in native/load.h; the last bucket, from 2^42 ns, is open."""
_SUB = 6


@dataclass(frozen=True, slots=True)
class Bucket:
    """Times of at least ``low_ns`` and less than ``high_ns``."""

    low_ns: int
    high_ns: int
    count: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many times of each length there were; iteration gives the buckets, shortest first."""

    counts: Mapping[int, int] = field(default_factory=dict)
    """By bucket; those that are empty are left out."""

    @classmethod
    def of(cls, times_ns: Iterable[int]) -> Histogram:
        """Sort times into buckets."""
        counts: dict[int, int] = {}
        for time in times_ns:
            index = bucket(time)
            counts[index] = counts.get(index, 0) + 1
        return cls(MappingProxyType(counts))

    @classmethod
    def of_counts(cls, counts: Iterable[int]) -> Histogram:
        """Take the counts of all buckets in a row, as the native engines have them."""
        return cls(MappingProxyType({i: count for i, count in enumerate(counts) if count}))

    @property
    def total(self) -> int:
        """How many times are in it."""
        return sum(self.counts.values())

    def __iter__(self) -> Iterator[Bucket]:
        for index in sorted(self.counts):
            yield Bucket(_low_ns(index), _low_ns(index + 1), self.counts[index])

    def __add__(self, other: Histogram) -> Histogram:
        counts = dict(self.counts)
        for index, count in other.counts.items():
            counts[index] = counts.get(index, 0) + count
        return Histogram(MappingProxyType(counts))

    def __sub__(self, earlier: Histogram) -> Histogram:
        """Return what came since ``earlier``.

        :raises UsageError: ``earlier`` has times that this one lacks.
        """
        if any(count > self.counts.get(index, 0) for index, count in earlier.counts.items()):
            raise UsageError("a histogram only grows: subtract the earlier from the later.")
        return Histogram(
            MappingProxyType(
                {
                    index: more
                    for index, count in self.counts.items()
                    if (more := count - earlier.counts.get(index, 0))
                }
            )
        )

    def quantile(self, share: float) -> int | None:
        """Return the time, in ns, that this share of the times (0 to 1) does not exceed.

        It is the middle of its bucket; None where there are no times.
        """
        rank = share * self.total
        seen = 0
        found = None
        for found in self:
            seen += found.count
            if seen >= rank:
                break
        return None if found is None else (found.low_ns + found.high_ns - 1) // 2

    @property
    def mean_ns(self) -> float | None:
        """The mean, from the buckets' middles; None where there are no times."""
        total = self.total
        if not total:
            return None
        return sum((b.low_ns + b.high_ns - 1) / 2 * b.count for b in self) / total


def bucket(time_ns: int) -> int:
    """Return the bucket of a time."""
    shift = max(0, time_ns.bit_length() - 1 - _SUB)
    return min((shift << _SUB) + (time_ns >> shift), BUCKETS - 1)


def _low_ns(index: int) -> int:
    """Return the least time in a bucket, in ns."""
    if index < 2 << _SUB:
        return index
    shift = (index >> _SUB) - 1
    return (index - (shift << _SUB)) << shift
