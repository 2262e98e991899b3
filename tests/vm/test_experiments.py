"""`nettax run`: each experiment of the lab, whole, by what is known of it beforehand."""

from __future__ import annotations

from typing import Any

import pytest

from nettax.experiment.runs import run
from nettax.report.run import document, text

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]


def outcome(name: str) -> tuple[str, Any]:
    """What is printed, and what it was made from."""
    seen = run(name, smoke=True)
    said = text(name, seen)
    print(said)
    return " ".join(said.split()), document(name, seen, True)["raw"]


def test_bound_items_wait() -> None:
    """Linux 6.1 begins no item on a CPU where one runs; an unbound queue begins them all."""
    said, raw = outcome("bound-vs-unbound")
    bound, unbound = raw["runs"].values()
    assert raw["cpus"] == 2
    assert len(bound["answered_ns"]) == 0
    assert [bool(echoes) for echoes in bound["echoes"]] == [True, False, False, False]
    assert {item.get("began_on", 0) for item in bound["items"]} == {0}
    assert len(unbound["answered_ns"]) == len(unbound["items"]) - 4 == 20
    assert all(unbound["echoes"])
    assert {item["began_on"] for item in unbound["items"]} == {0, 1}
    assert "20 of 20 were not begun at all" in said


def test_who_is_answered() -> None:
    """A queue has 256 items at a time; and the report says that it is that."""
    said, raw = outcome("echo-burst")
    assert raw["held"] == {"kthread": 400, "workqueue": 256}
    assert "not all were answered: 256 (workqueue). That is max_active" in said
    for found in raw["bursts"].values():
        assert [seen["answered"] for seen in found] == [1, 100]


def test_tracers_count() -> None:
    """Each of them sees every call."""
    said, raw = outcome("function-cost")
    for each in raw["tracers"]:
        assert each["calls"] in (None, each["expected"])
    assert raw["lost"] == 0
    assert "Each tracer counted the calls that were made." in said


def test_threads_are_followed() -> None:
    """Each that was made, by the chain of events and by the function that makes them alike."""
    said, raw = outcome("kthread-cost")
    assert all(
        native["asked to had"]["count"] + raw["doubts"]["abandoned"] >= raw["made"][name]
        for name, native in raw["native"].items()
    )
    for seen in raw["lab"].values():
        chain, function = seen["chain"], seen["function"]
        counts = [times["count"] for times in (*chain.values(), *function.values())]
        assert counts == [seen["made"]] * 8
        parts = sum(times["mean_ns"] for name, times in chain.items() if name != "asked to had")
        assert parts == pytest.approx(chain["asked to had"]["mean_ns"], rel=1e-9)
        alone = function["running"]["mean_ns"] + function["waiting"]["mean_ns"]
        assert alone == pytest.approx(function["call"]["mean_ns"], rel=1e-9)
        assert chain["asked to had"]["mean_ns"] < function["call"]["mean_ns"]
    assert "In the lab a thread takes" in said
