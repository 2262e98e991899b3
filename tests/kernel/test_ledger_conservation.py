"""Every nanosecond of every CPU is on one account, whatever the load; and a lost event shows."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from nettax.host import Host, spawn
from nettax.kernel import cpus
from nettax.lab import Testbed
from nettax.ledger import Interval, Ledger

WINDOW_S = 1.0
MOST = 0.005  # of wall time, on any CPU

CHURN = """
import os, time
end = time.monotonic() + 10
step = 1 / 500
due = time.monotonic()
while time.monotonic() < end:
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
    due += step
    time.sleep(max(0, due - time.monotonic()))
"""
MIGRANTS = """
import os, time
cpus = sorted(os.sched_getaffinity(0))
end = time.monotonic() + 10
while time.monotonic() < end:
    for cpu in cpus:
        os.sched_setaffinity(0, {cpu})
        for _ in range(2000): pass
"""


@contextmanager
def nothing() -> Iterator[None]:
    yield


@contextmanager
def python(*sources: str) -> Iterator[None]:
    children = [spawn([sys.executable, "-c", source]) for source in sources]
    try:
        yield
    finally:
        for child in children:
            child.kill()
            child.wait()


@contextmanager
def flood(pps: int | None, filter_instructions: int = 0) -> Iterator[None]:
    with Host() as host, Testbed(host, steer=cpus.online()[-1]) as bed, ExitStack() as stack:
        flow = stack.enter_context(bed.udp(pps, filter_instructions=filter_instructions))
        while not flow.sent():
            time.sleep(0.005)
        yield


LOADS: dict[str, Callable[[], object]] = {
    "none": nothing,
    "busy loop": lambda: python("while True: pass"),
    "paced flood": lambda: flood(200_000),
    "unpaced flood": lambda: flood(None),
    "ksoftirqd": lambda: flood(100_000, 2000),
    "500 processes a second": lambda: python(CHURN),
    "migrating tasks": lambda: python(*[MIGRANTS] * 3),
}


def measure(ledger: Ledger) -> Interval:
    before = ledger.read()
    time.sleep(WINDOW_S)
    return ledger.read() - before


@pytest.mark.parametrize("load", LOADS)
def test_residual(load: str) -> None:
    with LOADS[load](), Ledger() as ledger:  # type: ignore[attr-defined]
        interval = measure(ledger)
    for cpu in interval.cpus:
        assert abs(cpu.residual_ns) <= MOST * cpu.wall_ns
        assert abs(cpu.wall_ns - WINDOW_S * 1e9) < 0.2e9
    assert interval.events.lost == 0
    assert interval.events.unkept_ns == 0


@pytest.mark.parametrize("load", ["paced flood", "500 processes a second"])
def test_tasks_add_up_to_cpus(load: str) -> None:
    """What tasks were on the CPU is what CPUs were not idle."""
    with LOADS[load](), Ledger() as ledger:  # type: ignore[attr-defined]
        time.sleep(WINDOW_S)
        interval = ledger.finish() - ledger.began
    busy = sum(cpu.wall_ns - cpu.idle_ns - cpu.idle_interrupted_ns for cpu in interval.cpus)
    oncpu = sum(task.oncpu_ns for task in interval.tasks)
    assert oncpu == pytest.approx(busy, abs=5)
    for task in interval.tasks:
        softirqs = sum(ns for name, ns in task.stolen_ns.items() if name != "hardirq")
        assert task.oncpu_ns == pytest.approx(task.own_ns + sum(task.stolen_ns.values()), abs=5)
        assert sum(task.stolen_by_trigger_ns.values()) == pytest.approx(softirqs, abs=5)
        assert sum(task.displaced_ns.values()) <= task.wait_ns + 1000


@pytest.mark.parametrize("load", ["paced flood", "500 processes a second"])
def test_lost_events_show(load: str) -> None:
    with LOADS[load](), Ledger(drop_every=1000) as ledger:  # type: ignore[attr-defined]
        interval = measure(ledger)
    residual = max(abs(cpu.residual_ns) / cpu.wall_ns for cpu in interval.cpus)
    assert interval.events.unmatched >= 5 or residual > MOST


def test_full_map_is_told_and_conserves() -> None:
    with python(CHURN), Ledger(max_tasks=16) as ledger:
        interval = measure(ledger)
    assert interval.events.unkept_ns > 0
    for cpu in interval.cpus:
        assert abs(cpu.residual_ns) <= MOST * cpu.wall_ns


def test_raw_tracepoints_agree() -> None:
    """The twin programs, for kernels that refuse to attach by BTF, conserve as well."""
    with flood(100_000), Ledger(raw_tracepoints=True) as raw, Ledger() as typed:
        before_raw, before = raw.read(), typed.read()
        time.sleep(WINDOW_S)
        pairs = zip((raw.read() - before_raw).cpus, (typed.read() - before).cpus, strict=True)
    for a, b in pairs:
        assert abs(a.residual_ns) <= MOST * a.wall_ns
        assert a.softirq_count["net_rx"] == pytest.approx(
            b.softirq_count["net_rx"], rel=0.02, abs=5
        )
        assert a.own_ns == pytest.approx(b.own_ns, rel=0.02, abs=10e6)


def test_reaping_keeps_the_dead() -> None:
    """Ten times more tasks come and go than the map holds, and none is missing."""
    with Ledger(max_tasks=256) as ledger:
        for _ in range(40):
            for _ in range(25):
                subprocess.run(["/bin/true"], check=True)
            ledger.reap()
        interval = ledger.finish() - ledger.began
    dead = [task for task in interval.tasks if task.comm == "true" and task.exited]
    assert len(dead) == 1000
    assert len({task.pid for task in dead}) == 1000
    assert interval.events.unkept_ns == 0
    assert os.getpid() in {task.pid for task in interval.tasks}
