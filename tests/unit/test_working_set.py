"""The parts of a working set's loss, by hand-made speeds; its sizes; what is said of them."""

from __future__ import annotations

import json
from dataclasses import replace

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettax.canary.working_set import Parts, Speed, WorkingSet, parts
from nettax.cli.canary import share, sizes
from nettax.errors import UsageError
from nettax.experiment.environment import Environment
from nettax.experiment.estimate import median
from nettax.experiment.working_set import Experiment, Round, SizeResult
from nettax.report.fields import TABLES
from nettax.report.working_set import experiment_document, experiment_text, size_text

SHARES = st.floats(0, 0.99)


@given(taken=SHARES, slowed=SHARES, idle_taken=st.floats(0, 0.5))
def test_the_parts_are_what_was_done_and_make_up_the_loss(
    taken: float, slowed: float, idle_taken: float
) -> None:
    clean = 1e7
    idle = Speed(rate=clean * (1 - idle_taken), clean_rate=clean)
    now = Speed(rate=idle.rate * (1 - taken) * (1 - slowed), clean_rate=clean * (1 - slowed))
    found = parts(now, idle)
    assert found.direct == pytest.approx(taken, abs=1e-9)
    assert found.slower == pytest.approx(slowed, abs=1e-9)
    assert 1 - found.loss == pytest.approx((1 - found.direct) * (1 - found.slower))


def test_nothing_done_is_nothing_lost() -> None:
    assert parts(Speed(9e6, 1e7), Speed(9e6, 1e7)) == Parts(0, 0, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", (0,)),
        ("4096", (4096,)),
        ("64K", (65536,)),
        ("64k, 2M,1G", (65536, 2 << 20, 1 << 30)),
        ("256MiB", (256 << 20,)),
    ],
)
def test_sizes_are_read(text: str, expected: tuple[int, ...]) -> None:
    assert sizes(text) == expected


@pytest.mark.parametrize("text", ["", "K", "-1", "1.5M", "1T", "2X", "0x10", "9" * 16, "64K,", "٣"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        sizes(text)


@given(st.integers(0, 2**40))
def test_a_size_that_is_told_is_read_again(size: int) -> None:
    assert sizes(size_text(size)) == (size,)


@pytest.mark.parametrize(("text", "expected"), [("5%", 0.05), ("0.05", 0.05), ("100%", 1.0)])
def test_shares_are_read(text: str, expected: float) -> None:
    assert share(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "%", "nan", "-1%", "101%", "5", "inf"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        share(text)


@pytest.mark.parametrize("size", [1, 4095, (256 << 30) + 1])
def test_impossible_sizes_are_refused(size: int) -> None:
    with pytest.raises(UsageError):
        WorkingSet(0, size)


def one_round(indirect: float) -> Round:
    return Round(
        loss=0.5,
        direct=0.4,
        ledger=0.39,
        apart=0.01,
        shared=0.02,
        indirect=indirect,
        more=0.6 * 0.98 * indirect,
        control_direct=0.001,
        indirect_ns_per_interrupt=30_000 * indirect,
        interrupts_per_s=20_000.0,
        packets_per_s=100_000.0,
        control_packets_per_s=99_950.0,
    )


def result(size: int, indirect: float) -> SizeResult:
    rounds = tuple(one_round(indirect + step / 100) for step in range(-3, 4))
    return SizeResult(
        size=size,
        huge_bytes=0,
        turn_ns=median([98.0]),
        measures={name: median([getattr(r, name) for r in rounds]) for name in Round.__slots__},
        rounds=rounds,
    )


EXPERIMENT = Experiment(
    sizes=(result(0, 0.0), result(256 << 20, 0.1)),
    pps=100_000,
    window_s=0.25,
    seed=1,
    victim_cpu=1,
    sender_cpu=0,
    huge_pages=False,
    toll=None,
    environment=Environment(
        *("0", "2026-01-01T00:00:00Z", "6.1", "x86_64", "CPU", "0-1", None, "tick", "tsc"),
        tick_hz=250,
        governors=(),
    ),
)


def test_the_text_tells_which_size_lost_more_than_time() -> None:
    text = experiment_text(EXPERIMENT)
    assert max(map(len, text.splitlines())) <= 80
    assert "+10.0 [+7.0, +13.0]" in text
    assert "0: no indirect cost shows: 0.0 [-1.8, 1.8] % of its speed." in text
    assert "256M: beside the time taken, 5.9 [4.1, 7.6] % of its speed went to cold caches." in text
    assert "not calibrated" in text


def test_a_few_rounds_prove_nothing() -> None:
    rounds = EXPERIMENT.sizes[1].rounds[:3]
    measures = {name: median([getattr(r, name) for r in rounds]) for name in Round.__slots__}
    few = replace(EXPERIMENT.sizes[1], rounds=rounds, measures=measures)
    assert measures["more"].low > 0
    assert "256M: too few rounds" in experiment_text(replace(EXPERIMENT, sizes=(few,)))


def test_a_busy_host_is_named() -> None:
    size = EXPERIMENT.sizes[0]
    measures = {**size.measures, "control_direct": median([0.3] * 7)}
    text = experiment_text(replace(EXPERIMENT, sizes=(replace(size, measures=measures),)))
    assert "others took 30 % of its time" in text
    assert "others took" not in experiment_text(EXPERIMENT)


def test_the_text_fits_whatever_the_figures() -> None:
    wide = replace(one_round(-0.999), shared=-0.999, apart=-0.999, indirect_ns_per_interrupt=-1e6)
    measures = {name: median([getattr(wide, name)] * 7) for name in Round.__slots__}
    wide_size = replace(result(1000 << 20, 0), measures=measures)
    text = experiment_text(replace(EXPERIMENT, sizes=(wide_size,)))
    assert max(map(len, text.splitlines())) <= 80


def test_every_column_has_its_meaning() -> None:
    names = [field.name for field in TABLES["working-set"].fields]
    lines = [" ".join(line.split()) for line in experiment_text(EXPERIMENT).splitlines()]
    assert " ".join(names[:6]) in lines
    assert " ".join([names[0], *names[6:]]) in lines


def test_the_document_has_every_round() -> None:
    found = json.loads(json.dumps(experiment_document(EXPERIMENT)))
    assert found["schema"] == "nettax.working-set/1"
    assert [each["size_bytes"] for each in found["sizes"]] == [0, 256 << 20]
    assert found["sizes"][1]["indirect"]["median"] == pytest.approx(0.1)
    assert len(found["sizes"][1]["rounds"]) == 7
