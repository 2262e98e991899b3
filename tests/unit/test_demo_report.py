"""What the demo says of its figures: the table, the sentence, the document."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from nettax.experiment.demo import FLOWS, MEASURES, Demo, DemoCondition, DemoRun
from nettax.experiment.environment import Environment
from nettax.experiment.estimate import Estimate, median
from nettax.ledger import Toll, TollPoint
from nettax.report.demo import SHARES, document, sentence, text


def run(condition: str, number: int, **shares: float | None) -> DemoRun:
    """One window; what is not given is nothing."""
    values: dict[str, float | None] = {**dict.fromkeys(MEASURES, 0.0), **shares}
    return DemoRun(condition=condition, round=number, **values)  # type: ignore[arg-type]


# Three rounds; the middle one has the median of every figure.
RUNS = tuple(
    one
    for number, shift in enumerate((-0.01, 0.0, 0.01))
    for one in (
        run("idle", number, billed=0.999, own=0.998, ns_per_packet=None),
        run("light", number, billed=0.99, own=0.9, stolen=0.1 + shift, loss=0.15 + shift),
        run(
            "heavy",
            number,
            billed=0.99 + shift / 10,
            own=0.5,
            stolen=0.412 + shift,
            toll=0.083,
            loss=0.497 + shift,
            residual=0.002 + shift,
            residual_without_toll=0.085 + shift,
            booked_residual=0.00004,
            packets_per_s=345_678.0,
            ns_per_packet=1_234.4,
            interrupts_per_s=28_765.0,
        ),
        run(
            "ksoftirqd",
            number,
            billed=0.6,
            own=0.35,
            stolen=0.2,
            displaced=0.376 + shift,
            waited=0.01,
            loss=0.641,
        ),
    )
)


def condition(name: str) -> DemoCondition:
    mine = [one for one in RUNS if one.condition == name]

    def estimate(measure: str) -> Estimate | None:
        values = [value for one in mine if (value := getattr(one, measure)) is not None]
        return median(values) if values else None

    return DemoCondition(name, {measure: estimate(measure) for measure in MEASURES})


DEMO = Demo(
    conditions=tuple(map(condition, FLOWS)),
    runs=RUNS,
    seed=42,
    window_s=1.0,
    victim_cpu=3,
    sender_cpu=2,
    toll=Toll((TollPoint(3_000, 1_000, 900, 1_100),), 250.0),
    environment=Environment(
        nettax="0.1.0",
        date="2026-01-01T00:00:00Z",
        kernel="6.1.0",
        machine="x86_64",
        cpu_model="a CPU",
        online_cpus="0-3",
        hypervisor=None,
        accounting="tick",
        clocksource="tsc",
        tick_hz=250,
        governors=(),
    ),
)


def test_the_sentence() -> None:
    assert " ".join(sentence(DEMO).split()) == (
        "Under the heavy flow the kernel billed the canary 99.0 % of the CPU; by its own clock it "
        "lost 49.7 %. Packets took 41.2 % in interrupts and softirqs, and entering and leaving "
        "the interrupts about 8.3 %. With dearer packets it lost 64.1 %, 37.6 % of the time "
        "waiting while ksoftirqd had the CPU."
    )
    assert all(len(line) <= 100 for line in sentence(DEMO).splitlines())


def test_the_text_ends_with_the_sentence() -> None:
    assert text(DEMO).endswith("\n\n" + sentence(DEMO))
    assert "A canary on CPU 3, packets sent from CPU 2;" in text(DEMO)
    assert "median of 3 interleaved runs of 1 s" in text(DEMO)


def cells(line: str) -> list[str]:
    """The cells of a table's line; an interval is one of them with its median."""
    return re.split(r"\s+(?![^\[]*\])(?!\[)", line)


def test_the_shares() -> None:
    head, *rows = text(DEMO).split("\n\n")[1].splitlines()
    by_name = {row.split()[0]: row for row in rows}
    assert list(by_name) == list(FLOWS)
    assert head.split() == ["condition", *SHARES, "residual", "without", "toll"]
    assert cells(by_name["heavy"]) == [
        *("heavy", "99.0", "50.0", "41.2", "0.0", "0.0", "8.3", "49.7"),
        "+0.2 [-0.8, +1.2]",
        "+8.5 [+7.5, +9.5]",
    ]
    shares = ["99.9", "99.8", *["0.0"] * 5]
    assert cells(by_name["idle"])[:8] == ["idle", *shares]


def test_the_rates() -> None:
    head, *rows = text(DEMO).split("\n\n")[3].splitlines()
    by_name = {row.split()[0]: row.split()[1:] for row in rows}
    assert re.split(r"\s{2,}", head) == ["condition", "sent/s", "ns/packet", "irq/s", "unbooked %"]
    assert by_name["heavy"] == ["346k", "1234", "28.8k", "0.004"]
    assert by_name["idle"] == ["0", "·", "0", "0.000"]  # no packets, so none has a cost


def test_the_document() -> None:
    found = json.loads(json.dumps(document(DEMO)))
    assert found["schema"] == "nettax.demo/1"
    assert [one["name"] for one in found["conditions"]] == list(FLOWS)
    for one in found["conditions"]:
        for share in ("billed", "own", "stolen", "displaced", "toll", "loss", "residual"):
            assert {"median", "low", "high"} <= one[share].keys()
            assert one[share]["low"] <= one[share]["median"] <= one[share]["high"]
    (heavy,) = (one for one in found["conditions"] if one["name"] == "heavy")
    assert heavy["loss"] == pytest.approx(
        {"median": 0.497, "low": 0.487, "high": 0.507, "n": 3, "confidence": 0.75}
    )
    (idle,) = (one for one in found["conditions"] if one["name"] == "idle")
    assert idle["ns_per_packet"] is None


def test_the_document_holds_every_run() -> None:
    """Enough to work out the estimates again, and to repeat the order."""
    found = json.loads(json.dumps(document(DEMO)))
    assert len(found["runs"]) == 12
    for one in found["conditions"]:
        runs = [row for row in found["runs"] if row["condition"] == one["name"]]
        assert sorted(row["round"] for row in runs) == [0, 1, 2]
        assert median([row["loss"] for row in runs]).median == one["loss"]["median"]
    assert found["seed"] == 42
    assert (found["victim_cpu"], found["sender_cpu"], found["window_s"]) == (3, 2, 1.0)
    assert found["toll"]["points"] == [
        {"rate": 3_000, "ns": 1_000, "low": 900, "high": 1_100},
    ]
    assert found["environment"]["kernel"] == "6.1.0"


def test_a_condition_is_found_by_name() -> None:
    stolen = DEMO["heavy"]["stolen"]
    assert stolen is not None
    assert stolen.median == 0.412


def test_negative_residuals_keep_their_sign() -> None:
    negative = replace(
        DEMO.conditions[2],
        measures={**DEMO["heavy"], "residual": Estimate(-0.034, -0.041, -0.001, 3, 0.75)},
    )
    shown = text(replace(DEMO, conditions=(*DEMO.conditions[:2], negative, DEMO.conditions[3])))
    assert "-3.4 [-4.1, -0.1]" in shown
