"""Chrome traces of recordings: their slices come to what the ledger says, whoever adds up."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.speedscope import Viewer
from tests.unit.test_timeline import IRQ, IRQ_OFF, NESTED, SOFT, SOFT_OFF, Made
from tests.unit.trace_sums import counted, of_ledger, of_trace, traced

from nettax.events.model import Flag, Kind, Recording
from nettax.events.sniff import open_recording
from nettax.report import chrome_trace

FIXTURES = Path(__file__).parents[1] / "fixtures/events"
SWITCHED = ("perf_plain.data", "v6.dat")


@pytest.fixture
def fixture(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Recording]:
    path = tmp_path / request.param
    path.write_bytes(gzip.decompress((FIXTURES / f"{request.param}.gz").read_bytes()))
    with open_recording(path) as recording:
        yield recording


@pytest.mark.parametrize("fixture", SWITCHED, indirect=True)
def test_slices_come_to_the_ledger(fixture: Recording, tmp_path: Path) -> None:
    events, accounts = traced(fixture, tmp_path / "trace.json")
    of_ledger(of_trace(events), accounts)
    counted(events, accounts)


CUT = [
    (1000, 0, Kind.BEGIN, 0, 5, 0),
    (1000, 1, Kind.BEGIN, 0, 6, 0),
    *((time + 1000, *rest) for time, *rest in NESTED),
    (11_500, 0, SOFT, 3, 7, Flag.IRQ_EXIT),
    (11_700, 0, IRQ, 9, 7, 0),
    (11_800, 0, IRQ_OFF, 9, 7, 0),
    (11_900, 0, IRQ, 8, 7, 0),
    (12_000, 0, Kind.END, 0, 7, 0),
    (12_000, 1, SOFT, 1, 6, 0),
    (12_100, 1, IRQ, 8, 6, 0),
    (12_200, 1, IRQ_OFF, 8, 6, 0),
    (12_300, 1, SOFT_OFF, 1, 6, 0),
    (12_400, 1, Kind.SWITCH, 9, 6, 0),
    (12_500, 1, Kind.END, 0, 9, 0),
]


@pytest.mark.parametrize("length", [1, 4, 100])
def test_what_is_under_way_at_the_end_is_a_slice_too(length: int, tmp_path: Path) -> None:
    events, accounts = traced(Made(CUT, length), tmp_path / "trace.json")
    of_ledger(of_trace(events), accounts)
    ended = [e["name"] for e in events if e["ph"] == "E" and (e["pid"], e["ts"]) == (0, 11.0)]
    assert sorted(ended) == ["IRQ 8", "NET_RX", "interrupted", "ksoftirqd/0 7"]


def test_times_are_exact_after_a_year(tmp_path: Path) -> None:
    year = 365 * 86400 * 10**9 + 1
    recording = Made([(year + 3 * time, *rest) for time, *rest in NESTED])
    chrome_trace.write(recording, tmp_path / "t")
    document = json.loads((tmp_path / "t").read_text())
    assert int(document["otherData"]["zero_ns"]) == year + 3000
    starts = [round(1000 * e["ts"]) for e in document["traceEvents"] if e["ph"] == "B"]
    assert 3 * 2200 - 3000 in starts


def test_names_may_be_anything(tmp_path: Path) -> None:
    recording = Made([(time + 1, *rest) for time, *rest in NESTED])
    recording.tables.irqs[9] = 'a"b\\\n\x1b\udcff</script>'
    chrome_trace.write(recording, tmp_path / "t")
    names = {e["name"] for e in json.loads((tmp_path / "t").read_text())["traceEvents"]}
    assert recording.tables.irqs[9] in names


def test_no_events_are_a_trace_too(tmp_path: Path) -> None:
    chrome_trace.write(Made([]), tmp_path / "t")
    assert json.loads((tmp_path / "t").read_text())["traceEvents"] == []


@pytest.mark.full
def test_a_real_viewer_understands_the_same(tmp_path: Path) -> None:
    """speedscope, in a browser: its tracks and their self times are ours, and the ledger's."""
    with Viewer() as viewer:
        for name in SWITCHED:
            path = tmp_path / name
            path.write_bytes(gzip.decompress((FIXTURES / f"{name}.gz").read_bytes()))
            trace = tmp_path / f"{name}.json"
            with open_recording(path) as recording:
                events, accounts = traced(recording, trace)
            seen = viewer.self_times(trace)
            assert seen == of_trace(events)
            of_ledger(seen, accounts)
        trace = tmp_path / "made.json"
        events, accounts = traced(Made(CUT), trace)
        of_ledger(viewer.self_times(trace), accounts)
