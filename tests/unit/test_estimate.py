"""Medians and their intervals: known answers, what must always hold, and true coverage."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nettax.experiment.estimate import Estimate, median, paired_difference, paired_ratio

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40)


def test_known_answers() -> None:
    assert median([3, 1, 2, 5, 4]) == Estimate(3, 1, 5, 5, 0.9375)
    assert median([7]) == Estimate(7, 7, 7, 1, 0)
    assert median(range(1, 21)) == Estimate(10.5, 6, 15, 20, 1 - 2 * 21_700 / 2**20)
    # Of ten, the second and the ninth: 1 + 10 of 1024 ways lie outside on either side.
    assert median(range(1, 11)) == Estimate(5.5, 2, 9, 10, 1 - 2 * 11 / 1024)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [*range(2, 70), 1500])
def test_ranks_against_scipys_binomial(n: int, confidence: float) -> None:
    found = median(range(1, n + 1), confidence)
    rank = int(found.low)
    assert found.high == n + 1 - rank
    assert found.confidence == pytest.approx(1 - 2 * stats.binom.cdf(rank - 1, n, 0.5), abs=1e-12)
    if rank > 1:
        assert found.confidence >= confidence
    if 2 * (rank + 1) <= n:  # one rank further in falls short, so this is the narrowest
        assert 1 - 2 * stats.binom.cdf(rank, n, 0.5) < confidence


def test_against_scipys_quantile_test() -> None:
    values = [random.Random(3).gauss(0, 1) for _ in range(25)]
    theirs = stats.quantile_test(values, q=0, p=0.5).confidence_interval(0.95)
    ours = median(values)
    assert (ours.low, ours.high) == (theirs.low, theirs.high)


@given(VALUES)
def test_the_interval_holds_the_median(values: list[float]) -> None:
    found = median(values)
    assert min(values) <= found.low <= found.median <= found.high <= max(values)


@given(VALUES, st.randoms())
def test_order_does_not_matter(values: list[float], shuffler: random.Random) -> None:
    shuffled = values.copy()
    shuffler.shuffle(shuffled)
    assert median(shuffled) == median(values)


@given(VALUES, st.sampled_from([0.25, 2.0, 1024.0]))  # powers of two scale without rounding
def test_units_do_not_matter(values: list[float], scale: float) -> None:
    before, after = median(values), median([value * scale for value in values])
    assert after.median == pytest.approx(before.median * scale, rel=1e-12, abs=1e-300)
    assert (after.low, after.high) == (before.low * scale, before.high * scale)


@given(VALUES)
def test_signs_mirror(values: list[float]) -> None:
    up, down = median(values), median([-value for value in values])
    assert (down.median, down.low, down.high) == (-up.median, -up.high, -up.low)


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.gauss(0, 1),
        lambda rng: rng.expovariate(1) - 0.6931471805599453,  # its median is ln 2
        lambda rng: rng.gauss(0, 1) / (rng.random() + 1e-9),  # outliers without a mean
    ],
    ids=["normal", "exponential", "heavy tails"],
)
@pytest.mark.parametrize("n", [5, 8, 20])
def test_true_coverage(n: int, draw: Callable[[random.Random], float]) -> None:
    rng = random.Random(n)
    trials = 4000
    intervals = [median([draw(rng) for _ in range(n)]) for _ in range(trials)]
    held = sum(found.low <= 0 <= found.high for found in intervals) / trials
    # 0.013 is 3.4 standard deviations where the coverage is 93.75 %, more elsewhere.
    assert held == pytest.approx(intervals[0].confidence, abs=0.013)


def test_why_not_the_bootstrap() -> None:
    """Its percentile interval holds the median of seven values far less often than it says."""
    rng = random.Random(1)
    held = 0
    for _ in range(600):
        values = [rng.gauss(0, 1) for _ in range(7)]
        medians = sorted(sorted(rng.choices(values, k=7))[3] for _ in range(400))
        held += medians[10] <= 0 <= medians[389]
    assert held / 600 < 0.92


def test_pairs_cancel_a_drift_that_swamps_the_difference() -> None:
    idle = [100.0 * 1.3**i for i in range(12)]
    loaded = [value * 0.8 for value in idle]
    assert paired_ratio(loaded, idle).median == pytest.approx(0.8)
    assert paired_ratio(loaded, idle).high < 0.81
    shifted = [value + 5 for value in idle]
    assert paired_difference(shifted, idle).low == pytest.approx(5)


@pytest.mark.parametrize(
    ("values", "bases", "why"),
    [
        ([], [], "no values"),
        ([1.0], [0.0], "base is zero"),
        ([1.0, 2.0], [1.0], "shorter"),
        ([1e308], [1e-308], "not finite"),
    ],
)
def test_what_means_nothing_is_refused(values: list[float], bases: list[float], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        paired_ratio(values, bases)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_value_must_be_finite(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        median([1.0, bad])
