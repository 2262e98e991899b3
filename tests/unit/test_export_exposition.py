"""Both text formats, read back by the parsers of Prometheus' own client library."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.core import Metric
from prometheus_client.openmetrics import parser
from prometheus_client.parser import text_string_to_metric_families as plain

from nettax.export.exposition import Exposition, Family, Sample, label, wants_openmetrics

COUNTER = Family(
    "nettax_cpu_seconds",
    "counter",
    "Where time went.",
    [("_total", 'cpu="0",account="own"', 0.25), ("_total", 'cpu="1"', 3.0)],
)
HISTOGRAM = Family(
    "nettax_run_seconds",
    "histogram",
    "Run times.",
    [
        ("_bucket", 'le="1.024e-06"', 2),
        ("_bucket", 'le="+Inf"', 5),
        ("_count", "", 5),
        ("_sum", "", 0.5),
    ],
)
INFO = Family("nettax_build", "info", "What runs.", [("_info", 'version="1"', 1)])
GAUGE = Family("nettax_residual_seconds", "gauge", "Signed.", [("", 'cpu="0"', -1e-09)])


def openmetrics(text: str) -> list[Metric]:
    parse: Any = parser.text_string_to_metric_families
    return list(parse(text))


def samples(metrics: Iterable[Metric]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for metric in metrics
        for sample in metric.samples
    }


def render(*families: Family) -> tuple[str, str]:
    first, second = Exposition().render(families)
    return first.decode(), second.decode()


def test_the_parsers_read_what_was_written() -> None:
    text, other = render(COUNTER, HISTOGRAM, INFO, GAUGE)
    found = samples(openmetrics(other))
    assert found == samples(plain(text))
    assert found["nettax_cpu_seconds_total", frozenset({("cpu", "0"), ("account", "own")})] == 0.25
    assert found["nettax_residual_seconds", frozenset({("cpu", "0")})] == -1e-09
    assert len(found) == 8


def test_types_units_and_help() -> None:
    counter, histogram, info, gauge = openmetrics(render(COUNTER, HISTOGRAM, INFO, GAUGE)[1])
    assert (counter.type, counter.unit, counter.documentation) == (
        "counter",
        "seconds",
        "Where time went.",
    )
    assert (histogram.type, info.type, gauge.type) == ("histogram", "info", "gauge")
    assert "# TYPE nettax_cpu_seconds_total counter\n" in render(COUNTER)[0]
    assert "# TYPE nettax_build_info gauge\n" in render(INFO)[0]
    assert "# UNIT" not in render(COUNTER)[0]


@settings(deadline=None)
@given(st.text(max_size=20), st.text(max_size=20))
def test_labels_that_their_owners_chose(first: str, second: str) -> None:
    """Quotes, line ends, lone surrogates of undecodable names: all come through as text."""
    labels = f"{label('name', first)},{label('comm', second)}"
    text, other = render(Family("nettax_x", "gauge", "X.", [("", labels, 1)]))
    (found,) = samples(openmetrics(other))
    assert dict(found[1]) == {
        key: value.encode(errors="backslashreplace").decode()
        for key, value in (("name", first), ("comm", second))
    }
    assert text.splitlines()[-1] in other


def counter_of(value: float, *, type_: str = "counter") -> Family:
    sample: Sample = ("_total" if type_ == "counter" else "", "", value)
    return Family("nettax_x", type_, "X.", [sample])


def test_counters_never_fall() -> None:
    exposition = Exposition()
    seen = [
        next(iter(samples(plain(exposition.render([counter_of(value)])[0].decode())).values()))
        for value in (1.0, 3.0, 2.5, 2.75, 4.0)
    ]
    assert seen == [1.0, 3.0, 3.0, 3.0, 4.0]


def test_gauges_may_fall() -> None:
    exposition = Exposition()
    for value in (1.0, -2.0):
        text = exposition.render([counter_of(value, type_="gauge")])[0].decode()
        assert text.splitlines()[-1] == f"nettax_x {value}"


def test_a_series_that_left_begins_anew() -> None:
    exposition = Exposition()
    exposition.render([counter_of(5.0)])
    exposition.render([])
    assert exposition.render([counter_of(1.0)])[0].endswith(b"nettax_x_total 1.0\n")


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5", True),
        ("text/plain;q=0.9,application/openmetrics-text;q=0.3", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=much", False),
        ("application/openmetrics-text;version=9.9.9", False),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
            "application/openmetrics-text;version=0.0.1;q=0.5,"
            "text/plain;version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            True,
        ),
    ],
)
def test_what_a_client_wants(accept: str, wanted: bool) -> None:
    assert wants_openmetrics(accept) is wanted
