"""A working set on this kernel: its memory, its life, and pollution that was planted."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from nettax.canary.canary import CanaryInterval
from nettax.canary.working_set import Parts, Speed, WorkingSet, parts
from nettax.errors import NettaxError, UsageError
from nettax.experiment.estimate import paired_difference
from nettax.host import spawn
from nettax.kernel import proc_pid
from nettax.kernel.files import read_word
from nettax.kernel.memory import ProcessMemory, available_bytes, process_memory

CPU = max(os.sched_getaffinity(0))
MIB = 1 << 20
# It runs for 0.3 ms, then sleeps for 1. With an argument it copies 256 KiB after 256 KiB of 16 MiB
# meanwhile, which leaves nothing of anybody else in the first two caches and the TLB.
NEIGHBOUR = """
import sys, time
chunk, half = 256 << 10, 32
memory = memoryview(bytearray(2 * half * chunk))
turn = 0
while True:
    end = time.perf_counter() + 0.0003
    while time.perf_counter() < end:
        if len(sys.argv) > 1:
            turn = (turn + 1) % half
            there, here = turn * chunk, (half + turn) * chunk
            memory[there : there + chunk] = memory[here : here + chunk]
    time.sleep(0.001)
"""


def memory_of(canary: WorkingSet) -> ProcessMemory:
    memory = process_memory(canary.pid)
    assert memory is not None
    return memory


def watch(canary: WorkingSet, seconds: float) -> CanaryInterval:
    before = canary.read()
    time.sleep(seconds)
    return canary.read() - before


def test_its_size_is_what_it_has_touched() -> None:
    with WorkingSet(CPU, 64 * MIB) as canary:
        assert memory_of(canary).resident_bytes >= 64 * MIB
        text = Path(f"/proc/{canary.pid}/smaps").read_text()
        resident = [int(line.split()[1]) * 1024 for line in text.splitlines() if "Rss:" in line]
        assert max(resident) == 64 * MIB
        assert canary.huge_bytes() == 0
    with WorkingSet(CPU, 0) as canary:
        assert memory_of(canary).resident_bytes < 64 * MIB
        assert canary.read().iterations > 0


def test_huge_pages_are_had_when_asked_for() -> None:
    offered = read_word("/sys/kernel/mm/transparent_hugepage/enabled") or "[never]"
    with WorkingSet(CPU, 64 * MIB, huge_pages=True) as canary:
        if "[never]" in offered:
            assert canary.huge_bytes() == 0
        elif canary.huge_bytes() == 0:
            pytest.skip("this host has no huge page to give")
        else:
            assert canary.huge_bytes() == 64 * MIB


def test_it_is_an_ordinary_task_that_goes_first_when_memory_runs_out() -> None:
    with WorkingSet(CPU, MIB) as canary:
        assert proc_pid.comm(canary.pid) == "nettax-canary"
        assert os.sched_getaffinity(canary.pid) == {CPU}
        assert os.sched_getscheduler(canary.pid) == os.SCHED_OTHER
        assert Path(f"/proc/{canary.pid}/oom_score_adj").read_text() == "1000\n"
    assert not Path(f"/proc/{canary.pid}").exists()


def test_more_memory_than_there_is_is_refused() -> None:
    available = available_bytes()
    assert available is not None
    with pytest.raises(NettaxError, match="does not fit"), WorkingSet(CPU, available):
        pass
    with pytest.raises(UsageError), WorkingSet(100_000, 0):
        pass


def test_time_taken_is_no_slowness_and_makes_up_the_loss(
    await_quiet: Callable[[int], None],
) -> None:
    """A neighbour that computes takes half of the time, and of nothing else."""
    found = []
    with WorkingSet(CPU, 0) as canary:
        for _ in range(3):
            await_quiet(canary.pid)
            before = watch(canary, 0.2)
            with spawn(["sh", "-c", "while :; do :; done"], cpus=[CPU]) as neighbour:
                try:
                    halved = watch(canary, 0.4)
                finally:
                    neighbour.kill()
            found.append(parts(Speed.of(halved), Speed.of(before, watch(canary, 0.2))))
    assert statistics.median(each.direct for each in found) == pytest.approx(0.5, abs=0.05)
    assert statistics.median(each.slower for each in found) == pytest.approx(0, abs=0.03)


@dataclass
class Planted:
    """What a neighbour did to the canary, and the time that the kernel says it had."""

    parts: Parts
    neighbour: float


def plant(canary: WorkingSet, *pollute: str) -> Planted:
    before = watch(canary, 0.2)
    with spawn([sys.executable, "-I", "-S", "-c", NEIGHBOUR, *pollute], cpus=[CPU]) as neighbour:
        try:
            limit = time.monotonic() + 10
            while (times := proc_pid.schedstat(neighbour.pid)) is None or times.slices < 50:
                assert time.monotonic() < limit, "the neighbour never got going"
                time.sleep(0.01)
            with_it = watch(canary, 0.2)
            ended = proc_pid.schedstat(neighbour.pid)
        finally:
            neighbour.kill()
    assert ended is not None
    after = watch(canary, 0.2)
    share = (ended.cpu_ns - times.cpu_ns) / with_it.wall_ns
    return Planted(parts(Speed.of(with_it), Speed.of(before, after)), share)


def apart(planted: list[Planted]) -> float:
    """Direct loss beyond the neighbour's own time: switching to it and back, some µs of each ms."""
    return statistics.median(each.parts.direct - each.neighbour for each in planted)


@pytest.mark.full  # what third tasks take of the CPU meanwhile is in its figure
def test_a_loop_without_memory_loses_a_polluters_time_and_no_more(
    await_quiet: Callable[[int], None],
) -> None:
    planted = []
    with WorkingSet(CPU, 0) as canary:
        for _ in range(5):
            await_quiet(canary.pid)
            planted.append(plant(canary, "pollute"))
    assert -0.02 < apart(planted) < 0.05
    assert statistics.median(each.parts.slower for each in planted) == pytest.approx(0, abs=0.03)


@pytest.mark.full
def test_planted_pollution_shows_as_slowness_and_its_time_as_direct_loss(
    await_quiet: Callable[[int], None],
) -> None:
    polluters, spinners = [], []
    with WorkingSet(CPU, 256 * MIB) as canary:
        for _ in range(12):
            await_quiet(canary.pid)
            polluters.append(plant(canary, "pollute"))
            await_quiet(canary.pid)
            spinners.append(plant(canary))
    polluted, spun = ([p.parts.slower for p in each] for each in (polluters, spinners))
    print([round(share, 3) for share in polluted], [round(share, 3) for share in spun])
    # Both take the same time, and only one leaves the caches full of its own.
    assert paired_difference(polluted, spun).low > 0
    assert statistics.median(spun) < statistics.median(polluted) / 2
    assert -0.02 < apart(polluters + spinners) < 0.05
