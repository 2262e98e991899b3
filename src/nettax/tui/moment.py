"""One interval, made ready to be looked at from several sides; each side is made when asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from nettax.kernel import proc_pid
from nettax.kernel.features import sees_host_pids
from nettax.ledger import CpuShare, Interval, TaskCharges
from nettax.ledger.groups import Group, by_cgroup, by_machine, by_process, by_workload
from nettax.ledger.machines import Machines

__all__ = ["VIEWS", "Moment", "Moments", "Row"]

VIEWS = ("tasks", "processes", "workloads", "cgroups", "machines", "cpus")
Row = TaskCharges | Group


class Moment:
    """One interval, and the tasks of it that were asked for."""

    def __init__(
        self,
        interval: Interval,
        tasks: Sequence[TaskCharges],
        name: Callable[[int], str | None],
        machines: Machines,
    ) -> None:
        """`name`: of the main thread of a process that did not run."""
        self.interval = interval
        self.wall_ns = interval.wall_ns
        self.tasks = tasks
        self.clock = time.time()
        """When it ended, by the wall clock."""
        self._name = name
        self._machines = machines
        self._rows: dict[str, Sequence[Row]] = {"tasks": tasks}

    @cached_property
    def total(self) -> CpuShare:
        """All CPUs together."""
        return CpuShare.total(self.interval.cpus)

    @property
    def taken_ns(self) -> int:
        """Of all CPUs' time: stolen from tasks, and what ksoftirqd, NAPI and IRQ threads had."""
        return sum(self.total.stolen_ns.values()) + sum(self.total.kthread_ns.values())

    def rows(self, view: str) -> Sequence[Row]:
        """The tasks, or groups of them, that a view shows; `cpus` has none."""
        if view not in self._rows:
            self._rows[view] = self._grouped(view)
        return self._rows[view]

    def _grouped(self, view: str) -> Sequence[Group]:
        if view == "processes":
            return by_process(self.tasks, self._name)
        if view == "machines":
            return by_machine(self.tasks, self._machines)
        return {"cgroups": by_cgroup, "workloads": by_workload}[view](self.tasks)

    def within(self, view: str, key: object) -> Sequence[TaskCharges]:
        """The tasks of one row of a view; none if it has gone. Of a CPU: those last seen on it."""
        if view == "cpus":
            return [task for task in self.tasks if task.cpu == key]
        for row in self.rows(view):
            if isinstance(row, Group) and row.key == key:
                return row.tasks
        return ()

    def process_names(self) -> dict[int, str]:
        """The names of all processes in it, if somebody looked at them."""
        groups = self._rows.get("processes", ())
        return {g.tasks[0].tgid: g.name for g in groups if isinstance(g, Group)}

    @cached_property
    def _toll_ns(self) -> Mapping[int, float]:
        """Of one interrupt, by CPU."""
        toll = self.interval.toll
        if toll is None:
            return {}
        return {
            cpu.cpu: toll.at(cpu.hardirq_count * 1e9 / cpu.wall_ns).ns if cpu.wall_ns else 0.0
            for cpu in self.interval.cpus
        }

    def toll_ns(self, row: Row) -> int:
        """The estimate for a task or a group, as in `TaskShare.toll_ns`; 0 if not calibrated."""
        rates = self._toll_ns
        tasks = row.tasks if isinstance(row, Group) else (row,)
        return sum(round(task.charges.interrupts * rates.get(task.cpu, 0.0)) for task in tasks)


class Moments:
    """Makes moments of intervals; remembers what one interval alone does not tell."""

    def __init__(self, selected: Callable[[TaskCharges], bool] | None = None) -> None:
        """`selected`: which tasks to show, if not all."""
        self._selected = selected
        self._proc = sees_host_pids()
        self._machines = Machines("/proc" if self._proc else None)
        self._last: Moment | None = None

    def of(self, interval: Interval) -> Moment:
        """The interval, ready to be looked at; to be called for each, in order."""
        tasks = interval.charges
        if self._selected:
            tasks = [task for task in tasks if self._selected(task)]
        # Names of one interval ago are as good as new: a main thread that renamed itself ran.
        known = self._last.process_names() if self._last else {}

        def name(tgid: int) -> str | None:
            return known.get(tgid) or (proc_pid.comm(tgid) if self._proc else None)

        self._last = Moment(interval, tasks, name, self._machines)
        return self._last
