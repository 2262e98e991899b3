"""Recordings as Parquet tables, read back by others."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from nettax.errors import NettaxError
from nettax.events.model import Flag, Kind
from nettax.events.sniff import open_recording
from nettax.report import parquet
from nettax.report.fields import TABLES

FIXTURES = Path(__file__).parents[1] / "fixtures/events"
NUMBERS = ("time_ns", "cpu", "pid", "id", "a", "b", "c", "value")

duckdb = pytest.importorskip("duckdb")


@pytest.fixture
def table(tmp_path: Path) -> tuple[Path, list[dict[str, object]]]:
    """A table of perf's recording, and its events."""
    path = tmp_path / "perf.data"
    path.write_bytes(gzip.decompress((FIXTURES / "perf_plain.data.gz").read_bytes()))
    made = tmp_path / "it's.parquet"
    with open_recording(path) as recording:
        count = parquet.write(recording, made)
        events = np.concatenate(list(recording.chunks()))
        rows = [
            {
                **dict(zip(NUMBERS, numbers, strict=True)),
                "kind": Kind(kind).name,
                "flags": " ".join(flag.name or "" for flag in Flag if flags & flag),
                "task": recording.tables.tasks.comm(numbers[2], numbers[0]),
            }
            for numbers, kind, flags in zip(
                events[list(NUMBERS)].tolist(),
                events["kind"].tolist(),
                events["flags"].tolist(),
                strict=True,
            )
        ]
    assert count == len(rows) > 100
    return made, rows


def test_duckdb_reads_what_was_recorded(table: tuple[Path, list[dict[str, object]]]) -> None:
    path, rows = table
    found = duckdb.read_parquet(str(path))
    assert found.columns == [name for name, _ in parquet.COLUMNS]
    assert found.columns == [field.name for field in TABLES["parquet"].fields]
    names = ", ".join(rows[0])
    assert found.project(names).fetchall() == [tuple(row.values()) for row in rows]
    softirqs = found.filter("kind LIKE 'SOFTIRQ%'").project("name").distinct().fetchall()
    assert {name for (name,) in softirqs} <= {"NET_RX", "TIMER", "SCHED", "RCU", "HRTIMER"}
    query = "SELECT key, value FROM parquet_kv_metadata(?)"
    about = duckdb.execute(query, [str(path)]).fetchall()
    assert dict(about) == {b"schema": b"nettax.events/1", b"clock": b"CLOCK_MONOTONIC"}


def test_polars_reads_the_same(table: tuple[Path, list[dict[str, object]]]) -> None:
    polars = pytest.importorskip("polars")
    path, rows = table
    found = polars.read_parquet(path)
    assert found.select(list(rows[0])).to_dicts() == rows
    assert found.schema["time_ns"] == polars.UInt64
    assert found.schema["cpu"] == polars.UInt16


def test_a_place_where_nothing_can_be_written(tmp_path: Path) -> None:
    with open_recording(FIXTURES / "ahern.txt") as recording:
        with pytest.raises((NettaxError, OSError)):
            parquet.write(recording, tmp_path / "absent/table")
        (tmp_path / "directory").mkdir()
        with pytest.raises(NettaxError, match="cannot write"):
            parquet.write(recording, tmp_path / "directory")
    assert [path.name for path in tmp_path.iterdir()] == ["directory"]
