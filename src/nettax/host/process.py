"""Child processes that are placed before they run and die with their parent."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nettax.errors import MissingPrivilege, NettaxError, UsageError
from nettax.host import namespace, syscalls
from nettax.host.signals import deferred
from nettax.kernel import cpus as cpu_sets
from nettax.kernel import proc_pid

if TYPE_CHECKING:  # slow to import, and most commands start no process
    from subprocess import Popen


class Process(NamedTuple):
    """A process that no later one can be mistaken for, as pids come again."""

    pid: int
    start_ns: int  # after boot

    @classmethod
    def current(cls) -> Process:
        """Name the calling process."""
        stat = proc_pid.task_stat(os.getpid())
        if stat is None:
            raise NettaxError("a process cannot see itself in /proc: is /proc mounted?")
        return cls(stat.pid, stat.start_ns)

    def alive(self) -> bool:
        """Whether it can still run code; a zombie cannot, once its last thread has ended."""
        stat = proc_pid.task_stat(self.pid)
        if stat is None or stat.start_ns != self.start_ns:
            return False
        return stat.state not in "ZX" or len(proc_pid.threads(self.pid)) > 1


def spawn(
    argv: Sequence[str | os.PathLike[str]],
    *,
    cpus: Iterable[int] | None = None,
    netns: str | None = None,
    cgroup: Path | None = None,
    **popen_options: Any,
) -> Popen[bytes]:
    """Start a child that dies with its parent, on ``cpus``, in ``netns`` and in ``cgroup``.

    ``netns`` names a namespace under /run/netns; /sys keeps showing the caller's. ``cgroup`` is a
    cgroup's directory, of either version. ``popen_options`` go to :class:`subprocess.Popen`.

    The child gets SIGKILL when the *thread* that called spawn ends, however it ends. Not covered:
    the child's own children (put them in a cgroup), and programs that exec gives other privileges
    (set-user-ID, file capabilities), for which the kernel forgets the arrangement.

    :raises UsageError: no such CPU, namespace or cgroup.
    :raises MissingPrivilege: the caller may not enter the namespace or the cgroup.
    :raises OSError: the program cannot be run, as Popen tells it.
    """
    return place(argv, lambda: None, cpus=cpus, netns=netns, cgroup=cgroup, **popen_options)


def place(
    argv: Sequence[str | os.PathLike[str]],
    announce: Callable[[], None],
    *,
    cpus: Iterable[int] | None,
    netns: str | None,
    cgroup: Path | None,
    **popen_options: Any,
) -> Popen[bytes]:
    """Do what :func:`spawn` does, and call ``announce`` in the child just before exec."""
    from subprocess import Popen, SubprocessError

    affinity = None if cpus is None else _online(cpus)
    parent = os.getpid()
    with ExitStack() as files:
        # Opened here, where a refusal can still be explained; the child only uses them.
        netns_fd = None if netns is None else files.enter_context(namespace.opened(netns))
        procs = None if cgroup is None else files.enter_context(_opened_procs(cgroup))

        waiting = files.enter_context(deferred())

        def prepare() -> None:
            waiting()
            syscalls.die_with_parent(signal.SIGKILL)
            if os.getppid() != parent:  # it died before the line above
                os._exit(0)
            if procs is not None:
                os.write(procs, b"0")  # 0 is the writer
            if affinity is not None:
                os.sched_setaffinity(0, affinity)
            if netns_fd is not None:
                syscalls.setns(netns_fd, syscalls.CLONE_NEWNET)
            announce()

        try:
            return Popen(argv, preexec_fn=prepare, **popen_options)
        except SubprocessError as error:
            raise NettaxError(
                f"cannot start {os.fspath(argv[0])}: the kernel refused its placement "
                f"(CPUs {affinity}, namespace {netns}, cgroup {cgroup})."
            ) from error


def _online(cpus: Iterable[int]) -> tuple[int, ...]:
    """Return ``cpus``, of which the kernel would otherwise pass over those that are not there."""
    return cpu_sets.select(",".join(map(str, cpus)))


@contextmanager
def _opened_procs(cgroup: Path) -> Iterator[int]:
    """Open a cgroup's list of processes for writing."""
    try:
        fd = os.open(cgroup / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise UsageError(f"{cgroup} is not a cgroup: it has no cgroup.procs.") from None
    except PermissionError:
        raise MissingPrivilege(
            f"cannot move a process into {cgroup}: this needs write access to its cgroup.procs.\n"
            'Run it as root: sudo env "PATH=$PATH" nettax …'
        ) from None
    try:
        yield fd
    finally:
        os.close(fd)
