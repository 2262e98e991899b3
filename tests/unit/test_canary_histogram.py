"""The buckets leave no hole, and a length is known to within a quarter."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nettax.canary.histogram import BUCKETS, GapHistogram
from nettax.errors import UsageError

FULL = GapHistogram((1,) * BUCKETS)
COUNTS = st.lists(st.integers(0, 2**63), min_size=BUCKETS, max_size=BUCKETS).map(tuple)


def test_buckets_follow_each_other_from_zero_to_34_seconds() -> None:
    buckets = list(FULL)
    assert buckets[0].low_ns == 0
    assert buckets[-1].high_ns == 2**35
    for bucket, following in pairwise(buckets):
        assert bucket.low_ns < bucket.high_ns == following.low_ns


def test_a_bucket_is_a_quarter_of_its_octave_wide() -> None:
    for bucket in list(FULL)[8:]:
        octave = 1 << (bucket.low_ns.bit_length() - 1)
        assert bucket.high_ns - bucket.low_ns == octave // 4


def test_empty_buckets_are_not_shown() -> None:
    counts = [0] * BUCKETS
    counts[40] = 3
    assert [(b.low_ns, b.high_ns, b.count) for b in GapHistogram(tuple(counts))] == [
        (2048, 2560, 3)
    ]


@settings(max_examples=25)
@given(COUNTS, COUNTS)
def test_subtraction_undoes_growth(before: tuple[int, ...], grown: tuple[int, ...]) -> None:
    after = GapHistogram(tuple(a + b for a, b in zip(before, grown, strict=True)))
    assert after - GapHistogram(before) == GapHistogram(grown)


def test_a_histogram_cannot_shrink() -> None:
    with pytest.raises(UsageError):
        GapHistogram((0,) * BUCKETS) - FULL
