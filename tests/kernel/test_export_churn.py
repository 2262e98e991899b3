"""Months of containers, in little: what is remembered of them stays bounded."""

from __future__ import annotations

import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nettax.export.snapshot import Snapshot, Source
from nettax.export.workloads import OTHER
from nettax.host import Host
from nettax.ledger import Charges, Ledger, Reading
from nettax.ledger.charges import WAKEUP

pytestmark = pytest.mark.needs_root

ROOM = 40  # cgroups in the kernel's map
GENERATIONS, EACH = 12, 10  # three times as many as there is room for


def generation(top: Path, number: int) -> list[Path]:
    """Cgroups in which something has run, and runs no more.

    A task counts where it is switched out: the shell waits in each for a child.
    """
    cgroups = [top / f"job-{number}-{i}.service" for i in range(EACH)]
    for cgroup in cgroups:
        cgroup.mkdir()
    script = "for f; do echo 0 > $f/cgroup.procs; sleep 0; done; echo 0 > $0/cgroup.procs"
    subprocess.run(["sh", "-c", script, str(top), *map(str, cgroups)], check=True)
    return cgroups


def test_what_is_gone_makes_room(host: Host) -> None:
    top = host.cgroup("churn")
    with Ledger(by_cgroup=True, keep_tasks=False, max_cgroups=ROOM) as ledger:
        source = Source(ledger, most_workloads=5)
        before: Snapshot | None = None
        known, entries = [], []
        for number in range(GENERATIONS):
            cgroups = generation(top, number)
            found = source.snapshot()  # named while they are there
            for cgroup in cgroups:
                cgroup.rmdir()
            found = source.snapshot()
            known.append(len(set(source._workloads.known())))
            entries.append(len(dict(ledger._cgroups.items())))
            if before:
                kept = before.workloads.keys() & found.workloads.keys()
                assert all(grew(before.workloads[label], found.workloads[label]) for label in kept)
            before = found
        assert before
        assert len(before.workloads) <= 6
        assert before.workloads[OTHER].switches >= GENERATIONS * EACH
        # Of those that are gone only the last generation is still to be forgotten.
        others = known[0] - EACH
        assert max(known) <= others + 2 * EACH
        assert max(entries) <= ROOM + 1


def grew(then: Charges, now: Charges) -> bool:
    """None of them fell by more than a reading's correction of what was in flight.

    But for `wakeup_ns`, which may: billed for what others did, less what others were billed for.
    """
    pairs = enumerate(zip(then.values, now.values, strict=True))
    return all(b >= a - 10_000 for i, (a, b) in pairs if i != WAKEUP)


def test_a_reading_after_all_are_gone(host: Host) -> None:
    """Cgroups that no scrape has ever seen are told as other, and forgotten."""
    top = host.cgroup("unseen")
    with Ledger(by_cgroup=True, keep_tasks=False) as ledger:
        source = Source(ledger, most_workloads=5)
        source.snapshot()
        at_first = {*source._workloads.known(), top.stat().st_ino}
        for cgroup in generation(top, 0):
            cgroup.rmdir()
        assert source.snapshot().workloads[OTHER].switches >= EACH
        deadline = time.monotonic() + 10
        while extra := set(source._workloads.known()) - at_first:
            assert time.monotonic() < deadline, extra
            source.snapshot()


class Alone(Ledger):
    """A ledger that is read by one thread at a time, or says so."""

    _reader = threading.Semaphore(1)

    def read(self) -> Reading:
        assert self._reader.acquire(blocking=False), "another thread is at it"
        time.sleep(0.002)  # long enough for every other thread to come
        self._reader.release()
        return super().read()


def test_snapshots_by_several_threads() -> None:
    with Alone(by_cgroup=True, keep_tasks=False) as ledger, ThreadPoolExecutor(8) as pool:
        source = Source(ledger, most_workloads=5)
        found = list(pool.map(lambda _: source.snapshot(), range(40)))
    assert len(found) == 40
