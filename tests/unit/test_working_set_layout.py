"""The memory of a working set: levels that leave nothing out, each one cycle through its lines."""

from __future__ import annotations

import ctypes
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettax.native import library

LINE = 64
WORDS = LINE // 8
KIB = 1024


def build(size: int) -> tuple[list[int], ctypes.Array[ctypes.c_uint64]]:
    """Where the levels begin, the smallest level first, and the memory."""
    memory = (ctypes.c_uint64 * (size // 8))()
    starts = (ctypes.c_uint64 * 32)()
    levels = library().working_set_build(memory, ctypes.c_uint64(size), starts)
    return list(starts[:levels]), memory


def extents(starts: list[int], size: int) -> list[range]:
    """The lines of each level, the smallest level first: levels lie largest first in memory."""
    ends = [size, *starts[:-1]]
    return [range(start, end, LINE) for start, end in zip(starts, ends, strict=True)]


@given(st.integers(4, 2048))
def test_each_level_is_one_cycle_through_all_of_its_lines(kib: int) -> None:
    size = kib * KIB
    starts, memory = build(size)
    for lines in extents(starts, size):
        seen = set()
        at = lines.start
        while at not in seen:
            seen.add(at)
            at = memory[at // LINE * WORDS]
        assert at == lines.start, "back where it began, and not somewhere on the way"
        assert seen == set(lines)


@given(st.integers(4, 2**20))
def test_levels_fill_the_set_and_each_is_three_times_those_below(kib: int) -> None:
    size = kib * KIB
    starts, _ = build_starts(size)
    assert starts[-1] == 0
    assert len(starts) >= 4
    for below, level in pairwise(extents(starts, size)):
        smaller = size - below.start  # all that lies behind: this level and those below it
        assert len(level) * LINE == pytest.approx(3 * smaller, abs=4 * LINE)


def build_starts(size: int) -> tuple[list[int], int]:
    """The arithmetic alone, without the memory: the levels by their definition."""
    starts: list[int] = []
    begin, left = 0, size
    while left > KIB or len(starts) < 3:
        starts.append(begin)
        part = left // 4 * 3 // LINE * LINE
        begin, left = begin + part, left - part
    return [begin, *reversed(starts)], left


@pytest.mark.parametrize("size", [4 * KIB, 5 * KIB, 64 * KIB, 1000 * KIB, 3 << 20])
def test_the_native_layout_is_the_defined_one(size: int) -> None:
    assert build(size)[0] == build_starts(size)[0]


def test_the_order_is_not_the_memorys() -> None:
    """A step that leads to the next line is one that a prefetcher foresees: chance leaves few."""
    size = 1 << 20
    _, memory = build(size)
    lines = range(0, size * 3 // 4 - LINE, LINE)
    following = sum(memory[at // LINE * WORDS] == at + LINE for at in lines)
    assert following < 10
