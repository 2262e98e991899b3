"""Bursts of network work, by answers worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.unit.test_timeline import IRQ, IRQ_OFF, RAISE, SOFT, SOFT_OFF, Made

from nettax.events.bursts import Bursts, bursts
from nettax.events.distribution import Distribution
from nettax.events.model import EVERY_CPU, Flag, Kind
from nettax.report import bursts as tables

POLL, SWITCH = Kind.NAPI_POLL, Kind.SWITCH
EXIT, CALL = Flag.IRQ_EXIT, Flag.BH_ENABLE
TASK, KSOFTIRQD = 5, 7

# time, CPU, kind, id, pid, flags; and of polls work and budget
Event = tuple[int, ...]
EVENTS: list[Event] = [
    # An interrupt; NET_RX runs twice in a row, the second time interrupted for 100 ns.
    (1_000, 0, IRQ, 9, TASK, 0),
    (1_200, 0, RAISE, 3, TASK, 0),
    (1_500, 0, IRQ_OFF, 9, TASK, 0),
    (2_000, 0, SOFT, 3, TASK, EXIT),
    (4_000, 0, POLL, 1, TASK, 0, 64, 64),
    (4_500, 0, RAISE, 3, TASK, 0),
    (5_000, 0, SOFT_OFF, 3, TASK, 0),
    (5_000, 0, SOFT, 3, TASK, EXIT),
    (5_200, 0, IRQ, 8, TASK, 0),
    (5_300, 0, IRQ_OFF, 8, TASK, 0),
    (5_900, 0, POLL, 1, TASK, 0, 20, 64),
    (6_000, 0, POLL, 2, TASK, 0, 7, 64),
    (6_100, 0, SOFT_OFF, 3, TASK, 0),
    # 50 µs later a system call's own: a packet, in no hurry.
    (56_100, 0, SOFT, 3, TASK, CALL),
    (56_700, 0, POLL, 1, TASK, 0, 1, 64),
    (56_800, 0, SOFT_OFF, 3, TASK, 0),
    # Meanwhile, on the other CPU, ksoftirqd; behind it TIMER, which is no burst of its own.
    (60_000, 1, RAISE, 3, TASK, 0),
    (61_000, 1, SWITCH, KSOFTIRQD, TASK, 0),
    (62_000, 1, SOFT, 3, KSOFTIRQD, 0),
    (65_000, 1, POLL, 1, KSOFTIRQD, 0, 64, 64),
    (66_000, 1, SOFT_OFF, 3, KSOFTIRQD, 0),
    (66_100, 1, SOFT, 1, KSOFTIRQD, 0),
    (66_200, 1, SOFT_OFF, 1, KSOFTIRQD, 0),
    # A NAPI thread polls in no softirq.
    (70_000, 1, POLL, 1, 11, 0, 3, 64),
    # A local timer on CPU 0 ends the gap there, and is no burst.
    (86_800, 0, IRQ, 9, TASK, 0),
    (86_900, 0, IRQ_OFF, 9, TASK, 0),
    # What is lost takes the rest of a softirq with it, and the gap after the one before.
    (90_000, 1, SOFT, 3, TASK, EXIT),
    (91_000, EVERY_CPU, Kind.LOST, 0, -1, 0),
    (92_000, 1, SOFT_OFF, 3, TASK, 0),
]


def made(events: Sequence[Event], length: int = 100) -> Made:
    recording = Made([event[:6] for event in events], length)
    recording.set("a", [event[6] if len(event) > 6 else 0 for event in events])
    recording.set("b", [event[7] if len(event) > 7 else 0 for event in events])
    return recording


def values(found: Distribution) -> tuple[int, int, int, int]:
    return found.count, found.sum, found.least, found.most


@pytest.mark.parametrize("length", [1, 3, 7, 100])
def test_by_hand(length: int) -> None:
    found = bursts(made(EVENTS, length))
    assert values(found.run_ns) == (4, 3_000 + 1_000 + 700 + 4_000, 700, 4_000)
    assert values(found.packets_per_poll) == (6, 64 + 20 + 7 + 1 + 64 + 3, 1, 64)
    assert values(found.packets_per_run) == (4, 64 + 27 + 1 + 64, 1, 64)
    assert found.exhausted == 2
    assert values(found.rounds) == (3, 4, 1, 2)
    # to the system call's, to the timer; to the softirq that was lost
    assert values(found.gap_ns) == (3, 50_000 + 30_000 + 23_800, 23_800, 50_000)
    assert values(found.irq_to_run_ns) == (1, 1_000, 1_000, 1_000)
    assert values(found.raise_to_run_ns) == (2, 800 + 2_000, 800, 2_000)
    shares = {name: (s.runs, s.ns, s.packets) for name, s in found.runners.items()}
    assert shares == {
        "irq_exit": (2, 4_000, 91),
        "bh_enable": (1, 700, 1),
        "ksoftirqd": (1, 4_000, 64),
        "unknown": (0, 0, 0),
    }
    assert found.squeezed is None


def test_squeezes_are_those_of_the_recording() -> None:
    recording = made(EVENTS)
    recording.squeezed = {0: 2, 1: 3}
    found = bursts(recording)
    assert tables.document(found)["squeezed"] == {0: 2, 1: 3}
    assert "squeezed (stopped with work left): 5" in tables.text(found)
    assert "not recorded" in tables.text(bursts(made(EVENTS)))


def test_histograms_hold_every_value() -> None:
    found = bursts(made(EVENTS))
    for name, _, _ in tables.DISTRIBUTIONS:
        some: Distribution = getattr(found, name)
        assert sum(some.octaves()) == some.count
    assert found.run_ns.octaves()[10:13] == [2, 0, 2]  # 700, 1000, 3000, 4000
    text = tables.text(found)
    assert text.count("█") > 0
    assert "packets per poll, 6" in text


def test_nothing_is_nothing() -> None:
    assert tables.text(Bursts()).startswith("No NET_RX")
    assert tables.document(Bursts())["run_ns"]["count"] == 0
