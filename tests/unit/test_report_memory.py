"""Every face of a recording that is larger than the memory that it may have."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.unit.test_record_file import FACTS, with_headers

from nettax.events.model import EVENT, EventArray, Kind
from nettax.events.native_file import Writer

MEMORY = 1 << 30  # bytes of addresses, of which Python, numpy and DuckDB have 300 MB for themselves
GROUPS = 1 << 16
STEP_NS = 4_000

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]


def some_groups(cpu: int) -> EventArray:
    """An interrupt, NET_RX with a poll, and a switch, over and over."""
    steps = [
        (0, Kind.HARDIRQ_ENTRY, 9), (300, Kind.SOFTIRQ_RAISE, 3), (400, Kind.HARDIRQ_EXIT, 9),
        (500, Kind.SOFTIRQ_ENTRY, 3), (1500, Kind.NAPI_POLL, 2), (1600, Kind.SOFTIRQ_EXIT, 3),
        (2000, Kind.SWITCH, 5),
    ]  # fmt: skip
    events = np.zeros((GROUPS, len(steps)), EVENT)
    for i, (later, kind, number) in enumerate(steps):
        events["time_ns"][:, i] = np.arange(1, GROUPS + 1) * STEP_NS + later + cpu
        events["kind"][:, i], events["id"][:, i] = kind, number
    events["cpu"], events["pid"] = cpu, 5
    events["a"][:, 4], events["b"][:, 4] = np.arange(GROUPS) % 65, 64
    return events.reshape(-1)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """A recording on two CPUs, and how many groups it has."""
    path = tmp_path_factory.mktemp("large") / "events"
    rounds = 0
    parts = [(cpu, some_groups(cpu)) for cpu in (0, 1)]
    with Writer(path, FACTS) as out:
        while path.stat().st_size <= MEMORY:
            for cpu, events in parts:
                out.events(cpu, with_headers(events))
                events["time_ns"] += GROUPS * STEP_NS
            rounds += 1
        out.facts({"ended": True})
    yield path, rounds * 2 * GROUPS
    path.unlink()


def within(*arguments: str) -> str:
    """What `nettax report` prints, with no more memory than that."""
    done = subprocess.run(
        [sys.executable, "-m", "nettax", "report", *arguments],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_victims(large: tuple[Path, int]) -> None:
    assert "task" in within("--victims", str(large[0]))


def test_bursts(large: tuple[Path, int]) -> None:
    assert f"of {large[1]} polls" in within("--bursts", str(large[0]))


def test_timeline(large: tuple[Path, int], tmp_path: Path) -> None:
    path, groups = large
    lines = tmp_path / "lines"
    within("--timeline", "-o", str(lines), str(path))
    with lines.open() as file:
        assert sum(1 for _ in file) == groups
    assert len(within("--timeline", "--tail", "7", str(path)).splitlines()) == 7


def test_chrome(large: tuple[Path, int], tmp_path: Path) -> None:
    trace = tmp_path / "trace.json"
    within("--chrome", str(trace), str(large[0]))
    with trace.open() as file:
        assert sum('"ph":"B"' in line and "NET_RX" in line for line in file) == large[1]
    trace.unlink()


def test_parquet(large: tuple[Path, int], tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    table = tmp_path / "events.parquet"
    within("--parquet", str(table), str(large[0]))
    polls = duckdb.read_parquet(str(table)).filter("kind = 'NAPI_POLL'")
    assert polls.aggregate("count(*)").fetchone() == (large[1],)
    assert [path.name for path in tmp_path.iterdir()] == [table.name]  # nothing is left behind
