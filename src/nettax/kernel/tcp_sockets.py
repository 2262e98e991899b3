"""Sockets of a network namespace: /proc/PID/net/tcp, tcp6, udp and udp6, and who holds them.

Source: net/ipv4/tcp_ipv4.c (get_tcp4_sock) and net/ipv4/udp.c. Of a listening socket the receive
queue is how many connections wait to be accepted; of another, the send queue is what was written
and is not acknowledged yet, in bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from nettax.kernel import proc_pid
from nettax.kernel.files import StrPath, list_names, read_text

__all__ = ["Socket", "holders", "sockets", "takes"]

ESTABLISHED, LISTEN = 1, 10  # include/net/tcp_states.h
_UDP_BOUND = 7  # an unconnected UDP socket shows TCP_CLOSE


@dataclass(frozen=True, slots=True)
class Socket:
    """One line of the file."""

    port: int
    """Its own."""
    peer_port: int
    state: int
    """TCP_* of include/net/tcp_states.h."""
    send_queue: int
    receive_queue: int
    inode: int

    @property
    def listens(self) -> bool:
        """Whether it takes connections."""
        return self.state == LISTEN

    @property
    def established(self) -> bool:
        """Whether it is a connection that both sides have."""
        return self.state == ESTABLISHED


def sockets(
    protocol: str = "tcp", pid: int | str = "self", proc: StrPath = "/proc"
) -> Iterator[Socket]:
    """All sockets of TCP or UDP, of IPv4 and IPv6, in the namespace of a process.

    :raises OSError: the process has ended.
    """
    for name in (protocol, f"{protocol}6"):
        path = f"{proc}/{pid}/net/{name}"
        if name.endswith("6") and not os.path.exists(path):  # noqa: PTH110 (IPv6 is off)
            continue
        for line in read_text(path).splitlines()[1:]:
            words = line.split()
            sent, received = words[4].split(":")
            yield Socket(
                port=int(words[1].rpartition(":")[2], 16),
                peer_port=int(words[2].rpartition(":")[2], 16),
                state=int(words[3], 16),
                send_queue=int(sent, 16),
                receive_queue=int(received, 16),
                inode=int(words[9]),
            )


def takes(socket: Socket, protocol: str, port: int) -> bool:
    """Whether a server waits at this port by this socket."""
    state = LISTEN if protocol == "tcp" else _UDP_BOUND
    return socket.port == port and socket.state == state


def holders(inodes: frozenset[int], proc: StrPath = "/proc") -> tuple[int, ...]:
    """The processes that have one of these sockets open, as far as this user may look."""
    names = {f"socket:[{inode}]" for inode in inodes}
    found = []
    for pid in proc_pid.pids(proc):
        with suppress(OSError):
            directory = f"{proc}/{pid}/fd"
            for fd in list_names(directory):
                with suppress(OSError):
                    if os.readlink(f"{directory}/{fd}") in names:  # noqa: PTH115
                        found.append(pid)
                        break
    return tuple(found)
