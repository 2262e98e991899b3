"""The echo burst: many connections at once, connecting and echoing timed apart for each."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nettax.errors import UsageError
from nettax.load.engine import Address, Engine, address
from nettax.load.histogram import Histogram

__all__ = ["START_UP_S", "Burst", "BurstConnection", "burst"]

MOST_RESULTS = 10_000_000
START_UP_S = 10
"""For the process of the engine."""
_FAILED = 2


class _Connection(ctypes.Structure):
    """``struct burst_connection`` of native/load_burst.c."""

    _fields_ = (
        ("start_ns", ctypes.c_uint64),
        ("connect_ns", ctypes.c_uint64),
        ("stage", ctypes.c_uint32),
        ("error", ctypes.c_uint32),
        ("syn_retries", ctypes.c_uint32),
        ("retransmits", ctypes.c_uint32),
    )


class _Page(ctypes.Structure):
    """``struct burst`` of native/load_burst.c; the connections follow, then the echoes."""

    _fields_ = (
        ("address", Address),
        ("connections", ctypes.c_uint32),
        ("rounds", ctypes.c_uint32),
        ("message", ctypes.c_uint32),
        ("patience_s", ctypes.c_uint32),
        ("connected", ctypes.c_uint64),
        ("echoed", ctypes.c_uint64),
        ("connect_cpu_ns", ctypes.c_uint64),
        ("echo_cpu_ns", ctypes.c_uint64),
        ("echo_wall_ns", ctypes.c_uint64),
    )


@dataclass(frozen=True, slots=True)
class BurstConnection:
    """One connection of a burst."""

    start_ns: int
    """When connect(2) was called, since the burst began."""
    connect_ns: int | None
    """From the call until it was connected; None if it never was."""
    error: str | None
    """The name of the errno with which it failed, while connecting or later; EBADMSG: more came
    back than was sent."""
    syn_retries: int
    """SYNs that the kernel sent again, by its own count (TCP_INFO)."""
    retransmits: int
    """Segments with data that it sent again."""
    echo_ns: tuple[int | None, ...]
    """By round: from send(2) until the whole message was back; None: it did not come."""


@dataclass(frozen=True, slots=True)
class Burst:
    """All connections, ordered by when they started."""

    connections: tuple[BurstConnection, ...]
    message_bytes: int
    connect_cpu_ns: int
    """CPU time of the generator while all connected."""
    echo_cpu_ns: int
    echo_wall_ns: int

    @property
    def connect(self) -> Histogram:
        """How long connecting took, of those that did."""
        return Histogram.of(c.connect_ns for c in self.connections if c.connect_ns is not None)

    @property
    def echo(self) -> Histogram:
        """How long echoes took, of all rounds."""
        return Histogram.of(ns for c in self.connections for ns in c.echo_ns if ns is not None)

    @property
    def retried(self) -> int:
        """Connections whose SYN was sent more than once."""
        return sum(c.syn_retries > 0 for c in self.connections)

    @property
    def errors(self) -> dict[str, int]:
        """How many connections failed, by errno."""
        found: dict[str, int] = {}
        for connection in self.connections:
            if connection.error:
                found[connection.error] = found.get(connection.error, 0) + 1
        return found


def burst(
    host: str,
    port: int,
    connections: int = 1000,
    *,
    rounds: int = 1,
    message_bytes: int = 13,
    patience_s: int = 10,
    cpus: Iterable[int] | None = None,
    netns: str | None = None,
    cgroup: Path | None = None,
    start_up_s: int = START_UP_S,
) -> Burst:
    """Open `connections` at once; when all are open, each sends one message a round, all at once.

    One thread does it, so the burst takes some µs for each connection. On one connection alone the
    echo waits in recv(2), as a ping-pong does; on several, in epoll_wait(2).

    :param patience_s: for all to connect, and for each round. SYNs are sent again after 1, 3, 7 s.
    :param start_up_s: what its process may take to begin.
    :raises UsageError: the host cannot be looked up; too many, or none.
    :raises NettaxError: the engine failed.
    """
    if connections < 1 or rounds < 0 or not 1 <= message_bytes <= 65536 or patience_s < 1:
        raise UsageError(
            "a burst takes a connection or more, messages of 1 to 65536 bytes and 1 s of patience."
        )
    if connections * (rounds + 4) > MOST_RESULTS:
        raise UsageError(
            f"{connections} connections × {rounds} rounds are too many results to keep: "
            f"at most {MOST_RESULTS // 10**6} million."
        )
    page = _Page(address(host, port), connections, rounds, message_bytes, patience_s)
    each = _Connection * connections
    echoes = ctypes.c_uint64 * (connections * rounds)
    size = ctypes.sizeof(page) + ctypes.sizeof(each) + ctypes.sizeof(echoes)
    engine = Engine("nettax_load_burst", bytes(page), size, cpus=cpus, netns=netns, cgroup=cgroup)
    with engine:
        engine.finish(start_up_s + patience_s * (rounds + 1))
    page = _Page.from_buffer_copy(engine.memory)
    at = ctypes.sizeof(page)
    found = each.from_buffer_copy(engine.memory, at)
    back = echoes.from_buffer_copy(engine.memory, at + ctypes.sizeof(each))
    return Burst(
        tuple(
            _connection(one, back[i::connections] if rounds else []) for i, one in enumerate(found)
        ),
        message_bytes,
        int(page.connect_cpu_ns),
        int(page.echo_cpu_ns),
        int(page.echo_wall_ns),
    )


def _connection(one: _Connection, echoes: Iterable[int]) -> BurstConnection:
    return BurstConnection(
        one.start_ns,
        one.connect_ns or None,
        errno.errorcode.get(one.error, str(one.error)) if one.stage == _FAILED else None,
        one.syn_retries,
        one.retransmits,
        tuple(ns or None for ns in echoes),
    )
