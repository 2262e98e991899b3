"""Recordings with bytes changed, cut out, doubled: an error or events, and no more than that.

Before a release, the same with a fuzzer that is guided by coverage: bench/fuzz_events.py.
"""

from __future__ import annotations

import gzip
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nettax.errors import NettaxError
from nettax.events.replay import Replay
from nettax.events.sniff import open_recording

FIXTURES = Path(__file__).parents[1] / "fixtures/events"
NAMES = sorted(path.name for path in FIXTURES.iterdir() if "lost" not in path.name)
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def content(name: str) -> bytes:
    raw = (FIXTURES / name).read_bytes()
    return gzip.decompress(raw) if name.endswith(".gz") else raw


CHANGE = st.tuples(
    st.floats(0, 1, exclude_max=True),
    st.sampled_from(["flip", "zero", "ones", "cut", "double", "end", "swap"]),
    st.integers(1, 64),
)


def changed(data: bytes, changes: list[tuple[float, str, int]]) -> bytes:
    out = bytearray(data)
    for where, how, size in changes:
        at = int(where * len(out))
        if how == "flip" and out:
            out[at] ^= 1 << size % 8
        elif how in ("zero", "ones"):
            out[at : at + size] = (b"\0" if how == "zero" else b"\xff") * len(out[at : at + size])
        elif how == "cut":
            del out[at : at + size]
        elif how == "double":
            out[at:at] = out[at : at + size]
        elif how == "end":
            del out[at:]
        elif how == "swap":
            out[at : at + size] = out[at : at + size][::-1]
    return bytes(out)


def play(data: bytes) -> None:
    """Read and replay it: times in order, and no other error than one for the user."""
    with tempfile.NamedTemporaryFile(dir=MEMORY) as file:
        file.write(data)
        file.flush()
        try:
            with open_recording(file.name) as recording:
                player = Replay(recording.tables)
                last = 0
                for chunk in recording.chunks():
                    times = chunk["time_ns"]
                    assert not len(times) or int(times[0]) >= last
                    assert (times[1:] >= times[:-1]).all()
                    last = int(times[-1]) if len(times) else last
                    player.feed(chunk)
                player.finish()
        except NettaxError as error:
            assert str(error)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=12, deadline=None)
@given(st.lists(CHANGE, min_size=1, max_size=4))
def test_changed_anywhere(name: str, changes: list[tuple[float, str, int]]) -> None:
    play(changed(content(name), changes))


@pytest.mark.full
@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=500, deadline=None)
@given(st.lists(CHANGE, min_size=1, max_size=8))
def test_changed_anywhere_at_length(name: str, changes: list[tuple[float, str, int]]) -> None:
    play(changed(content(name), changes))


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(NAMES), st.integers(8, 400))
def test_a_head_and_noise(noise: bytes, name: str, head: int) -> None:
    play(content(name)[:head] + noise)
