"""What a task was billed, from its parts: no record of the scheduler's of any task is in them."""

from __future__ import annotations

import sys

import pytest

from nettax.host import Host
from nettax.kernel import cpu_stat, cpus
from nettax.ledger import Charges, Ledger

ROUNDS = 4_000
FIRST, LAST = cpus.online()[0], cpus.online()[-1]
# Two tasks that wake each other through pipes; the second burns `work` rounds in between.
PING = """
import os, sys
rounds, work, *places = map(int, sys.argv[1:])
(a_in, a_out), (b_in, b_out) = os.pipe(), os.pipe()
child = os.fork()
os.sched_setaffinity(0, [places[bool(child)]])
for _ in range(rounds):
    if child:
        os.write(a_out, b"x"), os.read(b_in, 1)
    else:
        os.read(a_in, 1)
        for _ in range(work): pass
        os.write(b_out, b"x")
if child:
    os.waitpid(child, 0)
"""


def parts_ns(charges: Charges) -> int:
    return charges.oncpu_ns + charges.wakeup_ns - charges.waived_ns


@pytest.mark.parametrize(
    ("work", "places"),
    [(0, (FIRST, LAST)), (0, (LAST, LAST)), (100, (LAST, LAST))],
    ids=["through idle CPUs", "on one CPU", "preempting"],
)
def test_the_parts_are_the_bill(host: Host, work: int, places: tuple[int, int]) -> None:
    """Of each task, by the scheduler's record of it; of their cgroup, by its cpu.stat.

    On a host at rest on-CPU time alone misses a third of the first's bill, and of the last's two
    tasks an eighth each, which the one lacks and the other has too much.
    """
    cgroup = host.cgroup("ping")
    words = (*map(str, (ROUNDS, work, *places)),)
    with Ledger(by_cgroup=True) as ledger:
        child = host.spawn([sys.executable, "-ISc", PING, *words], cgroup=cgroup)
        assert child.wait() == 0
        interval = ledger.finish() - ledger.began
    assert interval.events.lost == 0
    id_ = cgroup.stat().st_ino
    bill = cpu_stat.usage(cgroup).total_ns
    # The slice in which it was moved there is the cgroup's as a whole.
    assert parts_ns(interval.cgroups[id_]) == pytest.approx(bill, rel=0.005)
    found = [task.charges for task in interval.charges if task.cgroup_id == id_]
    assert sum(charges.switches > ROUNDS // 2 for charges in found) == 2
    # To the ns, but for slices with an untraced switch inside, and for a task that is woken as its
    # CPU still looks for other work: it goes on with no switch, and for that moment with no bill.
    unseen = 0.001 if places == (FIRST, LAST) else 0
    for charges in found:
        left = parts_ns(charges) - charges.billed_ns
        assert left >= -interval.events.inferred_ns
        assert left <= interval.events.inferred_ns + unseen * charges.billed_ns
