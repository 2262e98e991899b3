"""The live ledger and the replay of events recorded in the same seconds: two accounts of one time.

They share no code, and here the readings of the clock: programs that come one after the other
read it some ten ns apart, twice that where memory is cold, which is some percent of a short
interrupt. Both are cut, CPU by CPU, at the very moments of the ledger's two readings.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from nettax.canary import Canary
from nettax.events.model import EVENT, Kind
from nettax.events.native_file import NativeRecording
from nettax.events.recorder import Recorder
from nettax.events.saving import Saving, keep_up
from nettax.experiment.replay import Replayed, replayed
from nettax.host import Host
from nettax.kernel import cpus
from nettax.lab import Testbed
from nettax.ledger import Interval, Ledger, Reading
from nettax.ledger.rows import VECTORS

VICTIM = cpus.online()[-1]
SECONDS = 1.5
EDGE_NS = 3_000  # so close to a reading, an event may have met one of the two and not the other
AGREE = 0.01  # of an account,
SMALL = 0.0001  # or of the CPU's time: a hard IRQ that comes between their programs at a softirq


class Cut(NativeRecording):
    """A recording up to a time of each CPU, with an END there."""

    def __init__(self, path: Path, until: dict[int, int]) -> None:
        self._until = until
        super().__init__(path)

    def rows(self) -> Iterator[memoryview]:
        events = np.concatenate([np.frombuffer(r, EVENT).copy() for r in super().rows()])
        limit = np.zeros(max(self._until) + 1, np.uint64)
        limit[list(self._until)] = list(self._until.values())
        events = events[events["time_ns"] <= limit[events["cpu"]]]
        ends = np.zeros(len(self._until), EVENT)
        for end, (cpu, time_ns) in zip(ends, self._until.items(), strict=True):
            last = events[events["cpu"] == cpu][-1]
            end["time_ns"], end["cpu"], end["kind"] = time_ns, cpu, Kind.END
            end["pid"] = last["id"] if last["kind"] == Kind.SWITCH else last["pid"]
        together = np.concatenate([events, ends])
        yield memoryview(together[np.argsort(together["time_ns"], kind="stable")].tobytes())


def measured(path: Path) -> tuple[Reading, Reading]:
    """Record for some seconds; two readings of a ledger within them."""
    with Recorder(leave_moments=True) as recorder:
        saving = Saving(path, recorder)
        readings: list[Reading] = []
        with Ledger(moments=recorder.moments) as ledger:
            due = iter((0.2, 0.2 + SECONDS, 0.4 + SECONDS))
            start, wanted = time.monotonic(), next(due)

            def ended(pause: float) -> bool:
                nonlocal wanted
                time.sleep(min(pause, 0.05))
                if time.monotonic() - start > wanted:
                    if len(readings) == 2:
                        return True
                    readings.append(ledger.read())
                    wanted = next(due)
                return False

            keep_up(recorder, saving, ended)
        facts = saving.finish().facts
    assert not facts["lost"], "the rings are too small for this host"
    assert not facts["missed"]
    return readings[0], readings[1]


@contextmanager
def flood() -> Iterator[None]:
    """Packets by IPI to a CPU where a canary spins."""
    with ExitStack() as stack:
        host = stack.enter_context(Host())
        bed = stack.enter_context(Testbed(host, steer=VICTIM))
        stack.enter_context(Canary(VICTIM))
        flow = stack.enter_context(bed.udp(100_000))
        while not flow.sent():
            time.sleep(0.005)
        yield


@contextmanager
def churn() -> Iterator[None]:
    """Processes that come and go."""
    loop = "while :; do /bin/true; /bin/true & wait; done"
    child = subprocess.Popen(["/bin/sh", "-c", loop])
    try:
        yield
    finally:
        child.terminate()
        child.wait()


@contextmanager
def nested() -> Iterator[None]:
    """Costly softirqs, interrupted by other packets' IPIs, with ksoftirqd taking part."""
    with ExitStack() as stack:
        host = stack.enter_context(Host())
        bed = stack.enter_context(Testbed(host, steer=VICTIM))
        stack.enter_context(Canary(VICTIM))
        flow = stack.enter_context(bed.udp(60_000, filter_instructions=1000))
        while not flow.sent():
            time.sleep(0.005)
        yield


