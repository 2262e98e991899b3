"""The replay in C against the same rules in plain Python, and against whatever bytes come."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.reference_replay import KIND_TASK, Reference

from nettax.events.model import EVENT, EVERY_CPU, Flag, Kind, Tables, Task
from nettax.events.replay import Accounts, Replay

KTHREADS = {7: "irq/5-eth0", 8: "napi/eth0-1", 9: "ksoftirqd/0"}
KIND_OF = {7: 2, 8: 1, 9: 0}
PIDS = (0, 1, 2, 3, *KTHREADS)
ANY_PIDS = (*PIDS, *PIDS, *PIDS, -1, -5, 2**31 - 1)

KINDS = (
    *[Kind.HARDIRQ_ENTRY, Kind.HARDIRQ_EXIT] * 3,
    *[Kind.VECTOR_ENTRY, Kind.VECTOR_EXIT] * 2,
    *[Kind.SOFTIRQ_ENTRY, Kind.SOFTIRQ_EXIT] * 4,
    *[Kind.NAPI_POLL] * 2,
    *[Kind.SWITCH] * 4,
    *[Kind.WAKEUP] * 2,
    *[Kind.MIGRATE, Kind.LOST],
    *[Kind.SOFTIRQ_RAISE, Kind.FORK, Kind.EXIT, Kind.PACKET],
)


def tables() -> Tables:
    known = Tables()
    for pid, comm in KTHREADS.items():
        known.tasks.add(Task(pid, 0, comm))
    return known


@st.composite
def anything(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """Events in any order whatever: most entries have no exit, most exits no entry."""
    seed = draw(st.integers(0, 2**32 - 1))
    size = draw(st.integers(1, 120))
    rng = np.random.default_rng(seed)
    events = np.zeros(size, EVENT)
    events["time_ns"] = 1000 + np.cumsum(rng.integers(0, 50, size))
    events["cpu"] = rng.integers(0, draw(st.integers(1, 3)), size)
    events["kind"] = rng.choice(KINDS, size)
    events["pid"] = rng.choice(ANY_PIDS, size)
    events["id"] = rng.choice(ANY_PIDS, size)
    soft = np.isin(events["kind"], (Kind.SOFTIRQ_ENTRY, Kind.SOFTIRQ_EXIT))
    events["id"][soft] = rng.choice((3, 3, 3, 1, 9, 10, -3), soft.sum())
    events["a"] = rng.integers(-1, 6, size)
    events["b"] = rng.integers(-1, 4, size)
    events["flags"] = rng.choice((0, 0, Flag.IRQ_EXIT, Flag.BH_ENABLE), size)
    switch = events["kind"] == Kind.SWITCH
    flags = (0, Flag.PREEMPTED, Flag.DEAD, Flag.BILLED, Flag.PREEMPTED | Flag.BILLED)
    events["flags"][switch] = rng.choice(flags, switch.sum())
    events["value"] = rng.integers(0, 40, size)
    lost = events["kind"] == Kind.LOST
    events["pid"][lost] = -1
    return events


@st.composite
def nearly_sound(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """Events as a kernel makes them, nested and matched, of which some are left out."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows: list[tuple[int, ...]] = []
    cpus = draw(st.integers(1, 3))
    for cpu in range(cpus):
        time, pid = 1000, int(rng.choice(PIDS))
        for _ in range(draw(st.integers(1, 40))):
            time = _stretch(rng, rows, cpu, time, pid)
            after = int(rng.choice(PIDS))
            flags = int(rng.choice([0, Flag.PREEMPTED, Flag.BILLED]))
            if after != pid:
                rows.append(
                    (time, pid, cpu, Kind.SWITCH, flags, after, int(rng.integers(2)), 0, 0, 9)
                )
                pid = after
    rows.sort(key=lambda row: row[0])
    events = np.array(rows, EVENT) if rows else np.zeros(0, EVENT)
    keep = rng.random(len(events)) >= draw(st.sampled_from([0.0, 0.0, 0.03, 0.2]))
    return events[keep]


