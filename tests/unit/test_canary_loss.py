"""Both engines tell the same loss of the same theft."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettax.canary import CanaryInterval, GapHistogram, loss
from nettax.canary.canary import Engine
from nettax.canary.histogram import BUCKETS
from nettax.errors import UsageError

WALL_NS = 10**12
SPEED = 10**6  # steps per ms, outside gaps


def window(engine: Engine, taken: float, hypervisor: float, pid: int = 7) -> CanaryInterval:
    """What a canary sees when shares of the wall time, then of what is left, are taken."""
    kept = (1 - hypervisor) * (1 - taken)
    return CanaryInterval(
        pid=pid,
        engine=engine,
        start_ns=0,
        end_ns=WALL_NS,
        iterations=round(kept * WALL_NS * SPEED / 1e6),
        gaps=0,
        gap_ns=round((1 - kept) * WALL_NS),
        gap_histogram=GapHistogram((0,) * BUCKETS),
        user_ns=0,
        system_ns=0,
        cpu_ns=0,
        run_delay_ns=0,
    )


@pytest.mark.parametrize("engine", ["chain", "gap"])
@given(taken=st.floats(0, 1), hypervisor=st.floats(0, 0.5))
def test_the_loss_is_the_share_taken(engine: Engine, taken: float, hypervisor: float) -> None:
    idle = window(engine, 0, hypervisor)
    assert loss(window(engine, taken, hypervisor), idle, idle).value == pytest.approx(
        taken, abs=1e-9
    )


def test_the_difference_of_gap_shares_would_be_too_small() -> None:
    idle = window("gap", 0, 0.1)
    busy = window("gap", 0.5, 0.1)
    assert busy.gap_share - idle.gap_share == pytest.approx(0.45)
    assert loss(busy, idle, idle).value == pytest.approx(0.5)
    assert loss(busy, idle, idle).baseline == pytest.approx(0.1)


@pytest.mark.parametrize("engine", ["chain", "gap"])
def test_a_linear_drift_cancels(engine: Engine) -> None:
    before, during, after = (window(engine, 0, share) for share in (0.10, 0.15, 0.20))
    found = loss(during, before, after)
    assert found.value == pytest.approx(0)
    assert found.drift == pytest.approx(0.10 / 0.85)


def test_the_chain_tells_its_undisturbed_rate() -> None:
    idle = window("chain", 0, 0)
    assert loss(window("chain", 0.25, 0), idle, idle).baseline == idle.rate


def test_a_canary_is_compared_with_itself() -> None:
    mine, other = window("chain", 0, 0), window("chain", 0, 0, pid=8)
    with pytest.raises(UsageError):
        loss(mine, mine, other)
    with pytest.raises(UsageError):
        loss(mine, window("gap", 0, 0), mine)
