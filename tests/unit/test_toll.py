"""The toll: interpolated over the rate's logarithm, charged by number, kept for one host only."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettax.errors import NettaxError
from nettax.host import state
from nettax.ledger import Toll, TollPoint, TollShare

TOLL = Toll(
    points=(
        TollPoint(1_000, 3_000.0, 2_000.0, 5_000.0),
        TollPoint(100_000, 1_000.0, 900.0, 1_100.0),
        TollPoint(200_000, 800.0, 700.0, 900.0),
    ),
    own_ns=250.0,
)

costs = st.floats(1, 1e5)
tolls = st.lists(
    st.tuples(st.floats(1, 1e6), costs, costs, costs),
    min_size=1,
    max_size=5,
    unique_by=lambda point: point[0],
).map(lambda rows: Toll(tuple(TollPoint(*row) for row in sorted(rows)), 0.0))
rates = st.floats(0, 1e7)


def figures(point: TollPoint) -> tuple[float, float, float]:
    return point.ns, point.low, point.high


@given(tolls)
def test_a_measured_rate_has_the_measured_cost(toll: Toll) -> None:
    for point in toll.points:
        assert figures(toll.at(point.rate)) == pytest.approx(figures(point))


@given(tolls, rates)
def test_beyond_the_ends_the_cost_is_the_ends(toll: Toll, rate: float) -> None:
    first, last = toll.points[0], toll.points[-1]
    assert figures(toll.at(min(rate, first.rate))) == figures(first)
    assert figures(toll.at(max(rate, last.rate))) == pytest.approx(figures(last))
    assert toll.at(rate).rate == rate


@given(tolls, rates, rates)
def test_between_two_points_it_goes_straight_from_one_to_the_other(
    toll: Toll, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    for a, b in zip(toll.points, toll.points[1:], strict=False):
        if a.rate <= low <= high <= b.rate:
            least, most = sorted((a.ns, b.ns))
            ends = toll.at(low).ns, toll.at(high).ns
            slack = 1e-9 * most
            assert all(least - slack <= ns <= most + slack for ns in ends)
            assert (ends[1] - ends[0]) * (b.ns - a.ns) >= -slack * most


def test_the_middle_of_two_rates_is_their_geometric_mean() -> None:
    assert figures(TOLL.at(10_000)) == pytest.approx((2_000, 1_450, 3_050))


def test_charge_is_number_times_cost() -> None:
    # 20,000 in 0.2 s are 100,000 a second.
    assert TOLL.charge(20_000, 200_000_000) == TollShare(20_000_000, 18_000_000, 22_000_000)


def test_a_task_is_charged_for_its_own_at_its_cpus_rate() -> None:
    assert TOLL.charge(20_000, 200_000_000, of=5) == TollShare(5_000, 4_500, 5_500)
    assert TOLL.charge(20_000, 200_000_000, of=0) == TollShare(0, 0, 0)


def test_nothing_is_charged_for_no_interrupts_and_no_time() -> None:
    assert TOLL.charge(0, 10**9) == TollShare(0, 0, 0)
    assert TOLL.charge(0, 0) == TollShare(0, 0, 0)  # a CPU that was offline throughout


@given(tolls, st.integers(1, 10**6), st.integers(1, 10**6))
def test_the_charges_of_all_tasks_are_the_charge_of_the_cpu(
    toll: Toll, mine: int, others: int
) -> None:
    whole = toll.charge(mine + others, 10**9)
    parts = [toll.charge(mine + others, 10**9, of=number) for number in (mine, others)]
    assert sum(part.estimate for part in parts) == pytest.approx(whole.estimate, abs=1)


# --- kept ----------------------------------------------------------------------------------------


@pytest.fixture
def kept_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where an ordinary user's calibration is kept."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(state, "ROOT", tmp_path / "nothing")
    return tmp_path / "nettax/toll.json"


def test_it_comes_back_as_it_was(kept_at: Path) -> None:
    assert Toll.load() is None
    assert TOLL.save() == kept_at
    assert Toll.load() == TOLL
    assert [path.name for path in kept_at.parent.iterdir()] == ["toll.json"]
    later = Toll(TOLL.points[:1], 1.5)
    later.save()
    assert Toll.load() == later


@pytest.mark.parametrize("field", [0, 1, 2], ids=["machine", "kernel", "version"])
def test_it_is_of_one_machine_kernel_and_version(kept_at: Path, field: int) -> None:
    TOLL.save()
    document = json.loads(kept_at.read_text())
    document["of"][field] += "x"
    kept_at.write_text(json.dumps(document))
    assert Toll.load() is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"of": 1}', "\xff"])
def test_a_file_that_is_no_calibration_is_none(kept_at: Path, text: str) -> None:
    kept_at.parent.mkdir()
    kept_at.write_text(text, encoding="latin-1")
    assert Toll.load() is None


def test_nowhere_to_keep_it(kept_at: Path) -> None:
    kept_at.parent.write_text("a file where the directory would be")
    with pytest.raises(NettaxError, match=f"cannot keep toll in {kept_at}: "):
        TOLL.save()


def test_without_xdg_state_home_it_is_kept_below_home(
    kept_at: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert TOLL.save() == tmp_path / "home/.local/state/nettax/toll.json"
    assert Toll.load() == TOLL


def test_a_user_without_one_has_roots(kept_at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "ROOT", kept_at.parent / "shared")
    with monkeypatch.context() as as_root:
        as_root.setattr(os, "geteuid", lambda: 0)
        assert TOLL.save() == kept_at.parent / "shared/toll.json"
    assert not kept_at.exists()
    assert Toll.load() == TOLL


def test_one_that_does_not_fit_does_not_hide_roots(
    kept_at: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "ROOT", kept_at.parent / "shared")
    with monkeypatch.context() as as_root:
        as_root.setattr(os, "geteuid", lambda: 0)
        TOLL.save()
    Toll(TOLL.points[:1], 1.5).save()
    document = json.loads(kept_at.read_text())
    document["of"][1] += "x"
    kept_at.write_text(json.dumps(document))
    assert Toll.load() == TOLL


def test_a_home_that_nobody_may_enter(kept_at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As nobody's where HOME is still /root: root's calibration is found all the same."""
    monkeypatch.setattr(state, "ROOT", kept_at.parent / "shared")
    with monkeypatch.context() as as_root:
        as_root.setattr(os, "geteuid", lambda: 0)
        TOLL.save()
    real = os.stat

    def refused(path: Any, *words: Any, **more: Any) -> os.stat_result:
        if str(path) == str(kept_at):
            raise PermissionError(13, "Permission denied")
        return real(path, *words, **more)

    monkeypatch.setattr(os, "stat", refused)  # root may read everything
    assert Toll.load() == TOLL
