"""What bursts add up to, how sure that is, and the lines made of it."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettax.canary.paced import BURST_NS, Paced, PacedInterval, PacedReading
from nettax.errors import UsageError
from nettax.experiment.score import SURE, Line
from nettax.report.fields import TABLES
from nettax.report.score import document, lines_text, total_text

START = PacedReading(
    cpu=1,
    tid=7,
    stamp_ns=1_000,
    cycles=50_000,
    bursts=0,
    taken_cycles=0,
    late_ns=0,
    square=0.0,
    cpu_ns=0,
)


def bursts(shares: list[float]) -> PacedInterval:
    """The interval of some bursts, each with such a share of its time in gaps."""
    end = replace(
        START,
        stamp_ns=START.stamp_ns + 10**10,
        cycles=START.cycles + 25 * 10**9,  # 2.5 cycles a ns
        bursts=len(shares),
        taken_cycles=round(sum(shares) * BURST_NS * 2.5),
        square=sum(share * share for share in shares),
        late_ns=50_000 * len(shares),
        cpu_ns=BURST_NS * len(shares),
    )
    return end - START


def line(shares: list[float], idle: float | None = None) -> Line:
    return Line(bursts(shares), task=None, wall_ns=10**10, idle=idle, own_cpu_ns=10**7)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=200))
def test_the_mean_and_its_error_are_those_of_the_bursts(shares: list[float]) -> None:
    interval = bursts(shares)
    assert interval.taken == pytest.approx(statistics.mean(shares), abs=1e-6)
    expected = statistics.stdev(shares) / math.sqrt(len(shares))
    assert interval.error == pytest.approx(expected, abs=1e-3)


def test_without_bursts_there_is_no_figure() -> None:
    nothing = START - START
    assert (nothing.taken, nothing.error) == (None, None)
    assert bursts([0.5]).error is None
    silent = Line(nothing, task=None, wall_ns=10**9, idle=0.01, own_cpu_ns=0)
    assert (silent.loss, silent.interval, silent.booked) == (None, None, None)
    assert not silent.above(0)
    assert json.dumps(document([silent], 0.1))
    assert max(map(len, lines_text([silent], 0.1, header=True).splitlines())) <= 80


def test_readings_of_one_canary_in_order() -> None:
    with pytest.raises(UsageError):
        replace(START, tid=8) - START
    with pytest.raises(UsageError):
        START - replace(START, stamp_ns=START.stamp_ns + 1)


def test_a_loss_is_told_beyond_a_quiet_cpus() -> None:
    assert line([0.5, 0.5], idle=None).loss is None
    assert line([0.55, 0.55], idle=0.1).loss == pytest.approx(0.5)


def test_an_alert_needs_the_whole_interval() -> None:
    scattered, steady = line([0.0, 0.4] * 4), line([0.2, 0.21] * 40)
    assert scattered.canary.taken == pytest.approx(0.2)
    assert not scattered.above(0.1)
    assert steady.above(0.1)
    assert not steady.above(0.3)
    assert not line([0.2, 0.21] * 40, idle=0.15).above(0.1)


def test_lines_stand_in_columns_of_80() -> None:
    few, many = line([0.1, 0.2], idle=0.0), line([1.0] * 5000, idle=0.0)
    text = lines_text([few, many], 0.15, header=True).splitlines()
    assert len(text) == 3
    assert max(map(len, text)) <= 80
    assert [row.endswith("!") for row in text] == [False, False, True]
    assert text[1][:8].count(":") == 2
    # Each heading ends where its column does, and a line printed later stands below it.
    assert text[0].index("ledger %") + len("ledger %") == text[1].index("·") + 1
    assert lines_text([few], None, header=False).splitlines()[0][8:] == text[1][8:]


def test_every_column_has_its_meaning() -> None:
    head = lines_text([line([0.1, 0.2])], None, header=True).splitlines()[0]
    names = [field.name for field in TABLES["canary-watch"].fields]
    assert [*head.split(), "!"] == " ".join(names).split()


def test_the_total_tells_what_it_cost() -> None:
    text = total_text([line([0.1] * 100)], None)
    assert "100 ms of CPU (1.00 % of each), nettax itself 10 ms (0.10 %)" in text


def test_the_document_has_what_the_line_has() -> None:
    (cpu,) = document([line([0.1, 0.3] * 50)], 0.05)["cpus"]
    assert cpu["taken"] == pytest.approx(0.2)
    half = SURE * statistics.stdev([0.1, 0.3] * 50) / 10
    assert cpu["interval"] == pytest.approx((0.2 - half, 0.2 + half), abs=1e-6)
    assert cpu["alert"] is True


@pytest.mark.parametrize(("cpus", "share"), [([], 0.01), ([0], 0.0), ([0], 0.51), ([0], math.nan)])
def test_impossible_shares_are_refused(cpus: list[int], share: float) -> None:
    with pytest.raises(UsageError):
        Paced(cpus, share)
