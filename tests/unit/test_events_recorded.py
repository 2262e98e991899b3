"""Recordings that perf and trace-cmd made, against what these two print of them.

Of traffic over a veth on Linux 6.18, by perf 6.1 and trace-cmd 3.1.6; what does not concern events
(mappings, build ids, other tracepoints' formats, kallsyms) was taken out of the files.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nettax.events.bursts import bursts
from nettax.events.model import EventArray, Flag, Kind, Recording
from nettax.events.sniff import open_recording
from nettax.experiment.replay import replayed, replayed_with_bursts
from nettax.report import bursts as tables

FIXTURES = Path(__file__).parents[1] / "fixtures/events"
PERF = ("plain", "zstd", "pipe", "chain", "lost", "one")


def read(tmp_path: Path, name: str) -> tuple[Recording, EventArray]:
    path = tmp_path / name
    path.write_bytes(gzip.decompress((FIXTURES / f"{name}.gz").read_bytes()))
    with open_recording(path) as recording:
        events = np.concatenate(list(recording.chunks()))
    return recording, events[events["kind"] != Kind.LOST]


@pytest.mark.parametrize("name", PERF)
def test_perf_data_is_what_perf_script_prints(tmp_path: Path, name: str) -> None:
    """With compression, through a pipe, with callchains, losses, and one event without ids."""
    recording, events = read(tmp_path, f"perf_{name}.data")
    printed, expected = read(tmp_path, f"perf_{name}.txt")
    assert (recording.format, printed.format) == ("perf.data", "perf script")
    assert recording.damage == printed.damage == []
    assert len(events) > 40
    assert events.tolist() == expected.tolist()
    assert recording.tables.irqs == printed.tables.irqs
    assert recording.tables.devices == printed.tables.devices


@pytest.mark.parametrize("name", ["v6", "v7_none", "v7_zlib", "v7_zstd"])
def test_trace_dat_is_what_trace_cmd_prints(tmp_path: Path, name: str) -> None:
    recording, events = read(tmp_path, f"{name}.dat")
    printed, expected = read(tmp_path, "v6.txt")
    assert (recording.format, printed.format) == ("trace.dat", "ftrace")
    assert recording.damage == printed.damage == []
    # trace-cmd's plugin prints neither that a task was preempted nor each state as its own.
    events["flags"] &= ~np.uint8(Flag.PREEMPTED)
    for some in (events, expected):
        some["a"][some["kind"] == Kind.SWITCH] = 0
    assert events.tolist() == expected.tolist()
    assert recording.machine.release == "6.18.44-fc-v657"


def test_clocks(tmp_path: Path) -> None:
    assert read(tmp_path, "perf_plain.data")[0].clock == "CLOCK_MONOTONIC"
    assert read(tmp_path, "perf_zstd.data")[0].clock == "perf clock"
    assert read(tmp_path, "v7_zstd.dat")[0].clock == "CLOCK_MONOTONIC"


def test_losses(tmp_path: Path) -> None:
    """perf said: 139 lost of 1397."""
    path = tmp_path / "lost"
    path.write_bytes(gzip.decompress((FIXTURES / "perf_lost.data.gz").read_bytes()))
    with open_recording(path) as recording:
        events = np.concatenate(list(recording.chunks()))
        lost = events[events["kind"] == Kind.LOST]
        assert lost[["cpu", "value"]].tolist() == [(1, 77), (0, 62)]
        accounts = replayed(recording)
    assert accounts.events.lost == 139
    # The time of a loss is on no account; that on CPU 1 was before its first event.
    assert [cpu.residual_ns > 0 for cpu in accounts.cpus] == [True, False]


@pytest.mark.parametrize("name", ["perf_plain.data", "v6.dat"])
def test_replayed_every_nanosecond_is_on_an_account(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.decompress((FIXTURES / f"{name}.gz").read_bytes()))
    with open_recording(path) as recording:
        accounts = replayed(recording)
    assert len(accounts.cpus) == 2
    for cpu in accounts.cpus:
        assert cpu.residual_ns == 0
        oncpu = sum(t.oncpu_ns for t in accounts.tasks)
    idle = sum(cpu.idle_ns + cpu.idle_interrupted_ns for cpu in accounts.cpus)
    assert oncpu + idle == sum(cpu.wall_ns for cpu in accounts.cpus)


@pytest.mark.parametrize("name", ["perf_plain.data", "v6.dat", "perf_plain.txt"])
def test_victims_and_bursts_by_one_reading(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.decompress((FIXTURES / f"{name}.gz").read_bytes()))
    readings = 0
    with open_recording(path) as recording:
        apart = replayed(recording), tables.document(bursts(recording))
        rows = recording.rows

        def counted() -> Iterator[memoryview]:
            nonlocal readings
            readings += 1
            yield from rows()

        monkeypatch.setattr(recording, "rows", counted)
        found, together = replayed_with_bursts(recording)
        assert (found, tables.document(together)) == apart
    assert readings == 1
