"""Virtual machines under QEMU: which threads are whose, and what each is for.

QEMU's vCPU threads are named ``CPU 0/KVM`` where it runs with ``-name debug-threads=on``, as
libvirt starts it (accel/*-accel-ops.c); else they carry the name of the program. vhost threads are
named for the thread that set them up: kernel threads before Linux commit 6e890c5d5021 ("vhost: use
vhost_tasks for worker threads") (in v6.4), since then threads of QEMU's own process.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from nettax.kernel import proc_pid
from nettax.kernel.files import StrPath
from nettax.ledger.tasks import TaskCharges

__all__ = ["ROLES", "Machine", "Machines", "machine_name", "role"]

ROLES = ("vcpu", "emulator", "vhost")
_QEMU = re.compile(r"qemu-(?:system-.*|kvm)|kvm|(?:CPU \d+|ALL CPUs)/[A-Z]+")
_VCPU = re.compile(r"(?:CPU \d+|ALL CPUs)/[A-Z]+")
_VHOST = re.compile(r"vhost-(\d+)")


@dataclass(frozen=True, slots=True)
class Machine:
    """One virtual machine."""

    tgid: int
    """QEMU's process."""
    name: str


def role(comm: str) -> str:
    """What a machine's thread is for, by its name: one of `ROLES`."""
    if _VCPU.fullmatch(comm):
        return "vcpu"
    return "vhost" if _VHOST.fullmatch(comm) else "emulator"


def machine_name(arguments: Sequence[str]) -> str | None:
    """The name that QEMU's command line gives its guest; None if it gives none.

    ``-name web``, ``-name guest=web,debug-threads=on``; a comma in a name is doubled
    (util/qemu-option.c, get_opt_value).
    """
    for option, value in pairwise(arguments):
        if option not in ("-name", "--name"):
            continue
        parts = [part.replace("\0", ",") for part in value.replace(",,", "\0").split(",")]
        named = [part.removeprefix("guest=") for part in parts if part.startswith("guest=")]
        if named or "=" not in parts[0]:
            return (named or parts)[0] or None
    return None


class Machines:
    """The virtual machines of this host, as their threads show up."""

    def __init__(self, proc: StrPath | None = "/proc") -> None:
        """`proc`: where to read command lines; None where the pids there are not the host's."""
        self._proc = proc
        self._arguments: dict[int, tuple[str, ...] | None] = {}

    def owners(self, tasks: Iterable[TaskCharges]) -> dict[bytes, Machine]:
        """The machine of each of these tasks that belongs to one, by the task's key.

        A machine is found by a thread that has QEMU's name, and from then on known until it ends.
        """
        tasks = [task for task in tasks if task.kind == "task"]
        named = {task.tgid: task.comm for task in tasks if _QEMU.fullmatch(task.comm)}
        self._look(named.keys())
        machines = {
            tgid: Machine(tgid, machine_name(arguments or ()) or f"qemu {tgid}")
            for tgid, arguments in self._arguments.items()
        }
        processes = {task.pid: task.tgid for task in tasks} if machines else {}
        owners = {}
        for task in tasks if machines else ():
            machine = machines.get(task.tgid)
            if machine is None and (vhost := _VHOST.fullmatch(task.comm)):
                starter = int(vhost[1])  # a thread of QEMU's, if not its first
                machine = machines.get(starter) or machines.get(processes.get(starter, 0))
            if machine:
                owners[task.key] = machine
        return owners

    def _look(self, named: Iterable[int]) -> None:
        """Note the command lines of these processes; forget those that have ended or changed."""
        found = {tgid: self._arguments.get(tgid) for tgid in named}
        if self._proc is not None:
            for tgid in {**self._arguments, **found}:
                now = proc_pid.cmdline(tgid, self._proc)
                if tgid in found or (now and now == self._arguments[tgid]):
                    found[tgid] = now or found.get(tgid)  # one that has just ended keeps its name
        self._arguments = found
