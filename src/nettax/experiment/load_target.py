"""The server under load: started in a cgroup of its own, or one that runs already."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import STDOUT, Popen

from nettax.errors import NettaxError, UsageError
from nettax.experiment.server_log import ServerLog
from nettax.host import Host, links
from nettax.kernel import cpu_stat, proc_pid, tcp_sockets
from nettax.kernel.cpu_stat import CpuUsage

__all__ = ["Target", "found", "own_network", "started"]

START_LIMIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Target:
    """A server that listens, and which tasks are its."""

    pid: int
    """One of its processes, which tells the network namespace."""
    port: int
    protocol: str
    cgroup: Path | None
    """Of its own, of version 2; None: it ran already, and is known by its processes."""
    cgroup_id: int | None
    roots: frozenset[int]
    """Without a cgroup of its own: these processes, and what they forked."""
    functions: range = range(0)
    """Of a module's server, which is no process: its code. `pid` is then of who asks."""

    def tids(self) -> list[int]:
        """Its threads now."""
        if self.cgroup:
            with suppress(OSError):
                return [int(word) for word in (self.cgroup / "cgroup.threads").read_text().split()]
            return []
        return [tid for pid in self.processes() for tid in proc_pid.threads(pid)]

    def processes(self) -> frozenset[int]:
        """Its processes now; of a cgroup of its own, nothing: that tells them by itself."""
        return frozenset() if self.cgroup else _descendants(self.roots)

    def usage(self) -> CpuUsage:
        """CPU time that it was billed: of its cgroup exactly, of processes to 10 ms each."""
        if self.cgroup:
            return cpu_stat.usage(self.cgroup)
        stats = [stat for pid in self.processes() if (stat := proc_pid.task_stat(pid))]
        user, system = sum(s.utime_ns for s in stats), sum(s.stime_ns for s in stats)
        return CpuUsage(user + system, user, system)


@contextmanager
def started(
    host: Host,
    words: Sequence[str],
    port: int,
    *,
    protocol: str = "tcp",
    cpus: Iterable[int] | None = None,
    netns: str | None = None,
) -> Iterator[Target]:
    """Start a server in a cgroup of its own, and wait until it listens; end it on leaving.

    :raises UsageError: the program cannot be run, or the port is taken.
    :raises NettaxError: it ended, or does not listen within ten seconds.
    """
    if netns is None and (taken := _listening(port, protocol, "self")):
        who = ", ".join(f"{proc_pid.comm(pid)} ({pid})" for pid in tcp_sockets.holders(taken))
        raise UsageError(
            f"port {port} is taken already{', by ' + who if who else ''}: "
            f"end that, or load it as it is with --port instead of --server."
        )
    with host.temporarily(), ServerLog() as log:
        cgroup = host.cgroup("server")
        try:
            child = host.spawn(
                words, cpus=cpus, netns=netns, cgroup=cgroup, stdout=log, stderr=STDOUT
            )
        except OSError as error:
            raise UsageError(f"cannot run the server {words[0]}: {error.strerror}.") from None
        pid = _await(child, cgroup, port, protocol, log)
        try:
            yield Target(pid, port, protocol, cgroup, cgroup.stat().st_ino, frozenset())
        finally:
            host.stop(child)


def own_network(host: Host) -> str:
    """Make a network namespace with loopback alone: nobody else's traffic is in its counters."""
    netns = host.namespace("load")
    links.bring_up_loopback(netns)
    return netns


def found(port: int, *, pid: int | None = None, protocol: str = "tcp") -> Target:
    """A server that runs already: the processes that listen at the port, or a process named.

    :raises UsageError: there is none.
    """
    if pid is not None:
        if proc_pid.task_stat(pid) is None:
            raise UsageError(f"there is no process {pid}.")
        return Target(pid, port, protocol, None, None, frozenset({pid}))
    inodes = _listening(port, protocol, "self")
    if not inodes:
        raise UsageError(f"nothing listens at port {port}: start it with --server -- COMMAND.")
    roots = tcp_sockets.holders(inodes)
    if not roots:
        raise UsageError(
            f"whose port {port} is cannot be seen: another user's files are hidden.\n"
            "Run as root, or name the process with --pid."
        )
    return Target(min(roots), port, protocol, None, None, frozenset(roots))


def _await(child: Popen[bytes], cgroup: Path, port: int, protocol: str, log: ServerLog) -> int:
    """Wait until something in the cgroup listens; return one of its processes."""
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        # One that put itself into the background has ended, while what it started has not.
        members = [int(word) for word in (cgroup / "cgroup.procs").read_text().split()]
        if not members or (child.poll() and child.returncode):
            raise NettaxError(f"the server ended before it listened: {log.last_words()}")
        if _listening(port, protocol, str(members[0])):
            return members[0]
        if time.monotonic() > deadline:
            raise NettaxError(
                f"the server does not listen at {protocol} port {port} after "
                f"{START_LIMIT_S:.0f} s: {log.last_words()}"
            )
        time.sleep(0.005)


def _listening(port: int, protocol: str, pid: str) -> frozenset[int]:
    """The inodes of the sockets that wait at a port, in the namespace of a process."""
    try:
        return frozenset(
            socket.inode
            for socket in tcp_sockets.sockets(protocol, pid)
            if tcp_sockets.takes(socket, protocol, port)
        )
    except OSError:  # it has ended
        return frozenset()


def _descendants(roots: frozenset[int]) -> frozenset[int]:
    children: dict[int, list[int]] = {}
    for pid in proc_pid.pids():
        if stat := proc_pid.task_stat(pid):
            children.setdefault(stat.ppid, []).append(pid)
    found, pending = set(roots), list(roots)
    while pending:
        for child in children.get(pending.pop(), ()):
            if child not in found:
                found.add(child)
                pending.append(child)
    return frozenset(found)
