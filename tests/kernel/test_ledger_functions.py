"""Time charged to the functions of kernel threads and work items: identities."""

from __future__ import annotations

import ctypes
import os
import time

import pytest

from nettax.experiment.trace_cost import STIMULI
from nettax.kernel.kallsyms import Kallsyms
from nettax.ledger import Interval, Ledger

pytestmark = pytest.mark.needs_root
SYS_MEMBARRIER = 324
MEMBARRIER_GLOBAL = 1


def address(name: str) -> int:
    found = Kallsyms.read().get(name)
    if not found or not found[0].address:
        pytest.skip(f"this kernel shows no {name}")
    return found[0].address


def check(interval: Interval) -> None:
    """A slice that is divided between two payers is still one slice."""
    assert interval.events.lost == 0
    for cpu in interval.cpus:
        assert cpu.residual_ns == 0


@pytest.mark.parametrize("raw", [False, True])
def test_a_thread_of_one_function(raw: bool) -> None:
    """All that the thread was charged is its function's."""
    function = address("rcu_gp_kthread")
    libc = ctypes.CDLL(None, use_errno=True)
    with Ledger(
        by_cgroup=True, functions=range(function, function + 1), raw_tracepoints=raw
    ) as ledger:
        for _ in range(20):  # each waits for a grace period, which that thread runs
            assert libc.syscall(SYS_MEMBARRIER, MEMBARRIER_GLOBAL, 0, 0) == 0
        interval = ledger.finish() - ledger.began
    check(interval)
    (thread,) = (task for task in interval.charges if task.followed)
    charged = interval.cgroups[function]
    assert charged.oncpu_ns > 0
    assert charged.switches >= 20
    for field in ("oncpu_ns", "own_ns", "stolen_ns", "billed_ns", "waived_ns", "switches"):
        assert getattr(charged, field) == getattr(thread.charges, field), field


@pytest.mark.parametrize("raw", [False, True])
def test_work_items(raw: bool) -> None:
    """What a pseudoterminal's items took is theirs alone, and less than all of their workers."""
    function = address("flush_to_ldisc")
    others = range(function, function + 1)
    with (
        STIMULI["workqueue"]() as once,
        Ledger(by_cgroup=True, functions=others, raw_tracepoints=raw) as ledger,
    ):
        for _ in range(2000):
            once()
        interval = ledger.finish() - ledger.began
    check(interval)
    charged = interval.cgroups[function]
    workers = [task for task in interval.charges if task.followed]
    assert workers
    assert all(task.comm.startswith("kworker/") for task in workers)
    assert 2000 * 100 < charged.oncpu_ns <= sum(task.charges.oncpu_ns for task in workers)
    assert charged.oncpu_ns == charged.own_ns + sum(charged.stolen_ns.values())


def test_nothing_is_followed_unasked() -> None:
    with STIMULI["workqueue"]() as once, Ledger(by_cgroup=True) as ledger:
        once()
        time.sleep(0.01)
        interval = ledger.finish() - ledger.began
    assert not any(task.followed for task in interval.charges)
    assert all(group < 1 << 63 for group in interval.cgroups)
    assert not any(name.startswith("workqueue") for name in ledger.tracepoints)
    assert os.getpid() in {task.tgid for task in interval.charges}
