"""What /proc says of this host, held against other witnesses."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from nettax.kernel import cpus, proc_pid
from nettax.kernel.interrupts import interrupts, softirqs
from nettax.kernel.proc_stat import TICK_NS, Stat, stat
from nettax.kernel.softnet import softnet_stat

ROUNDING_NS = 8 * TICK_NS  # each of eight accounts is rounded down, at either reading


@pytest.fixture(scope="module")
def second() -> tuple[Stat, Stat, int, int]:
    """Return two readings of /proc/stat, and the least and most ns that lie between them."""
    times = [time.monotonic_ns()]
    earlier = stat()
    times.append(time.monotonic_ns())
    time.sleep(1)
    times.append(time.monotonic_ns())
    later = stat()
    times.append(time.monotonic_ns())
    return earlier, later, times[2] - times[1], times[3] - times[0]


def test_each_cpu_accounts_for_the_wall(second: tuple[Stat, Stat, int, int]) -> None:
    earlier, later, least_ns, most_ns = second
    assert tuple(later.cpus) == cpus.online()
    for cpu, times in later.cpus.items():
        accounted_ns = (times - earlier.cpus[cpu]).wall_ns
        assert least_ns - ROUNDING_NS <= accounted_ns <= most_ns + ROUNDING_NS


def test_counts_only_grow(second: tuple[Stat, Stat, int, int]) -> None:
    earlier, later, _, _ = second
    assert later.interrupts > earlier.interrupts
    assert later.softirqs > earlier.softirqs
    assert later.context_switches > earlier.context_switches


def between(read: Callable[[], int], low: Callable[[], int]) -> tuple[int, int, int]:
    """Bracket one reading by another that tells the same."""
    return low(), read(), low()


def test_softirqs_add_up_to_those_of_proc_stat() -> None:
    before, found, after = between(
        lambda: sum(sum(per_cpu.values()) for per_cpu in softirqs().values()),
        lambda: stat().softirqs,
    )
    assert before <= found <= after


def test_interrupts_add_up_to_those_of_proc_stat() -> None:
    before, found, after = between(
        # Shootdowns are function calls, so CAL has them (arch/x86/kernel/irq.c).
        lambda: sum(line.total for line in interrupts().values() if line.name != "TLB"),
        lambda: stat().interrupts,
    )
    # Not exact: each architecture leaves some small lines out of its sum (x86: HYP).
    assert before * 0.98 <= found <= after * 1.02


def test_softnet_has_a_line_for_each_online_cpu() -> None:
    assert tuple(softnet_stat()) == cpus.online()


@pytest.fixture
def spinner() -> Iterator[subprocess.Popen[bytes]]:
    """Start a process of one thread that computes, pinned to the last CPU."""
    code = (
        f"import os, time; os.sched_setaffinity(0, {{{cpus.online()[-1]}}})\n"
        "while time.process_time() < 10: pass"  # it ends by itself if nobody ends it
    )
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        yield process
        process.kill()


def test_a_busy_process(spinner: subprocess.Popen[bytes]) -> None:
    pid = spinner.pid
    deadline = time.monotonic() + 5
    while True:
        task, sched = proc_pid.task_stat(pid), proc_pid.schedstat(pid)
        assert task is not None
        assert sched is not None
        if sched.cpu_ns > 300_000_000 or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    assert sched.cpu_ns > 300_000_000
    assert task.billed_ns == pytest.approx(sched.cpu_ns, abs=5 * TICK_NS)
    assert (task.state, task.ppid, task.num_threads) == ("R", os.getpid(), 1)
    assert task.last_cpu == cpus.online()[-1]
    arguments = proc_pid.cmdline(pid)
    assert arguments is not None
    assert arguments[:2] == (sys.executable, "-c")
    age_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - task.start_ns
    assert 300_000_000 < age_ns < 30_000_000_000


def test_a_process_sums_its_threads_and_schedstat_does_not() -> None:
    done = threading.Event()
    worked = threading.Event()

    def work() -> None:
        while time.thread_time_ns() < 200_000_000:
            pass
        worked.set()
        done.wait(10)

    before = proc_pid.schedstat(os.getpid())
    thread = threading.Thread(target=work)
    thread.start()
    assert worked.wait(10)
    tid = thread.native_id
    assert tid is not None
    assert tid in proc_pid.threads(os.getpid())
    own = proc_pid.schedstat(os.getpid(), tid)
    after = proc_pid.schedstat(os.getpid())
    process, part = proc_pid.task_stat(os.getpid()), proc_pid.task_stat(os.getpid(), tid)
    done.set()
    thread.join()
    assert before and after and own and process and part
    assert own.cpu_ns >= 200_000_000
    assert (after - before).cpu_ns < 150_000_000
    assert process.billed_ns >= part.billed_ns >= 200_000_000 - 3 * TICK_NS
    assert process.num_threads >= 2
    deadline = time.monotonic() + 5
    while proc_pid.task_stat(os.getpid(), tid):  # Python's thread is over before the kernel's
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_zombie_and_then_nothing() -> None:
    with subprocess.Popen(["true"]) as process:
        deadline = time.monotonic() + 5
        while (task := proc_pid.task_stat(process.pid)) and task.state != "Z":
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert task is not None
        assert proc_pid.cmdline(process.pid) == ()
    assert proc_pid.task_stat(process.pid) is None
    assert proc_pid.comm(process.pid) is None
    assert process.pid not in proc_pid.pids()


def test_ksoftirqd_is_a_kernel_thread() -> None:
    tasks = filter(None, map(proc_pid.task_stat, proc_pid.pids()))
    found = {task.comm: task for task in tasks if task.ppid == 2}  # kthreadd
    assert {f"ksoftirqd/{cpu}" for cpu in cpus.online()} <= set(found)
    assert proc_pid.cmdline(found["ksoftirqd/0"].pid) == ()
