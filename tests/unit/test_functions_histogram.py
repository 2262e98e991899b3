"""Times in slots: what is exact, and how near the rest is."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nettax.errors import UsageError
from nettax.functions.histogram import Histogram, slot_of

TIMES = st.lists(st.integers(0, 1 << 45), min_size=1, max_size=60)


@settings(deadline=None)  # the machine may be busy
@given(st.integers(0, 1 << 60))
def test_a_time_is_in_its_slot_and_slots_are_narrow(ns: int) -> None:
    (slot,) = Histogram.of([ns])
    assert slot.low_ns <= ns < slot.high_ns
    assert slot.high_ns - slot.low_ns <= max(1, slot.low_ns / 32)


@settings(deadline=None)  # the machine may be busy
@given(st.integers(0, 1 << 50), st.integers(0, 1 << 50))
def test_slots_are_in_the_order_of_times(a: int, b: int) -> None:
    assert (slot_of(a) <= slot_of(b)) == (a <= b) or slot_of(a) == slot_of(b)


@settings(deadline=None)  # the machine may be busy
@given(TIMES, st.floats(0.01, 1))
def test_quantiles_are_near_those_of_the_times(times: list[int], share: float) -> None:
    true = sorted(times)[max(1, math.ceil(share * len(times))) - 1]
    assert Histogram.of(times).quantile(share) == pytest.approx(true, rel=1 / 64, abs=1)


@settings(deadline=None)  # the machine may be busy
@given(TIMES, TIMES)
def test_sums_and_differences(first: list[int], more: list[int]) -> None:
    earlier, later = Histogram.of(first), Histogram.of(first + more)
    assert earlier + Histogram.of(more) == later
    since = later - earlier
    assert since.counts == Histogram.of(more).counts
    assert since.sum_ns == sum(more)
    assert since.least_ns <= min(more)
    assert since.most_ns >= max(more)


def test_a_histogram_only_grows() -> None:
    with pytest.raises(UsageError, match="only grows"):
        Histogram.of([1]) - Histogram.of([1, 2])


@settings(deadline=None)  # the machine may be busy
@given(TIMES, st.sampled_from([1, 2, 4]))
def test_coarser_slots_hold_the_same_and_have_no_gaps(times: list[int], parts: int) -> None:
    slots = Histogram.of(times).octaves(parts)
    assert sum(slot.count for slot in slots) == len(times)
    for left, right in itertools.pairwise(slots):
        assert left.high_ns == right.low_ns
    for ns in times:
        assert any(slot.low_ns <= ns < slot.high_ns for slot in slots)
