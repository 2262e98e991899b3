"""Readings subtract to what happened between them, and only if they belong together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nettax.canary import CanaryReading, GapHistogram
from nettax.canary.histogram import BUCKETS
from nettax.errors import NettaxError, UsageError

EARLIER = CanaryReading(
    pid=7,
    engine="gap",
    stamp_ns=1_000,
    cycles=50_000,
    iterations=10,
    gaps=1,
    gap_cycles=500,
    gap_histogram=GapHistogram((0,) * BUCKETS),
    user_ns=0,
    system_ns=0,
    cpu_ns=0,
    run_delay_ns=0,
)
LATER = replace(
    EARLIER,
    stamp_ns=1_001_000,
    cycles=50_000 + 2_500_000,
    iterations=40_010,
    gaps=4,
    gap_cycles=500 + 250_000,
    user_ns=700_000,
    system_ns=200_000,
    cpu_ns=910_000,
    run_delay_ns=90_000,
)


def test_the_interval_is_the_difference_and_gaps_are_in_ns() -> None:
    interval = LATER - EARLIER
    assert (interval.start_ns, interval.end_ns, interval.wall_ns) == (1_000, 1_001_000, 1_000_000)
    assert interval.rate == 40_000 / 0.001
    assert interval.gaps == 3
    # 2.5 cycles a ns in this very interval: 250,000 cycles are 100 µs of the millisecond.
    assert interval.gap_ns == 100_000
    assert interval.gap_share == 0.1
    # 40,000 turns, 3 of them the gaps, in 900 µs.
    assert interval.clean_rate == pytest.approx(39_997 / 900e-6)
    assert (interval.user_ns, interval.system_ns) == (700_000, 200_000)
    assert (interval.cpu_ns, interval.run_delay_ns) == (910_000, 90_000)


@pytest.mark.parametrize("other", [replace(EARLIER, pid=8), replace(EARLIER, engine="chain")])
def test_two_canaries_have_no_interval(other: CanaryReading) -> None:
    with pytest.raises(UsageError, match="two canaries"):
        LATER - other


def test_time_does_not_run_backwards() -> None:
    with pytest.raises(UsageError, match="earlier"):
        EARLIER - LATER


def test_no_progress_is_no_interval() -> None:
    with pytest.raises(NettaxError, match="no progress"):
        LATER - LATER
