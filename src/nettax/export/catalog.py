"""Every metric that a scrape can give, for the manual and the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

from nettax.export.metrics import families
from nettax.export.snapshot import Snapshot
from nettax.kernel.accounting import Accounting
from nettax.ledger import Charges, CpuShare, Events, IrqShare, OwnCost, TaskCharges, TollPoint
from nettax.ledger.rows import KTHREADS, VECTORS

__all__ = ["Metric", "catalog"]


class Metric(NamedTuple):
    """One metric, under the name that a query gives it."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str

    @property
    def kind(self) -> str:
        """Its type and labels in words: ``counter by cpu, account``."""
        return f"{self.type} by {', '.join(self.labels)}" if self.labels else self.type


def catalog() -> Iterator[Metric]:
    """What a scrape gives of a host on which nothing has happened."""
    for family in families(_nothing()):
        (suffix, labels, _), *_ = family.samples
        name = family.name + (suffix if suffix in ("_total", "_info") else "")
        keys = tuple(key for key in re.findall(r'(\w+)="', labels) if key != "le")
        yield Metric(name, family.type, keys, family.help)


def _nothing() -> Snapshot:
    """A snapshot with one of each: a CPU, a workload, a task."""
    cpu: dict[str, Any] = {field.name: 0 for field in fields(CpuShare)}
    for name, keys in {
        "stolen_ns": ("hardirq", *VECTORS),
        "kthread_ns": KTHREADS,
        "softirq_ns": VECTORS,
        "softirq_count": VECTORS,
    }.items():
        cpu[name] = dict.fromkeys(keys, 0)
    task = SimpleNamespace(pid=0, comm="", charges=Charges())
    return Snapshot(
        cpus=[CpuShare(**cpu)],
        unaccounted=0,
        squeezes={0: 0},
        toll={0: TollPoint(1, 0, 0, 0)},
        workloads={("", ""): Charges()},
        folded=0,
        tasks=[cast(TaskCharges, task)],
        irqs=[IrqShare(irq="", name="", cpu=0, count=0, time_ns=0)],
        events=Events(0, 0, 0, 0),
        own_cost=OwnCost(0, 0, 0),
        histograms=dict.fromkeys(("hardirq", "poll", *VECTORS), (0,) * 40),
        accounting=Accounting("tick", None, ""),
    )
