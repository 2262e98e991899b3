"""Paced canaries on this kernel: their share, what they find, and how they end."""

from __future__ import annotations

import json
import os
import select
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from nettax.canary import Canary
from nettax.canary.paced import BURST_NS, Paced, PacedInterval
from nettax.errors import UsageError
from nettax.experiment.demo import FLOWS
from nettax.experiment.score import Score
from nettax.experiment.traffic import settle
from nettax.host import Host, spawn
from nettax.kernel import proc_pid
from nettax.lab import Testbed

CPUS = sorted(os.sched_getaffinity(0))
CPU = CPUS[-1]
SPIN = ["sh", "-c", "while :; do :; done"]
# It has its CPU whenever it wants it, for some 120 µs at a time: short beside a burst, and long
# beside what switching to it and back takes.
REAL_TIME = """
import os, time
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
while True:
    end = time.perf_counter() + 120e-6
    while time.perf_counter() < end:
        pass
    time.sleep(300e-6)
"""


def watch(canary: Paced, seconds: float) -> tuple[PacedInterval, float]:
    """What it found, and how long that was in ns."""
    (before,), start = canary.read(), time.monotonic_ns()
    time.sleep(seconds)
    (after,) = canary.read()
    return after - before, time.monotonic_ns() - start


@contextmanager
def neighbour(command: list[str]) -> Iterator[int]:
    with spawn(command, cpus=[CPU]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def test_each_cpu_has_a_thread_with_the_canarys_name() -> None:
    with Paced(CPUS, 0.01) as canary:
        readings = canary.read()
        assert [reading.cpu for reading in readings] == CPUS
        assert {reading.tid for reading in readings} == set(proc_pid.threads(canary.pid))
        for reading in readings:
            assert proc_pid.comm(canary.pid, reading.tid) == "nettax-canary"
            assert os.sched_getaffinity(reading.tid) == {reading.cpu}
            assert os.sched_getscheduler(reading.tid) == os.SCHED_OTHER


@pytest.mark.parametrize("beside", [None, SPIN], ids=["alone", "beside a busy loop"])
def test_it_never_has_more_than_its_share(beside: list[str] | None) -> None:
    with Paced([CPU], 0.05) as canary:
        if beside:
            with neighbour(beside):
                found, wall_ns = watch(canary, 1.0)
        else:
            found, wall_ns = watch(canary, 1.0)
    # The share is kept from its start, so a reading may begin just before a burst that was saved.
    assert found.cpu_ns <= 0.05 * wall_ns + 2 * BURST_NS
    assert 10 <= found.bursts <= 0.05 * wall_ns / BURST_NS + 1


@pytest.mark.needs_root
def test_it_finds_what_is_taken(await_quiet: Callable[[], None]) -> None:
    """A real-time neighbour has the CPU for a share of time that the kernel tells."""
    apart = []
    with Paced([CPU], 0.2) as canary:
        for _ in range(5):
            await_quiet()
            quiet, _ = watch(canary, 0.5)
            with neighbour([sys.executable, "-I", "-S", "-c", REAL_TIME]) as pid:
                limit = time.monotonic() + 10
                while (start := proc_pid.schedstat(pid)) is None or start.slices < 100:
                    assert time.monotonic() < limit, "the neighbour never got going"
                    time.sleep(0.01)
                found, wall_ns = watch(canary, 1.0)
                end = proc_pid.schedstat(pid)
            assert end is not None and found.taken is not None and quiet.taken is not None
            share = (end - start).cpu_ns / wall_ns
            assert share > 0.1
            apart.append((1 - found.taken) / (1 - quiet.taken) - (1 - share))
    # Switching to it and back takes some µs of each 420.
    assert -0.12 < statistics.median(apart) < 0.05


@pytest.mark.needs_root
def test_the_score_has_the_ledgers_account_of_the_same_task() -> None:
    with Score([CPU], 0.2) as score:
        time.sleep(0.3)
        (first,) = score.read()
        time.sleep(0.3)
        (second,) = score.read()
        (total,) = score.total()
    for line in (first, second, total):
        assert line.task is not None
        assert line.task.pid == line.canary.tid
        # It runs in its bursts, and to get ready for them.
        assert line.task.oncpu_ns <= line.canary.bursts * BURST_NS * 1.3
        assert line.booked is not None and line.booked >= 0
        assert 0 < line.own_cpu_ns < line.wall_ns
    assert total.canary.bursts == first.canary.bursts + second.canary.bursts
    assert total.canary.cpu_ns == first.canary.cpu_ns + second.canary.cpu_ns


def test_a_cpu_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError), Paced([100_000], 0.01):
        pass


@contextmanager
def verb() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`nettax canary --watch` after its first line, and its canary as a pidfd."""
    command = [sys.executable, "-m", "nettax", "canary", "--watch", "--share", "10%"]
    with subprocess.Popen(
        [*command, "-I", "0.2", "--no-ledger", "--json"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            (cpu,) = json.loads(process.stdout.readline())["cpus"]
            pidfd = os.pidfd_open(cpu["canary"]["tid"])
            try:
                yield process, pidfd
            finally:
                os.close(pidfd)
        finally:
            process.kill()


def ends(pidfd: int) -> bool:
    return bool(select.select([pidfd], [], [], 10)[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_watch_with_its_total(number: signal.Signals) -> None:
    with verb() as (process, pidfd):
        process.send_signal(number)
        assert process.stdout is not None
        documents = [json.loads(line) for line in process.stdout]
        assert process.wait(10) == 0
        assert ends(pidfd)
    assert [document["total"] for document in documents[-2:]] == [False, True]
    total = documents[-1]
    assert total["schema"] == "nettax.canary-watch/1"
    (cpu,) = total["cpus"]
    assert cpu["canary"]["cpu_ns"] <= 0.1 * total["wall_ns"] + 2 * BURST_NS
    assert cpu["task"] is None and cpu["ledger"] is None


def test_the_canary_dies_with_a_watch_that_is_killed() -> None:
    with verb() as (process, pidfd):
        process.kill()
        assert ends(pidfd)


@pytest.mark.needs_root
@pytest.mark.full
@pytest.mark.parametrize("flow", ["light", "heavy"])
def test_bursts_find_what_one_that_runs_all_the_time_finds(host: Host, flow: str) -> None:
    """Beside it on the same CPU, at 10 %: both are interrupted alike."""
    apart = []
    with Testbed(host, steer=CPU) as bed, Canary(CPU, "gap") as full, Paced([CPU], 0.1) as paced:
        for _ in range(10):
            with bed.udp(cpu=CPUS[0], **FLOWS[flow]) as packets:
                settle(packets)
                start = full.read()
                bursts, _ = watch(paced, 1.0)
                whole = full.read() - start
            assert bursts.taken is not None
            # Its gaps but for the waits, in which the other had the CPU, or somebody else.
            interrupted = (whole.gap_ns - whole.run_delay_ns) / (whole.wall_ns - whole.run_delay_ns)
            apart.append(bursts.taken - interrupted)
            print(f"{flow}: all the time {interrupted:.3f}, in bursts {bursts.taken:.3f}")
    assert abs(statistics.median(apart)) < 0.05