@pytest.mark.parametrize(
    "load",
    [
        flood,
        pytest.param(churn, marks=pytest.mark.full),
        pytest.param(nested, marks=pytest.mark.full),
    ],
)
def test_replay_agrees_with_the_ledger(
    load: Callable[[], AbstractContextManager[None]], tmp_path: Path
) -> None:
    path = tmp_path / "events"
    with load():
        first, last = measured(path)
    live = last - first
    edges = [{cpu: reading.cpus[cpu].now_ns for cpu in reading.cpus} for reading in (first, last)]
    before, after = (replayed(Cut(path, edge)) for edge in edges)
    _compare_cpus(live, before, after, near(path, edges))
    _compare_tasks(live, before, after)


def near(path: Path, edges: list[dict[int, int]]) -> dict[int, int]:
    """Events within a moment of a reading, by CPU: by so much may counts differ."""
    with NativeRecording(path) as recording:
        events = np.concatenate(list(recording.chunks()))
    found = {}
    for cpu in edges[0]:
        times = events["time_ns"][events["cpu"] == cpu].astype(np.int64)
        found[cpu] = sum(int((abs(times - edge[cpu]) < EDGE_NS).sum()) for edge in edges)
    return found


def _compare_cpus(live: Interval, before: Replayed, after: Replayed, near: dict[int, int]) -> None:
    then = {cpu.cpu: cpu for cpu in before.cpus}
    now = {cpu.cpu: cpu for cpu in after.cpus}
    for cpu in live.cpus:
        a, b, slack = then[cpu.cpu], now[cpu.cpu], near[cpu.cpu]
        for name in ("hardirq_count", "ipi_count", "polls", "packets", "switches"):
            grown = getattr(b, name) - getattr(a, name)
            most = slack * (300 if name == "packets" else 1)
            _same(f"CPU {cpu.cpu} {name}", getattr(cpu, name), grown, most)
        for vector in VECTORS:
            runs = b.softirq_count[vector] - a.softirq_count[vector]
            _same(f"CPU {cpu.cpu} {vector}", cpu.softirq_count[vector], runs, slack)
            spent = b.softirq_ns[vector] - a.softirq_ns[vector]
            room = max(AGREE * spent, SMALL * cpu.wall_ns)
            _same(f"CPU {cpu.cpu} {vector} ns", cpu.softirq_ns[vector], spent, room)
        spent = b.hardirq_ns - a.hardirq_ns
        room = max(AGREE * spent, SMALL * cpu.wall_ns)
        _same(f"CPU {cpu.cpu} hard IRQs ns", cpu.hardirq_ns, spent, room)
        room = AGREE * cpu.wall_ns + live.events.inferred_ns
        _same(f"CPU {cpu.cpu} idle ns", cpu.idle_ns, b.idle_ns - a.idle_ns, room)
        _same(f"CPU {cpu.cpu} own ns", cpu.own_ns, b.own_ns - a.own_ns, room)


def _same(what: str, ledger: int, replay: int, room: float) -> None:
    """To be seen with `pytest -s`."""
    if ledger or replay:
        share = 100 * (replay - ledger) / (ledger or 1)
        print(f"{what:<28}{ledger:>14,}{replay:>14,}  {share:+.3f} %")
    assert abs(ledger - replay) <= room, what


def _compare_tasks(live: Interval, before: Replayed, after: Replayed) -> None:
    then = {(task.pid, task.start_ns): task for task in before.tasks}
    now = {(task.pid, task.start_ns): task for task in after.tasks}
    seen = 0
    for task in live.tasks:
        if task.oncpu_ns < 2_000_000:
            continue
        seen += 1
        b = now[task.pid, task.start_ns]
        a = then.get((task.pid, task.start_ns))
        for name in ("oncpu_ns", "own_ns"):
            grown = getattr(b, name) - (getattr(a, name) if a else 0)
            room = max(AGREE * task.oncpu_ns, SMALL * live.wall_ns) + live.events.inferred_ns
            _same(f"{task.comm} {name}", getattr(task, name), grown, room)
        for kind, spent in task.stolen_ns.items():
            grown = b.stolen_ns[kind] - (a.stolen_ns[kind] if a else 0)
            room = max(AGREE * spent, SMALL * live.wall_ns) + live.events.inferred_ns
            _same(f"{task.comm} {kind} ns", spent, grown, room)
    assert seen
