"""perf.data: what the format allows and a recording here would not show."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.perf_writer import PerfWriter

from nettax.errors import NettaxError
from nettax.events.model import EVERY_CPU, EventArray, Kind
from nettax.events.perf import PerfData
from nettax.events.perf.walk import BROKEN, UNIT, Chain, resync
from nettax.events.sniff import open_recording


def some(order: str = "<") -> PerfWriter:
    """Two CPUs' events, the second CPU's buffer behind the first's."""
    writer = PerfWriter(order)
    writer.comm(7, "victim", 0)
    writer.irq(0, 100, 7, 152, "eth0-rx-1")
    writer.softirq(0, 110, 7, 3, True)
    writer.poll(0, 150, 7, "eth0", 64)
    writer.softirq(0, 160, 7, 3, False)
    writer.softirq(1, 105, 0, 1, True)
    writer.softirq(1, 120, 0, 1, False)
    writer.round()
    writer.lost(1, 300, 5)
    writer.softirq(1, 310, 0, 3, True)
    writer.round()
    return writer


def read(path: Path, content: bytes) -> tuple[PerfData, EventArray]:
    path.write_bytes(content)
    recording = PerfData(path)
    chunks = list(recording.chunks())
    recording.close()
    return recording, np.concatenate(chunks)


@pytest.mark.parametrize("order", ["<", ">"])
def test_either_order_of_bytes(tmp_path: Path, order: str) -> None:
    recording, events = read(tmp_path / "perf.data", some(order).bytes())
    assert recording.damage == []
    assert (recording.machine.hostname, recording.machine.release) == ("there", "6.1.0")
    assert recording.clock == "perf clock"
    assert recording.kinds == frozenset(
        {Kind.HARDIRQ_ENTRY, Kind.SOFTIRQ_ENTRY, Kind.SOFTIRQ_EXIT, Kind.NAPI_POLL}
    )
    assert events[["time_ns", "cpu", "pid", "kind", "id", "a", "b", "value"]].tolist() == [
        (100, 0, 7, Kind.HARDIRQ_ENTRY, 152, 0, 0, 0),
        (105, 1, 0, Kind.SOFTIRQ_ENTRY, 1, 0, 0, 0),
        (110, 0, 7, Kind.SOFTIRQ_ENTRY, 3, 0, 0, 0),
        (120, 1, 0, Kind.SOFTIRQ_EXIT, 1, 0, 0, 0),
        (150, 0, 7, Kind.NAPI_POLL, 1, 64, 64, 0xFFFF888012345678),
        (160, 0, 7, Kind.SOFTIRQ_EXIT, 3, 0, 0, 0),
        (300, 1, -1, Kind.LOST, 0, 0, 0, 5),
        (310, 1, 0, Kind.SOFTIRQ_ENTRY, 3, 0, 0, 0),
    ]
    assert recording.tables.irqs == {152: "eth0-rx-1"}
    assert recording.tables.devices == {1: "eth0"}
    assert recording.tables.tasks.comm(7, 100) == "victim"


def test_losses_counted_at_the_end_are_told_once(tmp_path: Path) -> None:
    writer = some()
    writer.record(13, writer.pack("Q", 5 + 4) + writer.trailer(1, 0))
    writer.record(13, writer.pack("Q", 1000) + writer.trailer(0, 0), misc=1 << 15)  # a filter's
    _, events = read(tmp_path / "perf.data", writer.bytes())
    lost = events[events["kind"] == Kind.LOST]
    assert lost[["cpu", "value"]].tolist() == [(1, 5), (1, 4)]


def test_without_sample_id_all_a_loss_is_of_every_cpu(tmp_path: Path) -> None:
    writer = PerfWriter(sample_id_all=False)
    writer.softirq(0, 100, 1, 3, True)
    writer.record(2, writer.pack("QQ", writer.ident(223), 7))
    _, events = read(tmp_path / "perf.data", writer.bytes())
    lost = events[events["kind"] == Kind.LOST]
    assert lost[["cpu", "value"]].tolist() == [(EVERY_CPU, 7)]


