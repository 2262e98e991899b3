"""Which tasks to show: `-p` and `-G`, alike for every verb that has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nettax.errors import UsageError
from nettax.kernel.cgroup import Cgroups
from nettax.kernel.features import require_host_pids
from nettax.ledger import TaskCharges, TaskShare

__all__ = ["Selected", "selection"]

Selected = Callable[[TaskShare | TaskCharges], bool]


def selection(pid: str | None, cgroup: str | None, followed: bool = False) -> Selected:
    """Which tasks to show, from the options; `followed`: those of a command.

    :raises UsageError: options that exclude each other, no such process, no such cgroup
    :raises MissingFeature: pids here are not the host's
    """
    if sum((pid is not None, cgroup is not None, followed)) > 1:
        several = (
            "-p, -G and a command exclude each other"
            if followed
            else "-p and -G exclude each other"
        )
        raise UsageError(several)
    if followed or pid is not None:
        require_host_pids()
    if followed:
        return lambda task: task.followed
    if pid is not None:
        try:
            pids = {int(word) for word in pid.split(",")}
        except ValueError:
            raise UsageError(f"-p takes process ids, such as 12 or 12,15; not {pid!r}") from None
        if not any(Path(f"/proc/{number}").exists() for number in pids):
            raise UsageError(f"there is no process {pid}")
        return lambda task: task.tgid in pids or task.pid in pids
    if cgroup is not None:
        cgroups = Cgroups()
        top = cgroups.path(cgroups.resolve(cgroup)) or "/"
        below = top.rstrip("/") + "/"
        return lambda task: task.cgroup is not None and (task.cgroup + "/").startswith(below)
    return lambda task: True
