"""Looking at a run while it is under way: at the server's sockets, and where each side may run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from nettax.experiment.load_sides import Placed
from nettax.experiment.load_target import Target
from nettax.host import namespace
from nettax.kernel import cpu_stat, cpus, proc_pid, tcp_sockets
from nettax.kernel.sock_diag import SockDiag

__all__ = ["Sockets", "Watch"]

MOST_OF_A_CPU = 0.02
MOST_THREADS = 64
"""Whose CPUs are asked for; those of one server seldom differ."""


@dataclass(frozen=True, slots=True)
class Sockets:
    """What was seen of the server's TCP sockets, looking now and then."""

    looks: int
    established: int
    """Connections to it, added up over all looks."""
    unacknowledged: int
    """Of these, with bytes of the server's that were not acknowledged yet."""
    most_waiting: int
    """Connections that waited to be accepted, at most."""


class Watch:
    """Look as often as it is called, and not more than 2 % of a CPU allows."""

    def __init__(self, target: Target, generator: int) -> None:
        """`generator`: its process."""
        self._target = target
        self._generator = generator
        self._looks = self._established = self._unacknowledged = self._waiting = 0
        self._cpus: dict[str, set[int]] = {"server": set(), "generator": set()}
        self._quotas: dict[str, tuple[Path, ...]] = {}
        self._throttled: dict[str, int] = {}
        self._next = 0.0
        self._open = ExitStack()
        self._diag: SockDiag | None = None
        with suppress(OSError), namespace.beside(target.pid):
            self._diag = self._open.enter_context(SockDiag())
        if target.functions:
            self._cpus["server"] = set(cpus.online())
        else:
            self._quota("server", target.pid)

    def look(self) -> None:
        """Look, unless it is too soon."""
        begun = time.monotonic()
        if begun < self._next:
            return
        self._quota("generator", self._generator)
        self._allowed("server", self._target.tids())
        self._allowed("generator", proc_pid.threads(self._generator))
        if self._target.protocol == "tcp":
            with suppress(OSError):
                self._sockets()
        now = time.monotonic()
        self._next = now + (now - begun) / MOST_OF_A_CPU

    @property
    def sockets(self) -> Sockets:
        """All that was seen."""
        return Sockets(self._looks, self._established, self._unacknowledged, self._waiting)

    def placed(self, which: str) -> Placed:
        """Of `server` or `generator`."""
        now = cpu_stat.throttled_ns(self._quotas.get(which, ()))
        allowed = self._cpus[which] or os.sched_getaffinity(0)
        return Placed(tuple(sorted(allowed)), now - self._throttled.get(which, now))

    def _quota(self, which: str, pid: int) -> None:
        if which not in self._quotas and (paths := cpu_stat.quota_cgroups(pid)):
            self._quotas[which] = paths
            self._throttled[which] = cpu_stat.throttled_ns(paths)

    def _allowed(self, which: str, tids: Iterable[int]) -> None:
        for tid in list(tids)[:MOST_THREADS]:
            with suppress(OSError):
                self._cpus[which] |= os.sched_getaffinity(tid)

    def _sockets(self) -> None:
        port = self._target.port
        self._looks += 1
        for socket in self._of_port(port):
            if socket.listens:
                self._waiting = max(self._waiting, socket.receive_queue)
            elif socket.established:
                self._established += 1
                self._unacknowledged += socket.send_queue > 0

    def _of_port(self, port: int) -> Iterator[tcp_sockets.Socket]:
        if self._diag:
            try:
                yield from list(self._diag.sockets(port))
                return
            except OSError:  # a kernel without CONFIG_INET_TCP_DIAG: slow, but as good
                self._diag = None
        for socket in tcp_sockets.sockets("tcp", self._target.pid):
            if socket.port == port:
                yield socket

    def close(self) -> None:
        """Look no more."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
