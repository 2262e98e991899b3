"""perf script, tracefs's trace file and trace-cmd report, as text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nettax.errors import NettaxError
from nettax.events.model import EVERY_CPU, EventArray, Flag, Kind
from nettax.events.sniff import open_recording
from nettax.events.text import TextRecording
from nettax.experiment.replay import replayed

FIXTURES = Path(__file__).parents[1] / "fixtures/events"
AHERN = FIXTURES / "ahern.txt"


def read(path: Path) -> tuple[TextRecording, EventArray]:
    with TextRecording(path) as recording:
        chunks = list(recording.chunks())
    assert isinstance(recording, TextRecording)
    return recording, np.concatenate(chunks)


def test_aherns_nine_lines() -> None:
    """EXPERIMENT: 63 and 28 µs of softirq, 64 + 27 packets, then 229 µs of peace."""
    recording, events = read(AHERN)
    assert recording.format == "perf script"
    assert recording.tables.irqs == {152: "mlx5_comp2@pci:0000:d8:00.0"}
    entry = events["time_ns"][events["kind"] == Kind.SOFTIRQ_ENTRY]
    leave = events["time_ns"][events["kind"] == Kind.SOFTIRQ_EXIT]
    assert (leave - entry).tolist() == [63_000, 28_000]
    assert events["a"][events["kind"] == Kind.NAPI_POLL].tolist() == [64, 27]
    irqs = events["time_ns"][events["kind"] == Kind.HARDIRQ_ENTRY]
    assert irqs[1] - leave[1] == 229_000
    with open_recording(AHERN) as again:
        (cpu,) = replayed(again).cpus
    assert (cpu.cpu, cpu.softirq_ns["net_rx"], cpu.packets) == (5, 91_000, 91)
    assert (cpu.softirq_count["net_rx"], cpu.idle_interrupted_ns) == (2, 92_000)


def test_ftrace() -> None:
    recording, events = read(FIXTURES / "ftrace.txt")
    assert (recording.format, recording.damage) == ("ftrace", [])
    assert events[["time_ns", "cpu", "pid", "kind", "flags", "id", "a", "value"]].tolist() == [
        (100_000_001_000, EVERY_CPU, -1, Kind.LOST, 0, 0, 0, 4),
        (100_000_001_000, 1, 0, Kind.HARDIRQ_ENTRY, 0, 36, 0, 0),
        (100_000_002_000, 1, 0, Kind.HARDIRQ_EXIT, 0, 36, 1, 0),
        (100_000_003_000, 1, -1, Kind.LOST, 0, 0, 0, 57),
        (100_000_003_000, 1, 0, Kind.SOFTIRQ_ENTRY, 0, 3, 0, 0),
        (100_000_005_000, 1, 0, Kind.NAPI_POLL, 0, 1, 3, 0x4BF4D5AC),
        (100_000_007_000, 0, 12345, Kind.SWITCH, Flag.PREEMPTED, 9, 0, 0),
        (100_000_009_000, 0, 9, Kind.SWITCH, Flag.DEAD, 0, 16, 0),
    ]
    assert recording.tables.tasks.comm(12345, 0) == "my task-x"


def test_perf_script() -> None:
    path = FIXTURES / "perf_script.txt"
    recording, events = read(path)
    assert recording.format == "perf script"
    assert (recording.machine.hostname, recording.machine.release) == ("there", "6.1.0")
    assert events[["time_ns", "cpu", "pid", "kind", "id", "a", "value"]].tolist() == [
        (10_000_000_001, 2, 12345, Kind.SWITCH, 22, 1, 0),
        (10_000_000_005, 2, 22, Kind.WAKEUP, 12345, 2, 0),
        (10_000_000_006, 0, -1, Kind.SOFTIRQ_EXIT, 1, 0, 0),
        (10_000_000_007, 2, -1, Kind.LOST, 0, 0, 12),
    ]
    (damage,) = recording.damage
    assert damage.what == "2 lines do not read like events"
    assert path.read_bytes()[damage.offset :].startswith(b"this is no event")


@pytest.mark.parametrize("content", ["hello\n", "# comment\n", "\x00\x01\x02", "x" * 100_000])
def test_other_text(tmp_path: Path, content: str) -> None:
    path = tmp_path / "file"
    path.write_text(content)
    with pytest.raises(NettaxError, match="no recording that nettax knows"):
        open_recording(path)
