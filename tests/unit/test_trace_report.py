"""What traces look like: plots, tables, flame graphs, documents."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

from nettax.functions.graph import fold
from nettax.functions.histogram import Histogram
from nettax.functions.latency import Doubts, LatencyReading, Stage
from nettax.report import graph
from nettax.report.trace import Cost, Traced, document, plot, text

TIMES = [1000] * 8 + [2000] * 2 + [70_000]
STAGES = ("forked to run", "forked to woken", "woken to run")


def traced(by: str | None = None) -> Traced:
    whole = Histogram.of(TIMES)
    reading = LatencyReading(
        10**9,
        {Stage("fork", STAGES[0], 7): whole, Stage("fork", STAGES[0], 9): Histogram.of([5])},
        Doubts(abandoned=3),
    )
    costs = {"fork": Cost(100.0, 50.0, 200.0)}
    return Traced(reading, "tests", {"fork": STAGES}, costs, lambda chain, group: f"g{group}", by)


def test_a_plot_has_a_bar_for_each_slot_as_long_as_its_count() -> None:
    lines = plot(Histogram.of(TIMES), width=8).splitlines()
    bars = [line.split("  ")[-1] for line in lines if "·" not in line]
    assert [len(bar) for bar in bars] == [8, 2, 1]
    assert len(lines) <= 24
    assert len(plot(Histogram.of([1, 10**12])).splitlines()) > 24, "no coarser than octaves"


def test_text_and_document_tell_the_same() -> None:
    told = text(traced("pid"), rows=1)
    assert "abandoned 3" in told
    assert "tracing adds 0.10 µs [0.05, 0.20] to each" in told
    assert "g7" in told
    assert "1 more" in told
    found = json.loads(json.dumps(document(traced("pid"))))
    (chain,) = found["chains"]
    assert chain["stages"][0]["count"] == len(TIMES) + 1
    assert [group["name"] for group in chain["groups"]] == ["g7", "g9"]
    assert sum(slot["count"] for slot in chain["stages"][0]["slots"]) == len(TIMES) + 1


def test_noise_is_no_figure() -> None:
    noisy = Traced(**{name: getattr(traced(), name) for name in Traced.__slots__})
    assert isinstance(noisy.costs, dict)
    noisy.costs["fork"] = Cost(100.0, -50.0, 200.0)
    assert "too little to tell from the noise" in text(noisy, rows=3)


def test_a_flame_graph_is_as_wide_as_its_root_and_nests() -> None:
    lines = [
        " 0)   a-1   |               |  f() {",
        " 0)   a-1   |   3.000 us    |    g();",
        " 0)   a-1   |   1.000 us    |    h();",
        " 0)   a-1   |   8.000 us    |  }",
    ]
    tree = fold("f", lines)
    root = ElementTree.fromstring(graph.flame_graph(tree))  # noqa: S314
    space = "{http://www.w3.org/2000/svg}"
    boxes = {
        group.findtext(f"{space}title", "").split(":")[0]: group.find(f"{space}rect")
        for group in root.iter(f"{space}g")
    }
    widths = {name: float(box.get("width", 0)) for name, box in boxes.items() if box is not None}
    assert widths == {"f": 1200.0, "g": 450.0, "h": 150.0}
    shown = graph.text(tree, rows=2)
    assert "and 1 more" in shown
    assert graph.document(tree)["root"]["self_ns"] == 4000
