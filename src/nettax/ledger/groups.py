"""Tasks taken together: by process, cgroup, workload and virtual machine.

Pure functions. Over all groups of a view, charges add up to those of the tasks, exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from nettax.kernel.workload import workload
from nettax.ledger.charges import Charges
from nettax.ledger.machines import Machine, Machines, role
from nettax.ledger.reading import Interval
from nettax.ledger.rows import GroupShare, TollShare
from nettax.ledger.tasks import TaskCharges, interrupt_rates

__all__ = ["Group", "by_cgroup", "by_machine", "by_process", "by_workload", "group_rows"]

K = TypeVar("K")
NO_CGROUP = "?"  # one that went before it was seen, or a host without cgroup v2


@dataclass(frozen=True)
class Group:
    """Tasks that count as one."""

    key: object
    """What identifies it from one interval to the next."""
    name: str
    kind: str
    """Of a workload: docker, service, …; of other groups: what they are."""
    tasks: tuple[TaskCharges, ...]
    """Those of it that ran or waited."""

    @cached_property
    def charges(self) -> Charges:
        """Of all its tasks together."""
        if len(self.tasks) == 1:
            return self.tasks[0].charges
        return Charges.total(task.charges for task in self.tasks)

    @property
    def cgroup(self) -> str | None:
        """The cgroup of them all; None if they have several."""
        found = {task.cgroup for task in self.tasks}
        return found.pop() if len(found) == 1 else None

    @property
    def exited(self) -> bool:
        """Whether all that ran has ended."""
        return all(task.exited for task in self.tasks)

    def part(self, name: str) -> Charges:
        """Of a virtual machine: the charges of its threads that have this role."""
        return Charges.total(task.charges for task in self.tasks if role(task.comm) == name)


def group_rows(groups: Iterable[Group], interval: Interval) -> list[GroupShare]:
    """The groups as rows, with the toll of an interval that has their tasks."""
    rates = interrupt_rates(interval.cpus)

    def toll(group: Group) -> TollShare | None:
        if interval.toll is None:
            return None
        shares = [
            interval.toll.charge(*rates.get(task.cpu, (0, 0)), of=task.charges.interrupts)
            for task in group.tasks
        ]
        low, high = sum(share.low for share in shares), sum(share.high for share in shares)
        return TollShare(sum(share.estimate for share in shares), low, high)

    return [
        GroupShare(
            name=group.name,
            kind=group.kind,
            pid=group.key if isinstance(group.key, int) else None,
            tasks=len(group.tasks),
            exited=group.exited,
            **group.charges.fields(),
            toll_ns=toll(group),
        )
        for group in groups
    ]


def by_process(tasks: Iterable[TaskCharges], name: Callable[[int], str | None]) -> list[Group]:
    """One group for each process; `name` tells that of a main thread that is not among the tasks.

    It may not know (None): then the process is called as one of its threads.
    """

    def called(tgid: int, members: Sequence[TaskCharges]) -> str:
        main = next((task for task in members if task.pid == tgid), None)
        return main.comm if main else name(tgid) or members[0].comm

    return [
        Group(tgid, called(tgid, members), members[0].kind, members)
        for tgid, members in _by(tasks, lambda task: task.tgid).items()
    ]


def by_cgroup(tasks: Iterable[TaskCharges]) -> list[Group]:
    """One group for each cgroup that has such tasks; those below it are not in it."""
    found = _by(tasks, lambda task: task.cgroup or NO_CGROUP)
    return [Group(path, path, "cgroup", members) for path, members in found.items()]


def by_workload(tasks: Iterable[TaskCharges]) -> list[Group]:
    """One group for each container, virtual machine, unit or session, named by its cgroup."""
    found = _by(tasks, lambda task: workload(task.cgroup) if task.cgroup else None)
    return [
        Group(work.path, work.name, work.kind, members)
        if work
        else Group(NO_CGROUP, NO_CGROUP, "unknown", members)
        for work, members in found.items()
    ]


def by_machine(tasks: Iterable[TaskCharges], machines: Machines) -> list[Group]:
    """One group for each virtual machine: vCPUs, emulator and vhost. Other tasks are in none."""
    owners = machines.owners(tasks := list(tasks))
    found: dict[Machine, list[TaskCharges]] = {}
    for task in tasks:
        if machine := owners.get(task.key):
            found.setdefault(machine, []).append(task)
    return [
        Group(machine.tgid, machine.name, "vm", tuple(members))
        for machine, members in found.items()
    ]


def _by(
    tasks: Iterable[TaskCharges], key: Callable[[TaskCharges], K]
) -> dict[K, tuple[TaskCharges, ...]]:
    found: dict[K, list[TaskCharges]] = {}
    for task in tasks:
        found.setdefault(key(task), []).append(task)
    return {k: tuple(members) for k, members in found.items()}
