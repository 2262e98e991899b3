"""What the kernel adds up by cgroup is what the CPUs and the tasks say."""

from __future__ import annotations

import sys
from pathlib import Path
from subprocess import Popen

import pytest

from nettax.host import Host
from nettax.kernel import cpus
from nettax.lab import Testbed
from nettax.ledger import Charges, CpuShare, Ledger
from nettax.ledger.rows import VECTORS

SPIN = "import time; end = time.monotonic() + 0.5\nwhile time.monotonic() < end: pass"
CHURN = """
import os
for _ in range(1000):
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
"""
ROAM = """
import os, sys, time
end = time.monotonic() + 1
while time.monotonic() < end:
    for cgroup in sys.argv[1:]:
        open(cgroup + "/cgroup.procs", "w").write(str(os.getpid()))
        for _ in range(20000): pass
"""


def python(source: str, *arguments: str) -> list[str]:
    return [sys.executable, "-ISc", source, *arguments]


def id_of(cgroup: Path) -> int:
    return cgroup.stat().st_ino


def pair_in(cgroup: Path, host: Host) -> set[int]:
    """Run two spinners in a cgroup, to their end; their pids."""
    children: list[Popen[bytes]] = [host.spawn(python(SPIN), cgroup=cgroup) for _ in "ab"]
    return {child.pid for child in children if child.wait() == 0}


def test_cgroups_add_up_to_the_cpus(host: Host) -> None:
    """To the nanosecond: the same slices are added up twice, by different keys."""
    spinners = host.cgroup("spin")
    with (
        Testbed(host, steer=cpus.online()[-1]) as bed,
        bed.udp(100_000),
        Ledger(by_cgroup=True, keep_tasks=False) as ledger,
    ):
        pair_in(spinners, host)
        interval = ledger.finish() - ledger.began
    assert not interval.tasks
    total, everywhere = Charges.total(interval.cgroups.values()), CpuShare.total(interval.cpus)
    assert everywhere.unkept_ns == 0
    assert everywhere.stolen_ns["net_rx"] > 0
    assert total.own_ns == everywhere.own_ns
    assert list(total.softirq_ns) == [everywhere.stolen_ns[vector] for vector in VECTORS]
    # The CPUs' figure also has what hard IRQs took from network kernel threads.
    assert 0 < total.hardirq_ns <= everywhere.stolen_ns["hardirq"]


def test_a_cgroup_is_the_sum_of_its_tasks(host: Host) -> None:
    cgroup = host.cgroup("two")
    with Ledger(by_cgroup=True) as ledger:
        pids = pair_in(cgroup, host)
        interval = ledger.finish() - ledger.began
        path = ledger.cgroup_path(id_of(cgroup))
    assert path and path.endswith(cgroup.name)
    assert len(pids) == 2
    sums = interval.cgroups[id_of(cgroup)]
    tasks = Charges.total(task.charges for task in interval.charges if task.pid in pids)
    # Each began elsewhere, and was moved in before it ran its command.
    assert sums.oncpu_ns <= tasks.oncpu_ns
    assert sums.oncpu_ns == pytest.approx(tasks.oncpu_ns, rel=0.02)
    assert sums.billed_ns == pytest.approx(tasks.billed_ns, rel=0.02)
    assert sums.own_ns + sum(sums.stolen_ns.values()) == sums.oncpu_ns
    assert sums.wait_ns == pytest.approx(tasks.wait_ns, rel=0.1, abs=20_000_000)


def test_a_task_that_moves_is_charged_where_it_is(host: Host) -> None:
    homes = [host.cgroup("a"), host.cgroup("b")]
    with Ledger(by_cgroup=True) as ledger:
        child = host.spawn(python(ROAM, *map(str, homes)))
        earlier, last = ledger.began, ledger.read()
        while child.poll() is None:
            for now, before in zip(
                (last.cgroups.get(id_of(home), Charges()) for home in homes),
                (earlier.cgroups.get(id_of(home), Charges()) for home in homes),
                strict=True,
            ):
                assert now.oncpu_ns >= before.oncpu_ns
                assert now.billed_ns >= before.billed_ns
            earlier, last = last, ledger.read()
        # A task that has ended is told by the first reading after that, and by none later.
        ends = (ledger.finish() - ledger.began, last - ledger.began)
        interval = next(end for end in ends if any(t.pid == child.pid for t in end.charges))
    a, b = (interval.cgroups[id_of(home)] for home in homes)
    whole = interval.task(child.pid)
    assert a.oncpu_ns + b.oncpu_ns == pytest.approx(whole.oncpu_ns, rel=0.1)
    assert min(a.oncpu_ns, b.oncpu_ns) > 0.1 * whole.oncpu_ns


def test_tasks_are_forgotten_as_they_end(host: Host) -> None:
    """With room for a few hundred at a time, however many come between two readings."""
    with Ledger(by_cgroup=True, keep_tasks=False, max_tasks=600) as ledger:
        host.spawn(python(CHURN)).wait()
        interval = ledger.finish() - ledger.began
    assert interval.events.unkept_ns == 0
    assert interval.events.unmatched <= interval.events.inferred_ns  # nothing else went amiss


def test_what_finds_no_room_is_told_as_such(host: Host) -> None:
    cgroup = host.cgroup("late")
    with Ledger(by_cgroup=True, max_cgroups=1) as ledger:
        ledger.read()  # whichever cgroup comes first has the one place
        pids = pair_in(cgroup, host)
        interval = ledger.finish() - ledger.began
    assert id_of(cgroup) not in interval.cgroups
    tasks = Charges.total(task.charges for task in interval.charges if task.pid in pids)
    assert interval.cgroups[0].own_ns >= 0.98 * tasks.own_ns


def test_a_cgroup_that_was_removed_can_be_forgotten(host: Host) -> None:
    cgroup = host.cgroup("brief")
    gone = id_of(cgroup)
    with Ledger(by_cgroup=True, keep_tasks=False) as ledger:
        pair_in(cgroup, host)
        first = ledger.read()
        cgroup.rmdir()
        assert first.cgroups[gone].own_ns > 0
        assert ledger.read().cgroups[gone] == first.cgroups[gone]
        ledger.forget_cgroups([gone])
        assert gone not in ledger.read().cgroups
        assert ledger.cgroup_path(gone) is None
