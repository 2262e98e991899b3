"""The cost of one IPI is what it adds to the baseline's gaps."""

from __future__ import annotations

import pytest

from nettax.canary import CanaryInterval, GapHistogram, IpiGaps, IpiStorm
from nettax.canary.histogram import BUCKETS
from nettax.errors import UsageError


def storm(gap_ns: int, ipis: int, wall_ns: int, waited_ns: int = 0) -> IpiGaps:
    victim = CanaryInterval(
        pid=7,
        engine="gap",
        start_ns=0,
        end_ns=wall_ns,
        iterations=1,
        gaps=ipis,
        gap_ns=gap_ns,
        gap_histogram=GapHistogram((0,) * BUCKETS),
        user_ns=0,
        system_ns=0,
        cpu_ns=wall_ns - waited_ns,
        run_delay_ns=waited_ns,
    )
    return IpiGaps(victim, ipis)


def test_windows_of_different_length_compare() -> None:
    baseline = storm(gap_ns=10_000_000, ipis=0, wall_ns=1_000_000_000)
    stormy = storm(gap_ns=80_000_000, ipis=50_000, wall_ns=2_000_000_000)
    assert stormy.cost_ns(baseline) == pytest.approx((80_000_000 - 20_000_000) / 50_000)


def test_a_neighbour_of_the_victim_changes_nothing() -> None:
    baseline = storm(gap_ns=10_000_000, ipis=0, wall_ns=1_000_000_000)
    alone = storm(gap_ns=60_000_000, ipis=50_000, wall_ns=1_000_000_000)
    # Half the time on its CPU: half the IPIs land, half as much is interrupted.
    shared = storm(530_000_000, 50_000, 1_000_000_000, waited_ns=500_000_000)
    assert shared.landed == 25_000
    assert alone.cost_ns(baseline) == shared.cost_ns(baseline) == pytest.approx(1000)


def test_without_ipis_there_is_no_cost() -> None:
    with pytest.raises(UsageError):
        storm(1, 0, 1000).cost_ns(storm(1, 0, 1000))


@pytest.mark.parametrize(("victim", "sender", "rate"), [(0, 0, 1000), (0, 1, -1), (0, 1, 10**10)])
def test_impossible_storms_are_refused(victim: int, sender: int, rate: int) -> None:
    with pytest.raises(UsageError):
        IpiStorm(victim, sender, rate)
