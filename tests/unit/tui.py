"""Intervals made by hand, for the tests of what `nettax top` shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.unit import test_reading, test_report

from nettax.ledger import Charges, CpuShare, Interval, TaskCharges
from nettax.ledger.charges import LENGTH
from nettax.ledger.machines import Machines
from nettax.ledger.rows import KINDS
from nettax.ledger.tasks import EXITED, Decoder, TaskRows
from nettax.tui.model import Model
from nettax.tui.moment import Moment
from nettax.tui.reader import Reader

MS = 1_000_000
WALL = 1000 * MS
DOCKER = "/system.slice/docker-" + "ab" * 32 + ".scope"
CGROUPS = {1: "/", 2: "/system.slice/web.service", 3: DOCKER, 4: "/system.slice/web.service/sub"}
DECODER = Decoder(test_reading.KEY, test_reading.layout(), CGROUPS.get, None, test_reading.LINES)
CPU = replace(
    test_report.CPU,
    wall_ns=WALL,
    idle_ns=100 * MS,
    idle_interrupted_ns=10 * MS,
    own_ns=490 * MS,
    stolen_ns={**test_report.CPU.stolen_ns, "hardirq": 20 * MS, "net_rx": 200 * MS, "timer": 0},
    kthread_ns={"ksoftirqd": 180 * MS, "napi": 0, "irq": 0},
    residual_ns=0,
    toll_ns=None,
)


def task(pid: int, comm: str = "task", **values: Any) -> TaskCharges:
    """A task; times in ms: billed, own, hardirq, net, softirq, displaced, wait."""
    ms = {name: values.pop(name, 0) * MS for name in ("billed", "own", "hardirq", "displaced")}
    softirqs = [0] * 10
    softirqs[3], softirqs[1] = values.pop("net", 0) * MS, values.pop("softirq", 0) * MS
    account = test_reading.account(
        comm=comm.encode(),
        tgid=values.pop("tgid", pid),
        cgroup=values.pop("cgroup", 1),
        cpu=values.pop("cpu", 0),
        kind=KINDS.index(values.pop("kind", "task")),
        flags=EXITED * values.pop("exited", False),
        billed_ns=ms["billed"],
        own_ns=ms["own"],
        oncpu_ns=ms["own"] + ms["hardirq"] + sum(softirqs),
        hardirq_ns=ms["hardirq"],
        softirq_ns=softirqs,
        displaced_ns=[ms["displaced"], 0, 0],
        wait_ns=max(values.pop("wait", 0) * MS, ms["displaced"]),
        interrupts=values.pop("interrupts", 0),
        switches=values.pop("switches", 1),
    )
    key = test_reading.key(pid, values.pop("start_ns", 1))
    assert not values, values
    return TaskCharges(DECODER, key, account, Charges(DECODER.charged(account)[:LENGTH]))


VICTIM = task(
    101, "victim", billed=950, own=500, hardirq=20, net=400, displaced=70, interrupts=5000
)
WEB = task(102, "web", cgroup=2, cpu=1, billed=300, own=250, net=50, wait=30)
THREAD = task(103, "web-io", tgid=102, cgroup=4, billed=100, own=90, net=10)
BOX = task(104, "box", cgroup=3, cpu=1, billed=50, own=49, softirq=1)
SOFTIRQD = task(22, "ksoftirqd/1", cpu=1, kind="ksoftirqd", billed=180, own=180)
TASKS = (BOX, VICTIM, WEB, THREAD, SOFTIRQD)


def interval(
    tasks: Sequence[TaskCharges] = TASKS,
    cpus: Sequence[CpuShare] = (CPU, replace(CPU, cpu=1)),
    **changes: Any,
) -> Interval:
    """An interval of a second with these tasks."""
    changed = {"toll": None, "wall_ns": WALL, **changes}
    return replace(
        test_report.INTERVAL,
        charges=tuple(tasks),
        tasks=TaskRows(tasks, {}),
        cpus=tuple(cpus),
        **changed,
    )


def moment(*tasks: TaskCharges, **changes: Any) -> Moment:
    """The same, ready to be looked at; all five tasks unless others are given."""
    made = interval(tasks or TASKS, **changes)
    return Moment(made, made.charges, lambda tgid: None, Machines(None))


def model(*moments: Moment, **how: Any) -> Model:
    """A model that has seen these; the interval above, unless others are given."""
    made = Model(**how)
    for each in moments or (moment(),):
        made.feed(each)
    return made


class Recorded(Reader):
    """A reader of intervals that are there already; of the last one again and again."""

    def __init__(self, *intervals: Interval) -> None:
        self._left = list(intervals or (interval(),))

    @property
    def last_ns(self) -> int:
        return 0

    def read(self) -> Interval:
        return self._left.pop(0) if len(self._left) > 1 else self._left[0]

    def reap(self) -> None:
        pass