def test_cut_anywhere(tmp_path: Path) -> None:
    """As many events as there are whole ones, or an error that says where it was cut."""
    whole = some().bytes()
    path = tmp_path / "perf.data"
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        try:
            with open_recording(path) as recording:
                count = sum(map(len, recording.chunks()))
                assert recording.damage or count == 8
        except NettaxError as error:
            assert str(path) in str(error)


def test_a_hole_in_the_middle(tmp_path: Path) -> None:
    writer = PerfWriter()
    for i in range(2000):
        writer.softirq(0, 100 + i, 1, 3, not i % 2)
    content = bytearray(writer.bytes())
    (start,) = struct.unpack_from("<Q", content, 40)
    size = len(writer.records[0])
    hole = start + 500 * size
    content[hole : hole + 3 * size] = b"\xff" * (3 * size)
    recording, events = read(tmp_path / "perf.data", bytes(content))
    assert len(events) == 1997
    assert [(d.offset, d.what) for d in recording.damage] == [
        (hole, f"{3 * size} bytes are not a record")
    ]


def test_a_recording_that_was_killed_says_so(tmp_path: Path) -> None:
    content = bytearray(some().bytes())
    content[48:56] = bytes(8)
    path = tmp_path / "perf.data"
    path.write_bytes(bytes(content))
    with pytest.raises(NettaxError, match=r"how its events are laid out.*\n.*stopped before"):
        PerfData(path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b"PERFILE2", "cut short at byte 8"),
        (b"PERFFILE" + bytes(100), "is no recording that nettax knows"),
        (b"PERFILE2" + struct.pack("<Q", 50) + bytes(90), "header of 50 bytes"),
    ],
)
def test_what_is_none(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(NettaxError, match=why):
        open_recording(path)


def one_by_one(data: bytes) -> tuple[list[int], int, bool]:
    place = 0
    found: list[int] = []
    while place < len(data) // 8:
        (size,) = struct.unpack_from("<H", data, 8 * place + 6)
        if size < 8 or size % 8:
            return found, place, True
        if place + size // 8 > len(data) // 8:
            break
        found.append(place)
        place += size // 8
    return found, place, False


RECORD = st.tuples(
    st.sampled_from([9, 9, 9, 9, 68, 3]),
    st.sampled_from([0, 1, 2]),
    st.integers(0, 30),
    st.sampled_from([b"\0" * 8, struct.pack("<IHH", 9, 1, 64), b"\xff" * 8]),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(RECORD, max_size=60), st.binary(max_size=3).map(lambda tail: tail * 8))
def test_the_chain_is_followed_as_by_hand(
    records: list[tuple[int, int, int, bytes]], tail: bytes
) -> None:
    data = b"".join(
        struct.pack("<IHH", kind, misc, 8 + 8 * length) + filler * length
        for kind, misc, length, filler in records
    )
    data += tail[: len(tail) // 8 * 8]
    chain = Chain(len(data)).follow(bytearray(data), "little", 0, len(data))
    places = [start // UNIT for start in chain.starts[: chain.count]]
    assert (places, chain.stop // UNIT, chain.why == BROKEN) == one_by_one(data)


def test_resync_needs_more_than_one_likely_record() -> None:
    sample = struct.pack("<IHH", 9, 1, 24) + bytes(16)
    data = b"\xff" * 64 + sample[:8] + b"\xff" * 64 + sample * 5
    assert resync(bytearray(data), "little", 0, len(data)) == 64 + 8 + 64


def test_a_file_of_holes_is_given_up(tmp_path: Path) -> None:
    """In bounded time, with a bounded list of what is wrong."""
    writer = PerfWriter()
    writer.softirq(0, 100, 1, 3, True)
    sample = writer.records[0]
    for _ in range(10_000):
        writer.records.append(sample * 4 + b"\xff" * 8)
    recording, events = read(tmp_path / "perf.data", writer.bytes())
    assert 8_000 <= len(events) < 40_000
    assert len(recording.damage) <= 102
    assert "not looked at" in recording.damage[-1].what
