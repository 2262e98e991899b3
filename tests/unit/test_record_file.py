"""nettax's own recordings: written, read, cut, and damaged."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nettax.errors import NettaxError
from nettax.events.model import EVENT, EVERY_CPU, VECTOR_NAMES, EventArray, Flag, Kind
from nettax.events.native_file import NOTE, NativeRecording, Writer
from nettax.events.sniff import open_recording
from nettax.kernel.btf import Btf

OBJECTS = Path(__file__).parents[2] / "src/nettax/bpf"
FACTS = {
    "nettax": "0",
    "hostname": "h",
    "release": "6",
    "arch": "x86_64",
    "online": 2,
    "clock": "CLOCK_MONOTONIC",
    "kinds": {"SWITCH": 9},
    "netns": 7,
    "squeezed": {"0": 2**32 - 1},
}


def with_headers(records: np.ndarray) -> np.ndarray:
    """As they lie in a ring."""
    rows = np.zeros((len(records), records.dtype.itemsize + 8), np.uint8)
    rows[:, 8:] = records.view(np.uint8).reshape(len(records), -1)
    return rows


def some_events(cpu: int, times: list[int]) -> EventArray:
    events = np.zeros(len(times), EVENT)
    events["time_ns"], events["cpu"], events["kind"] = times, cpu, Kind.SWITCH
    events["id"] = range(len(times))
    return events


def write(path: Path) -> None:
    notes = np.zeros(2, NOTE)
    notes["kind"], notes["id"], notes["number"] = (1, 2), (40, 3), (39, 5)
    notes["group"], notes["name"], notes["time_ns"] = (77, 8), (b"a task", b"eth0"), 5
    with Writer(path, FACTS) as out:
        out.events(0, with_headers(some_events(0, [10, 30, 20, 50])))
        out.notes(with_headers(notes))
        out.events(1, with_headers(some_events(1, [5, 25, 55])))
        out.facts({"cgroups": {"77": "/x"}, "irqs": {"9": "nic"}})
        out.events(0, with_headers(some_events(0, [60, 70])))
        out.facts({"ended": True, "squeezed_end": {"0": 1}, "missed": 0})


def times(recording: NativeRecording) -> list[int]:
    return [int(time) for chunk in recording.chunks() for time in chunk["time_ns"]]


def test_what_was_written_is_read_in_order(tmp_path: Path) -> None:
    write(tmp_path / "f")
    with open_recording(tmp_path / "f") as recording:
        assert isinstance(recording, NativeRecording)
        assert times(recording) == [5, 10, 20, 25, 30, 50, 55, 60, 70] == times(recording)
        task = recording.tables.tasks.at(40, 10)
        assert task is not None
        assert (task.comm, task.tgid, task.cgroup) == ("a task", 39, "/x")
        assert recording.tables.devices == {3: "eth0@8"}
        assert recording.tables.irqs == {9: "nic"}
        assert recording.squeezed == {0: 2}  # its counter has 32 bits
        assert recording.kinds == frozenset({Kind.SWITCH})
        assert recording.ended
        assert not recording.damage


def test_many_chunks_are_merged_by_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    every: list[int] = []
    with Writer(tmp_path / "f", FACTS) as out:
        for _ in range(40):
            start = every[-1] if every else 0
            for cpu in range(3):
                stamps = np.sort(start + rng.integers(0, 10**6, 5000)).tolist()
                out.events(cpu, with_headers(some_events(cpu, stamps)))
                every += stamps
    with NativeRecording(tmp_path / "f") as recording:
        assert times(recording) == sorted(every)


def test_what_no_event_tells_of_is_lost_at_the_end(tmp_path: Path) -> None:
    with Writer(tmp_path / "f", FACTS) as out:
        out.events(0, with_headers(some_events(0, [10])))
        out.facts({"last_ns": 99, "missed": 4, "lost": {"0": [9, 5, 50, 0], "1": [7, 5, 50, 3]}})
    with NativeRecording(tmp_path / "f") as recording:
        events = np.concatenate(list(recording.chunks()))
    lost = events[events["kind"] == Kind.LOST]
    assert lost["time_ns"].tolist() == [99, 99]
    assert list(zip(lost["cpu"].tolist(), lost["value"].tolist(), strict=True)) == [
        (1, 3),
        (EVERY_CPU, 4),
    ]


@pytest.mark.parametrize(
    "facts",
    [
        {"lost": 5},
        {"lost": {"0": 5}},
        {"lost": {"0": [1, 2, 3]}},
        {"lost": {"x": [1, 2, 3, 4]}},
        {"lost": {"70000": [1, 2, 3, 4]}},
        {"missed": 10**30},
        {"missed": "many"},
        {"missed": 1, "last_ns": -5},
        {"squeezed_end": [1]},
        {"untraced": [1]},
        {"untraced": {"0": {"softirqs": 1}}},
        {"kinds": {"NOISE": 1}},
    ],
)
def test_facts_that_make_no_sense(tmp_path: Path, facts: dict[str, object]) -> None:
    with Writer(tmp_path / "f", {**FACTS, **facts}):
        pass
    with pytest.raises(NettaxError, match="makes no sense"):
        NativeRecording(tmp_path / "f")


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    write(tmp_path / "f")
    with pytest.raises(NettaxError, match="-f overwrites"):
        Writer(tmp_path / "f", FACTS)


def test_cut_anywhere_the_rest_is_read(tmp_path: Path) -> None:
    write(tmp_path / "f")
    whole = (tmp_path / "f").read_bytes()
    header = whole.index(b"\n") + 1
    most = 0
    for length in range(header, len(whole), 3):
        (tmp_path / "g").write_bytes(whole[:length])
        with NativeRecording(tmp_path / "g") as recording:
            found = times(recording)
            assert found == sorted(found)
            assert len(found) >= most  # a byte more never tells less
            most = len(found)
            assert not recording.ended
    assert most == 9  # the last chunk holds no events


@given(
    place=st.floats(0, 1, exclude_max=True),
    damage=st.binary(min_size=1, max_size=40),
    remove=st.integers(0, 60),
)
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damaged_anywhere_it_is_told(
    tmp_path: Path, place: float, damage: bytes, remove: int
) -> None:
    path = tmp_path / "f"
    path.unlink(missing_ok=True)
    write(path)
    whole = path.read_bytes()
    at = int(place * len(whole))
    path.write_bytes(whole[:at] + damage + whole[at + remove :])
    try:
        with NativeRecording(path) as recording:
            stamps = times(recording)
            changed = path.read_bytes() != whole
            assert stamps == [5, 10, 20, 25, 30, 50, 55, 60, 70] or (changed and recording.damage)
    except NettaxError as error:
        assert str(path) in str(error)  # the first line is what was damaged


def test_kernel_and_user_side_agree_on_records() -> None:
    btf = Btf(_btf_section(OBJECTS / "record.bpf.o"))
    for dtype, name in ((EVENT, "event"), (NOTE, "note")):
        layout = btf.layout(name)
        assert dtype.names == layout.names
        assert dtype.itemsize == layout.size
        fields: Any = dtype.fields
        assert [fields[field][1] for field in layout.names] == [
            btf.offset(name, field) for field in layout.names
        ]
    assert btf.enum("event_kind") == {kind.name: kind.value for kind in Kind}
    assert btf.enum("event_flag") == {flag.name: flag.value for flag in Flag}
    vectors = sorted(btf.enum("vector_name").items(), key=lambda item: item[1])
    assert tuple(name.removeprefix("VECTOR_") for name, _ in vectors) == VECTOR_NAMES


def _btf_section(path: Path) -> bytes:
    """The section `.BTF` of an object: it begins with its magic, version 1, a header of 24."""
    image = path.read_bytes()
    (start,) = _starts(image)
    size = int.from_bytes(image[start + 16 : start + 20], "little")
    strings = int.from_bytes(image[start + 20 : start + 24], "little")
    return image[start : start + 24 + size + strings]


def _starts(image: bytes) -> Iterator[int]:
    pattern = re.compile(rb"\x9f\xeb\x01\x00\x18\x00\x00\x00\x00\x00\x00\x00")
    yield from (match.start() for match in pattern.finditer(image))
