"""What a scrape is made of: the ledger since it began, folded by workload.

The only module here that reads the ledger. Between two snapshots it does nothing.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nettax.errors import MissingFeature
from nettax.export.workloads import Label, Workloads
from nettax.kernel.accounting import Accounting
from nettax.kernel.cgroup import v2_mount
from nettax.kernel.cpus import online
from nettax.ledger import (
    Charges,
    CpuShare,
    Events,
    IrqShare,
    Ledger,
    OwnCost,
    Reading,
    TaskCharges,
    TollPoint,
)
from nettax.ledger.rows import VECTORS

__all__ = ["Snapshot", "Source"]

HALF_LIFE_S = 300.0  # of what a task was taken, when tasks are ranked by it


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The ledger since it began."""

    cpus: Sequence[CpuShare]
    unaccounted: int
    """Online CPUs that are not among them."""
    squeezes: Mapping[int, int]
    """By CPU, however often the kernel's counter of 32 bits has wrapped."""
    toll: Mapping[int, TollPoint]
    """What an interrupt cost at each CPU's rate since the snapshot before, ns; if calibrated."""
    workloads: Mapping[Label, Charges]
    folded: int
    """Workloads that share a series."""
    tasks: Sequence[TaskCharges]
    irqs: Sequence[IrqShare]
    events: Events
    own_cost: OwnCost
    histograms: Mapping[str, Sequence[int]]
    """As in `Interval`."""
    accounting: Accounting


class Source:
    """Takes snapshots of a running ledger; by any thread.

    The ledger must have been made with `by_cgroup`, and with `keep_tasks` where tasks are wanted.
    """

    def __init__(self, ledger: Ledger, most_workloads: int, most_tasks: int = 0) -> None:
        """`most_workloads` and `most_tasks` have series of their own."""
        self._ledger = ledger
        self._lock = threading.Lock()  # readings must be added up in the order of their taking
        self._last = ledger.began
        self._workloads = Workloads(most_workloads)
        self._most_tasks = most_tasks
        self._weights: dict[tuple[int, int], float] = {}
        self._squeezes = dict.fromkeys(ledger.cpus, 0)
        self._mount: Path | None = None
        with suppress(MissingFeature):
            self._mount = v2_mount()

    def snapshot(self) -> Snapshot:
        """Read the ledger.

        :raises OSError: the kernel refuses
        """
        with self._lock:
            return self._snapshot()

    def _snapshot(self) -> Snapshot:
        reading = self._ledger.read()
        since = replace(reading, histograms={}) - self._last
        began = self._ledger.began
        whole = replace(reading, histograms={}, cgroups={}) - began
        now_s = reading.time_ns / 1e9
        self._last = reading  # at once: should what follows fail, nothing is counted twice
        self._workloads.update(since.cgroups, self._ledger.cgroup_paths, now_s)
        gone = self._gone(since.cgroups.keys())
        self._ledger.forget_cgroups(gone)
        self._workloads.forget(gone, now_s)
        kept = {key: sums for key, sums in reading.cgroups.items() if key not in gone}
        self._last = replace(reading, cgroups=kept)
        for cpu in since.cpus:
            self._squeezes[cpu.cpu] += cpu.squeezed or 0
        toll = since.toll
        return Snapshot(
            cpus=whole.cpus,
            unaccounted=len(set(online()) - set(self._ledger.cpus)),
            squeezes=dict(self._squeezes),
            toll={c.cpu: toll.at(_rate(c)) for c in since.cpus} if toll else {},
            workloads=self._workloads.totals(),
            folded=self._workloads.folded,
            tasks=self._top(whole.charges, since.charges, since.wall_ns / 1e9),
            irqs=whole.irqs,
            events=whole.events,
            own_cost=whole.own_cost,
            histograms=_summed(reading),
            accounting=whole.accounting,
        )

    def _gone(self, grown: Iterable[int]) -> set[int]:
        """Cgroups that were removed, and whose sums did not grow any more.

        One that still grew may have tasks on their way out; it is looked at again next time.
        """
        idle = set(self._workloads.known()) - set(grown) - {0}
        paths = self._ledger.cgroup_paths(idle)
        return {cgroup for cgroup in idle if not self._exists(cgroup, paths[cgroup])}

    def _exists(self, cgroup: int, path: str | None) -> bool:
        if path is None or self._mount is None:
            return False
        try:
            return Path(f"{self._mount}{path}").stat().st_ino == cgroup
        except OSError:
            return False

    def _top(
        self, whole: Sequence[TaskCharges], since: Sequence[TaskCharges], seconds: float
    ) -> Sequence[TaskCharges]:
        """The tasks from which most was taken lately, whoever asks and how often."""
        if not self._most_tasks:
            return ()
        decay = math.exp2(-seconds / HALF_LIFE_S)
        taken = {(t.pid, t.start_ns): t.charges.taken_ns for t in since}
        alive = [task for task in whole if not task.exited]
        self._weights = {
            key: self._weights.get(key, 0.0) * decay + taken.get(key, 0)
            for key in ((task.pid, task.start_ns) for task in alive)
        }
        alive.sort(key=lambda task: -self._weights[task.pid, task.start_ns])
        return alive[: self._most_tasks]


def _rate(cpu: CpuShare) -> float:
    """Interrupts a second."""
    return cpu.hardirq_count * 1e9 / cpu.wall_ns if cpu.wall_ns else 0.0


def _summed(reading: Reading) -> dict[str, Sequence[int]]:
    """Run times over all CPUs, since the ledger began."""
    rows = list(reading.histograms.values())
    if not rows:
        return {}

    def total(get: Callable[[Any], Sequence[int]]) -> list[int]:
        return [sum(slots) for slots in zip(*map(get, rows), strict=True)]

    hardirq, softirq = total(lambda row: row.hardirq), total(lambda row: row.softirq)
    slots = len(hardirq)
    vectors = {name: softirq[i * slots :][:slots] for i, name in enumerate(VECTORS)}
    return {"hardirq": hardirq, **vectors, "poll": total(lambda row: row.poll)}
