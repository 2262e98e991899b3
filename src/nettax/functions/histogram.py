"""How long calls took: counts in slots that grow with the time, 32 to an octave.

A time is known to within 1/32 of itself, as the kernel side (bpf/latency/slots.h) counted it;
count, sum, least and most are exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from nettax.errors import UsageError

__all__ = ["Histogram", "Slot", "slot_of"]

SLOT_BITS = 5  # as in bpf/latency.h


@dataclass(frozen=True, slots=True)
class Slot:
    """Times of at least ``low_ns`` and less than ``high_ns``."""

    low_ns: int
    high_ns: int
    count: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """Times in ns; iteration gives the slots that are not empty, shortest first."""

    counts: Mapping[int, int] = field(default_factory=dict)
    """By the slot's number."""
    sum_ns: int = 0
    least_ns: int = 0
    """Of a difference of two: of the slot, for the exact one is of both together."""
    most_ns: int = 0

    @classmethod
    def of(cls, times_ns: Iterable[int]) -> Histogram:
        """Count times, as the kernel side does."""
        counts: dict[int, int] = {}
        times = list(times_ns)
        for ns in times:
            slot = slot_of(ns)
            counts[slot] = counts.get(slot, 0) + 1
        return cls(counts, sum(times), min(times, default=0), max(times, default=0))

    @property
    def count(self) -> int:
        """How many times there are."""
        return sum(self.counts.values())

    @property
    def mean_ns(self) -> float:
        """Their mean; 0 of none."""
        return self.sum_ns / self.count if self.count else 0.0

    def __iter__(self) -> Iterator[Slot]:
        for slot in sorted(self.counts):
            low, high = _bounds(slot)
            yield Slot(low, high, self.counts[slot])

    def __add__(self, other: Histogram) -> Histogram:
        """Return both together: percentiles of several runs come from this, never from a mean."""
        counts = dict(self.counts)
        for slot, count in other.counts.items():
            counts[slot] = counts.get(slot, 0) + count
        both = [h for h in (self, other) if h.counts]
        return Histogram(
            counts,
            self.sum_ns + other.sum_ns,
            min((h.least_ns for h in both), default=0),
            max((h.most_ns for h in both), default=0),
        )

    def __sub__(self, earlier: Histogram) -> Histogram:
        """Return the times since ``earlier``.

        :raises UsageError: ``earlier`` has times that this one lacks.
        """
        counts = {
            slot: left
            for slot, count in self.counts.items()
            if (left := count - earlier.counts.get(slot, 0))
        }
        if any(left < 0 for left in counts.values()) or set(earlier.counts) - set(self.counts):
            raise UsageError("a histogram only grows: subtract the earlier from the later.")
        if not counts:
            return Histogram()
        least, most = _bounds(min(counts))[0], _bounds(max(counts))[1] - 1
        return Histogram(
            counts,
            self.sum_ns - earlier.sum_ns,
            max(least, self.least_ns),
            min(most, self.most_ns),
        )

    def quantile(self, share: float) -> int:
        """The time, in ns, that so large a share of all does not exceed; 0 of none.

        The middle of its slot: within 1.6 %.
        """
        if not self.counts:
            return 0
        wanted = max(1, math.ceil(share * self.count))
        seen = 0
        for slot in self:
            seen += slot.count
            if seen >= wanted:
                middle = (slot.low_ns + slot.high_ns - 1) // 2
                return min(max(middle, self.least_ns), self.most_ns)
        raise AssertionError("a share above 1")

    def octaves(self, parts: int = 1) -> list[Slot]:
        """The same in coarser slots, `parts` (a power of two up to 32) to an octave, gaps filled.

        From the first that is not empty to the last.
        """
        merged: dict[int, int] = {}
        for slot in self:
            index = _coarse(slot.low_ns, parts)
            merged[index] = merged.get(index, 0) + slot.count
        if not merged:
            return []
        return [
            Slot(_coarse_low(i, parts), _coarse_low(i + 1, parts), merged.get(i, 0))
            for i in range(min(merged), max(merged) + 1)
            if _coarse_low(i, parts) < _coarse_low(i + 1, parts)
        ]


def slot_of(ns: int) -> int:
    """The number of a time's slot."""
    shift = max(ns.bit_length() - 1 - SLOT_BITS, 0)
    return (shift << SLOT_BITS) + (ns >> shift)


def _bounds(slot: int) -> tuple[int, int]:
    shift = max((slot >> SLOT_BITS) - 1, 0)
    low = (slot - (shift << SLOT_BITS)) << shift
    return low, low + (1 << shift)


def _coarse(ns: int, parts: int) -> int:
    octave = max(ns.bit_length() - 1, 0)
    return octave * parts + (((ns - (1 << octave)) * parts) >> octave if ns else 0)


def _coarse_low(index: int, parts: int) -> int:
    """The least time of a coarse slot; the first begins at 0."""
    octave, part = divmod(index, parts)
    return 0 if index == 0 else (1 << octave) + -((-part << octave) // parts)
