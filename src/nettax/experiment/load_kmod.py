"""A server inside the kernel under load: a module's kernel threads and work items.

They are in no cgroup of their own, and a work item is not even a task: it borrows a worker. So they
are known by the module's code. The ledger charges each kernel thread and each work item whose
function is the module's to that function, with interrupts taken out as of any task.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from nettax.errors import MissingFeature, NettaxError, UsageError
from nettax.experiment.load_target import Target
from nettax.kernel import proc_pid, tcp_sockets
from nettax.kernel.kallsyms import Kallsyms
from nettax.lab import kmod
from nettax.ledger import Charges, Interval

__all__ = ["found_in_kernel", "functions", "parts"]

_MODULES = Path("/sys/module")


def found_in_kernel(kind: str, port: int, module: str = kmod.NAME) -> Target:
    """The server of a module that is loaded, and listens in this process's network namespace.

    :param kind: what it is to be asked: http or echo.
    :raises UsageError: the module is not loaded, or nothing of the kernel's listens there.
    :raises MissingFeature: it is not loaded, and this kernel takes no modules.
    """
    if kind not in ("http", "echo"):
        raise UsageError(f"a server in the kernel is asked http or echo, not {kind}.")
    if not (_MODULES / module).exists():
        _not_loaded(kind, port, module)
    inside = functions(module)
    inodes = frozenset(s.inode for s in tcp_sockets.sockets() if tcp_sockets.takes(s, "tcp", port))
    holders = tcp_sockets.holders(inodes)  # none has the socket of a module among its files
    if not inodes or holders:
        who = ", ".join(f"{proc_pid.comm(pid)} ({pid})" for pid in holders) or "nothing"
        raise UsageError(
            f"{who} listens at port {port} of this network namespace, not {module}: give the port "
            "that it was loaded with, where it was loaded."
        )
    return Target(os.getpid(), port, "tcp", None, None, frozenset(), inside)


def _not_loaded(kind: str, port: int, module: str) -> None:
    words = f"protocol={kind} port={port}"
    lab = (
        f"nettax lab vm run --module {kmod.source()},{words.replace(' ', ',')} -- "
        f"nettax load {kind} 127.0.0.1:{port} --server-kmod"
    )
    if not Path("/proc/modules").exists():
        raise MissingFeature(f"this kernel takes no modules. In the lab:\n{lab}")
    if module != kmod.NAME:
        raise UsageError(f"the module {module} is not loaded: insmod it, or leave out --module.")
    raise UsageError(f"{module} is not loaded: nettax kmod load {words}\nOr, in the lab: {lab}")


def functions(module: str) -> range:
    """Where the module's code is: the addresses of its functions, from the first to the last.

    :raises NettaxError: the kernel hides its addresses, or tells none of that module.
    """
    found = [s.address for s in Kallsyms.read().code() if s.module == module]
    if not any(found):
        raise NettaxError(
            f"/proc/kallsyms tells no addresses of {module}: run as root, with "
            "kernel.kptr_restrict below 2."
        )
    return range(min(found), max(found) + 1)


def parts(interval: Interval, inside: range) -> Mapping[str, Charges]:
    """What was charged to each function of the module that ran a thread or a work item."""
    names = Kallsyms.read()
    return {
        names.name_at(address) or hex(address): charges
        for address, charges in sorted(interval.cgroups.items())
        if address in inside
    }
