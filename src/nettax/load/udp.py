"""Datagrams on a schedule that waits for nobody, from a sender of ours to a receiver of ours."""

from __future__ import annotations

import ctypes
import errno
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from nettax.errors import NettaxError, UsageError
from nettax.load.engine import Address, Engine, address, runner
from nettax.load.histogram import BUCKETS, Histogram

__all__ = ["SEND", "UdpRun", "prepare", "reading", "sink", "udp"]

SEND = "nettax_load_udp_send"
SINK = "nettax_load_udp_sink"


LEAST_BYTES = 16
MOST_BYTES = 65507
START_LIMIT_S = 10.0
STILL_S = 10.0
_ERRNOS = 134
BATCH = 32
MOST_BATCH = 64


class _Page(ctypes.Structure):
    """``struct udp_flow`` of native/load_udp.c."""

    _fields_ = (
        ("address", Address),
        ("bytes", ctypes.c_uint32),
        ("batch", ctypes.c_uint32),
        ("interval_ps", ctypes.c_uint64),
        ("limit_ns", ctypes.c_uint64),
        ("listening", ctypes.c_uint32),
        ("sender_ended", ctypes.c_uint32),
        ("port", ctypes.c_uint32),
        ("asks", ctypes.c_uint32),
        ("sent", ctypes.c_uint64),
        ("calls", ctypes.c_uint64),
        ("wall_ns", ctypes.c_uint64),
        ("sender_cpu_ns", ctypes.c_uint64),
        ("send_errors", ctypes.c_uint64 * _ERRNOS),
        ("received", ctypes.c_uint64),
        ("duplicates", ctypes.c_uint64),
        ("reordered", ctypes.c_uint64),
        ("foreign", ctypes.c_uint64),
        ("receiver_cpu_ns", ctypes.c_uint64),
        ("late", ctypes.c_uint64 * BUCKETS),
        ("transit", ctypes.c_uint64 * BUCKETS),
    )


@dataclass(frozen=True, slots=True)
class UdpRun:
    """What left, and what came."""

    bytes: int
    """Of payload, in each datagram."""
    sent: int
    received: int
    """Each once."""
    duplicates: int
    reordered: int
    """Came after one that was sent later."""
    foreign: int
    """Datagrams of another size, which somebody else sent."""
    calls: int
    """System calls of the sender."""
    wall_ns: int
    """Of the sender."""
    sender_cpu_ns: int
    receiver_cpu_ns: int
    errors: Mapping[str, int]
    """Of the sender's system calls, by errno."""
    late: Histogram
    """From when a datagram was due until it was sent; empty without a rate."""
    transit: Histogram
    """From its sending until it was read: it includes what it waited in the socket."""

    @property
    def lost(self) -> int:
        """Datagrams that were sent and did not come."""
        return self.sent - self.received


def udp(
    *,
    rate: float,
    duration_s: float,
    payload_bytes: int = 64,
    host: str = "127.0.0.1",
    batch: int = BATCH,
    sender_cpus: Iterable[int] | None = None,
    receiver_cpus: Iterable[int] | None = None,
    sender_netns: str | None = None,
    receiver_netns: str | None = None,
    sender_cgroup: Path | None = None,
    receiver_cgroup: Path | None = None,
) -> UdpRun:
    """Send datagrams to an address of this host, and take them there.

    :param rate: datagrams a second; 0: as many as the sender can.
    :param payload_bytes: 16 at least, for their number and time.
    :param batch: of those that are due, so many a system call at most; 1 to 64.
    :raises UsageError: figures that make no sense.
    :raises NettaxError: an end failed.
    """
    page = _page(host, 0, rate, duration_s, payload_bytes, batch)
    receiver = Engine(
        "nettax_load_udp_receive",
        bytes(page),
        ctypes.sizeof(page),
        cpus=receiver_cpus,
        netns=receiver_netns,
        cgroup=receiver_cgroup,
    )
    taken = _Page.from_buffer(receiver.memory)
    with receiver:
        deadline = time.monotonic() + START_LIMIT_S
        while not taken.listening:
            if receiver.wait(0.002) or time.monotonic() > deadline:
                raise NettaxError("the UDP receiver did not start.")
        page.address = address(host, taken.port)
        sender = Engine(
            SEND,
            bytes(page),
            ctypes.sizeof(page),
            cpus=sender_cpus,
            netns=sender_netns,
            cgroup=sender_cgroup,
        )
        with sender:
            sender.finish(duration_s + START_LIMIT_S)
        taken.sender_ended = 1
        receiver.finish(STILL_S)
    return _run(_Page.from_buffer(sender.memory), taken)


def prepare(
    host: str, port: int, *, rate: float = 0, duration_s: float = 0, payload_bytes: int = 64
) -> bytes:
    """Return the page that `SEND` runs on, to a sink; or a sink, to which the address is its own.

    :raises UsageError: the host cannot be looked up; figures that make no sense.
    """
    page = _page(host, port, rate, duration_s, payload_bytes, BATCH)
    page.asks = 1
    return bytes(page)


def sink(bind: str, port: int) -> list[str]:
    """Return a command that takes datagrams, and tells senders what came; it prints its port.

    It is for this process to become, or to spawn with the descriptor that it names.

    :raises UsageError: the address cannot be looked up.
    """
    fd = os.memfd_create("nettax-sink")
    os.write(fd, prepare(bind, port))
    os.set_inheritable(fd, True)
    return runner(SINK, fd)


def reading(page: bytes) -> UdpRun:
    """Return what the sender left in a page, and its sink said.

    :raises ValueError: it is no such page.
    """
    both = _Page.from_buffer_copy(page)
    return _run(both, both)


def _page(
    host: str, port: int, rate: float, duration_s: float, payload_bytes: int, batch: int
) -> _Page:
    if not LEAST_BYTES <= payload_bytes <= MOST_BYTES:
        raise UsageError(f"a datagram has {LEAST_BYTES} to {MOST_BYTES} bytes of payload.")
    if rate < 0 or rate > 1e9 or duration_s < 0 or not 1 <= batch <= MOST_BATCH:
        raise UsageError(f"UDP takes a rate, a duration, and a batch of 1 to {MOST_BATCH}.")
    return _Page(
        address=address(host, port),
        bytes=payload_bytes,
        batch=batch,
        interval_ps=round(1e12 / rate) if rate else 0,
        limit_ns=round(duration_s * 1e9),
    )


def _run(left: _Page, taken: _Page) -> UdpRun:
    return UdpRun(
        int(left.bytes),
        left.sent,
        taken.received,
        taken.duplicates,
        taken.reordered,
        taken.foreign,
        left.calls,
        left.wall_ns,
        left.sender_cpu_ns,
        taken.receiver_cpu_ns,
        MappingProxyType(
            {
                errno.errorcode.get(number, "other"): count
                for number, count in enumerate(left.send_errors)
                if count
            }
        ),
        Histogram.of_counts(left.late),
        Histogram.of_counts(taken.transit),
    )
