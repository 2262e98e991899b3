"""The founding experiment: what it must show on any machine, and its closure."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from nettax.experiment.calibration import calibrate
from nettax.experiment.demo import Demo, demo
from nettax.experiment.estimate import Estimate
from nettax.ledger import Toll, TollPoint
from nettax.report.demo import document, sentence, text

POINTS_3 = 0.03


def middle(measures: Mapping[str, Estimate | None], name: str) -> float:
    estimate = measures[name]
    assert estimate is not None
    return estimate.median


def check_conservation(result: Demo) -> None:
    for run in result.runs:
        assert abs(run.booked_residual) <= 0.005, run


def test_regimes() -> None:
    """Short windows and a made-up toll: the regimes and the books, not the closure."""
    toll = Toll((TollPoint(10_000, 10_000, 5_000, 15_000),), 300)
    result = demo(toll, rounds=1, window_s=0.4, seed=7)
    check_conservation(result)
    assert [c.name for c in result.conditions] == ["idle", "light", "heavy", "ksoftirqd"]
    heavy, handoff = result["heavy"], result["ksoftirqd"]
    assert middle(heavy, "own") < middle(heavy, "billed") - 0.2
    assert middle(heavy, "stolen") > 0.2
    assert middle(handoff, "displaced") > 0.2
    assert middle(handoff, "billed") < 0.8
    assert result.seed == 7
    assert len(document(result)["runs"]) == 4
    assert sentence(result) in text(result)


@pytest.mark.full
@pytest.mark.timeout(300)
def test_closure() -> None:
    """Ledger and canary agree on what was taken, with a toll calibrated beforehand."""
    result = demo(calibrate().kept(), rounds=7)
    check_conservation(result)
    for condition in result.conditions:
        assert abs(middle(condition.measures, "residual")) <= POINTS_3, text(result)
    assert middle(result["heavy"], "loss") >= 0.60
    assert middle(result["heavy"], "billed") >= 0.90
    assert middle(result["ksoftirqd"], "displaced") >= 0.20
