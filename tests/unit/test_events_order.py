"""Events that come out of order, in order."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nettax.events.model import EVENT
from nettax.events.order import Sorter
from nettax.events.records import NEVER

Added = list[tuple[int, int]]


def numbered(times: list[int], first: int) -> list[tuple[int, ...]]:
    """Events of these times, told apart by their values."""
    return [(time, 0, 0, 6, 0, 0, 0, 0, 0, first + i) for i, time in enumerate(times)]


def told(given: Iterable[memoryview]) -> Added:
    """Times and values."""
    out: Added = []
    for rows in given:
        out += np.frombuffer(rows, EVENT)[["time_ns", "value"]].tolist()
    return out


def add(sorter: Sorter, times: list[int], first: int) -> Added:
    return told(sorter.add(numbered(times, first)))  # type: ignore[arg-type]


# One CPU's buffer: nearly in order, with equal times.
NEARLY = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), max_size=120).map(
    lambda steps: [10 * i // 4 + late * 7 + at for i, (late, at) in enumerate(steps)]
)


@given(st.lists(st.one_of(NEARLY, st.lists(st.integers(0, 500), max_size=60)), max_size=6))
def test_as_a_stable_sort(parts: list[list[int]]) -> None:
    sorter = Sorter()
    expected: Added = []
    for times in parts:
        assert add(sorter, times, len(expected)) == []
        expected += [(time, len(expected) + i) for i, time in enumerate(times)]
    assert told(sorter.rest()) == sorted(expected, key=lambda event: event[0])
    assert list(sorter.damage()) == []


@given(NEARLY, NEARLY, st.integers(0, 400))
def test_what_is_given_up_to_a_time_and_what_then_comes_too_late(
    before: list[int], after: list[int], until: int
) -> None:
    sorter = Sorter()
    sorter.worth = 1
    add(sorter, before, 0)
    given = told(sorter.until(until))
    first = [(time, i) for i, time in enumerate(before)]
    assert given == sorted((e for e in first if e[0] <= until), key=lambda event: event[0])
    add(sorter, after, len(before))
    passed = given[-1][0] if given else 0
    late = [(time, len(before) + i) for i, time in enumerate(after)]
    left = [e for e in first if e[0] > until] + [e for e in late if e[0] >= passed]
    assert told(sorter.rest()) == sorted(left, key=lambda event: event[0])
    assert sorter.late == sum(time < passed for time in after)


def test_too_many_wait() -> None:
    """The earlier half goes; what comes too late for it is dropped, and told."""
    sorter = Sorter(most=4)
    assert [time for time, _ in add(sorter, [5, 1, 4, 2, 3, 6], 0)] == [1, 2, 3]
    assert add(sorter, [2, NEVER], 6) == []
    assert [time for time, _ in told(sorter.rest())] == [4, 5, 6]
    assert [d.what for d in sorter.damage()] == [
        "1 events came too late to be put in order",
        "1 events have times that cannot be",
    ]


def test_more_at_once_than_there_is_room_for() -> None:
    """A place for them is found, and those that wait are kept."""
    sorter = Sorter(most=10)
    add(sorter, [3, 1], 0)
    count = 1 << 18
    rows = np.zeros(count, EVENT)
    rows["time_ns"] = np.arange(count, 0, -1)
    ctypes.memmove(sorter.room(count), rows.ctypes.data, rows.nbytes)
    given = told(sorter.added(count)) + told(sorter.rest())
    assert [time for time, _ in given] == [1, 1, 2, 3, 3, *range(4, count + 1)]
    assert sorter.late == 0