def _stretch(rng: Any, rows: list[tuple[int, ...]], cpu: int, time: int, pid: int) -> int:
    """What happens in one slice: hard IRQs, softirqs with hard IRQs inside, polls."""

    def row(kind: Kind, ident: int, flags: int = 0, a: int = 0) -> None:
        nonlocal time
        time += int(rng.integers(0, 20))
        rows.append((time, pid, cpu, kind, flags, ident, a, 64, 0, 0))

    def hard(depth: int = 0) -> None:
        row(Kind.HARDIRQ_ENTRY, 5)
        if depth < 2 and rng.random() < 0.2:
            hard(depth + 1)
        row(Kind.HARDIRQ_EXIT, 5)

    for _ in range(int(rng.integers(0, 4))):
        if rng.random() < 0.6:
            hard()
        if rng.random() < 0.6:
            vector = int(rng.choice((1, 3)))
            row(Kind.SOFTIRQ_ENTRY, vector, int(rng.choice([0, Flag.IRQ_EXIT, Flag.BH_ENABLE])))
            for _ in range(int(rng.integers(0, 3))):
                if rng.random() < 0.4:
                    hard()
                row(Kind.NAPI_POLL, 1, 0, int(rng.integers(0, 64)))
            row(Kind.SOFTIRQ_EXIT, vector)
        if rng.random() < 0.3:
            row(Kind.WAKEUP, int(rng.choice(PIDS)), 0, int(rng.integers(0, 3)))
    return time + int(rng.integers(0, 20))


def play(events: np.ndarray[Any, Any], cuts: list[int], sliced: bool | None = True) -> Accounts:
    player = Replay(tables(), sliced=sliced)
    edges = sorted({0, *(cut % (len(events) + 1) for cut in cuts), len(events)})
    for low, high in pairwise(edges):
        player.feed(events[low:high])
    return player.finish()


def check(events: np.ndarray[Any, Any], cuts: list[int], sliced: bool = True) -> None:
    if not len(events):
        return
    reference = Reference(lambda pid: KIND_OF.get(pid, KIND_TASK), sliced=sliced)
    reference.run(events)
    accounts = play(events, cuts, sliced)
    assert [cpu.cpu for cpu in accounts.cpus] == sorted(reference.cpus)
    for account in accounts.cpus:
        expected = reference.cpus[account.cpu]
        assert (account.start_ns, account.end_ns) == (expected.start, expected.end)
        for name in ("idle_ns", "idle_interrupted_ns", "own_ns", "stolen_hardirq_ns", "lost"):
            assert getattr(account, name) == getattr(expected, name), name
        assert account.stolen_softirq_ns == expected.stolen_softirq_ns
        assert account.kthread_ns == expected.kthread_ns
        for name in ("hard_ns", "interrupts", "ipis", "polls", "packets", "softirq_packets"):
            assert getattr(account, name) == getattr(expected, name), name
        assert account.unmatched == expected.unmatched
        assert account.soft_ns == expected.soft_ns
        assert account.soft_count == expected.soft_count
        assert (account.switches, account.inferred_ns) == (expected.switches, expected.inferred_ns)
    found = {(task.pid, task.life): task.sums for task in accounts.tasks}
    wanted = {key: task.flat() for key, task in reference.tasks.items()}
    for key in found.keys() | wanted.keys():
        assert found.get(key, (0,) * 23) == wanted.get(key, (0,) * 23), key
    for task in accounts.tasks:
        told = reference.tasks[task.pid, task.life]
        assert (task.billed, task.exited) == (not told.unbilled, told.exited)
        assert (task.kind, task.last_ns) == (KIND_OF.get(task.pid, KIND_TASK), told.last)
    assert accounts.histograms == reference.histograms


CUTS = st.lists(st.integers(0, 1000), max_size=4)


@settings(max_examples=150, deadline=None)
@given(anything(), CUTS)
def test_whatever_comes(events: np.ndarray[Any, Any], cuts: list[int]) -> None:
    check(events, cuts)


@settings(max_examples=50, deadline=None)
@given(anything(), CUTS)
def test_whatever_comes_without_switches(events: np.ndarray[Any, Any], cuts: list[int]) -> None:
    check(events[events["kind"] != Kind.SWITCH], cuts, sliced=False)


@settings(max_examples=100, deadline=None)
@given(anything(), st.integers(0, 2**32 - 1))
def test_wherever_recording_begins_and_ends(events: np.ndarray[Any, Any], seed: int) -> None:
    """And where losses are of every CPU, and times run backwards."""
    rng = np.random.default_rng(seed)
    marks = rng.random(len(events)) < 0.1
    events["kind"][marks] = rng.choice((Kind.BEGIN, Kind.END, Kind.LOST), marks.sum())
    events["flags"][marks] = rng.choice((0, Flag.BILLED), marks.sum())
    events["cpu"][rng.random(len(events)) < 0.05] = EVERY_CPU
    back = rng.random(len(events)) < 0.05
    events["time_ns"][back] -= rng.integers(0, 200, back.sum()).astype(np.uint64)
    check(events, [], sliced=bool(rng.integers(4)))


@settings(max_examples=100, deadline=None)
@given(nearly_sound(), CUTS)
def test_sound_recordings_with_holes(events: np.ndarray[Any, Any], cuts: list[int]) -> None:
    check(events, cuts)


@settings(max_examples=50, deadline=None)
@given(nearly_sound())
def test_every_nanosecond_is_on_one_account(events: np.ndarray[Any, Any]) -> None:
    if not len(events):
        return
    accounts = play(events, [])
    for cpu in accounts.cpus:
        booked = cpu.idle_ns + cpu.idle_interrupted_ns + cpu.own_ns + cpu.stolen_hardirq_ns
        booked += sum(cpu.stolen_softirq_ns) + sum(cpu.kthread_ns)
        if cpu.cpu in _with_switches(events):
            assert booked == cpu.end_ns - cpu.start_ns


def _with_switches(events: np.ndarray[Any, Any]) -> set[int]:
    return set(events["cpu"][events["kind"] == Kind.SWITCH].tolist())


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300), CUTS)
def test_any_bytes(seed: int, size: int, cuts: list[int]) -> None:
    """They are accounted for somehow, and in the same way however they are cut."""
    rng = np.random.default_rng(seed)
    events = np.frombuffer(rng.bytes(size * EVENT.itemsize), EVENT).copy()
    named = rng.random(size) < 0.9  # as kinds that there are, and mostly no BEGIN
    events["kind"][named] = rng.choice(KINDS, named.sum())
    events["kind"][np.isin(events["kind"], (Kind.BEGIN, Kind.END))] = Kind.LOST
    few = rng.random(size) < 0.7
    events["cpu"][few] %= 3
    events["pid"][few], events["id"][few] = rng.choice(ANY_PIDS, (2, few.sum()))
    for sliced in (True, False, None):
        assert play(events, cuts, sliced) == play(events, [], sliced)


def test_events_at_odd_addresses() -> None:
    """As part of a buffer of bytes they need not be aligned."""
    events = np.zeros(3, EVENT)
    events["kind"], events["time_ns"] = Kind.NAPI_POLL, (5, 6, 7)
    odd = np.frombuffer(b"odd" + events.tobytes(), EVENT, offset=3)
    assert play(odd, []) == play(events, [])
    assert play(np.repeat(events, 2)[::2], []) == play(events, [])


def test_only_events_are_taken() -> None:
    with pytest.raises(TypeError, match="40 bytes"):
        Replay(Tables()).feed(np.zeros(3, np.uint64))


def test_switches_are_found_out_about() -> None:
    rows = [
        (100, 1, 0, Kind.HARDIRQ_ENTRY, 0, 5, 0, 0, 0, 0),
        (110, 1, 0, Kind.HARDIRQ_EXIT, 0, 5, 0, 0, 0, 0),
        (120, 1, 0, Kind.SWITCH, 0, 0, 1, 0, 0, 0),
    ]
    events = np.array(rows, EVENT)
    for part, sliced in ((events[:2], False), (events, True)):
        accounts = play(part, [1], None)
        assert accounts == play(part, [], sliced)
        assert accounts.sliced == sliced


def test_a_name_that_is_learnt_later_counts_from_then_on() -> None:
    """A kernel thread is made under another name, and a pid used again is another task."""
    known = Tables()
    player = Replay(known)
    row = (100, 0, 0, Kind.SWITCH, 0, 5, 1, 0, 0, 0)
    player.feed(np.array([row], EVENT))
    known.tasks.add(Task(5, 0, "kthreadd"))
    known.tasks.add(Task(5, 230, "napi/eth0-1"))
    known.tasks.add(Task(5, 400, "sh"))
    rows = [
        (140, 5, 0, Kind.SWITCH, 0, 0, 1, 0, 0, 0),
        (200, 0, 0, Kind.SWITCH, 0, 5, 1, 0, 0, 0),
        (230, 5, 0, Kind.SWITCH, Flag.DEAD, 0, 1, 0, 0, 0),
        (500, 0, 0, Kind.SWITCH, 0, 5, 1, 0, 0, 0),
        (501, 5, 0, Kind.SWITCH, 0, 0, 1, 0, 0, 0),
    ]
    player.feed(np.array(rows, EVENT))
    accounts = player.finish()
    assert accounts.cpus[0].kthread_ns == [0, 30, 0]
    assert accounts.cpus[0].own_ns == 40 + 1
    assert [(t.life, t.kind, t.exited) for t in accounts.tasks] == [(0, 1, True), (1, 3, False)]


def test_no_events() -> None:
    accounts = Replay(Tables()).finish()
    assert (accounts.cpus, accounts.tasks, accounts.events) == ((), (), 0)


@pytest.mark.parametrize("flag", [Flag(0), Flag.BILLED])
def test_an_untraced_switch_divides_the_slice(flag: Flag) -> None:
    rows = [
        (100, 0, 0, Kind.SWITCH, 0, 1, 1, 0, 0, 0),
        (140, 2, 0, Kind.HARDIRQ_ENTRY, 0, 5, 0, 0, 0, 0),
        (150, 2, 0, Kind.HARDIRQ_EXIT, 0, 5, 0, 0, 0, 0),
        (200, 2, 0, Kind.SWITCH, flag, 0, 1, 0, 0, 30),
    ]
    accounts = play(np.array(rows, EVENT), [])
    sums = {task.pid: task.sums[0] for task in accounts.tasks}
    assert sums == ({1: 70, 2: 30} if flag else {1: 40, 2: 60})
    assert (accounts.unmatched, accounts.inferred_ns) == (1, 100)


def test_a_loss_of_every_cpu_is_counted_once() -> None:
    rows = [
        (100, 1, 0, Kind.NAPI_POLL, 0, 1, 3, 64, 0, 0),
        (110, 2, 1, Kind.NAPI_POLL, 0, 1, 3, 64, 0, 0),
        (120, -1, 0xFFFF, Kind.LOST, 0, 0, 0, 0, 0, 7),
        (150, 1, 0, Kind.SWITCH, 0, 0, 1, 0, 0, 0),
        (160, 2, 1, Kind.SWITCH, 0, 0, 1, 0, 0, 0),
    ]
    accounts = play(np.array(rows, EVENT), [])
    assert accounts.lost == 7
    unbooked = [
        cpu.end_ns - cpu.start_ns - cpu.idle_ns - cpu.own_ns - cpu.idle_interrupted_ns
        for cpu in accounts.cpus
    ]
    assert unbooked == [20, 10]  # from each CPU's last event to the loss


def test_a_loss_of_every_cpu_is_of_one_that_tells_nothing_before() -> None:
    rows = [
        (100, 1, 0, Kind.SWITCH, 0, 0, 1, 0, 0, 0),
        (120, -1, EVERY_CPU, Kind.LOST, 0, 0, 0, 0, 0, 7),
        (160, 2, 1, Kind.SWITCH, 0, 0, 1, 0, 0, 0),
    ]
    for cuts in ([], [1], [2]):
        cpu = play(np.array(rows, EVENT), cuts).cpus[1]
        assert (cpu.lost, cpu.start_ns, cpu.own_ns) == (7, 100, 40)


def test_a_cpu_is_accounted_for_between_begin_and_end() -> None:
    """What comes before and after is not; what was under way at either end is excused."""
    rows = [
        (50, 1, 0, Kind.SWITCH, 0, 2, 1, 0, 0, 0),
        (100, 2, 0, Kind.BEGIN, 0, 0, 0, 1, 0, 0),
        (110, 2, 0, Kind.SOFTIRQ_EXIT, 0, 3, 0, 0, 0, 0),
        (120, 2, 0, Kind.SOFTIRQ_ENTRY, 0, 3, 0, 0, 0, 0),
        (150, 2, 0, Kind.END, Flag.BILLED, 0, 0, 0, 0, 44),
        (160, 2, 0, Kind.SWITCH, 0, 0, 1, 0, 0, 0),
    ]
    accounts = play(np.array(rows, EVENT), [3])
    (cpu,), (task,) = accounts.cpus, accounts.tasks
    assert (cpu.start_ns, cpu.end_ns, cpu.own_ns) == (100, 150, 20)
    assert cpu.stolen_softirq_ns[3] == 30
    assert (cpu.switches, cpu.unmatched) == (0, 0)
    assert (task.pid, task.billed, task.sums[:3]) == (2, True, (50, 20, 44))
