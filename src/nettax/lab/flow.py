"""Traffic between the two namespaces of a testbed, with counters that cost the traffic nothing.

The counters only grow and stay readable when the flow has ended.
"""

from __future__ import annotations

import socket
import struct
import time
from abc import ABC, abstractmethod
from contextlib import ExitStack
from typing import Self

from nettax.host import Host
from nettax.host.syscalls import duplicate_fd
from nettax.lab.endpoint import Endpoint, Page, Place, Role

_SO_MEMINFO = 55  # include/uapi/asm-generic/socket.h
_MEMINFO = struct.Struct("=9I")  # enum of SK_MEMINFO_* in include/uapi/linux/sock_diag.h
_DROPS = 8
_STILL = 0.01  # seconds without a packet that show that the softirq has handled them all


class Flow(ABC):
    """A flow that runs while it is entered; leaving it stops sender and receiver."""

    _sender_role: Role
    _sender: Endpoint
    _receiver: Endpoint

    def __init__(self, host: Host, page: Page, sender: Place, receiver: Place) -> None:
        """Start nothing yet; ``page.role`` is the receiver's."""
        self._host = host
        self._page = page
        self._places = sender, receiver
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start the receiver, then the sender, and return when packets are about to leave.

        :raises NettaxError: an end could not set itself up.
        """
        sender, receiver = self._places
        with ExitStack() as stack:
            self._receive(receiver, stack)
            page = Page.from_buffer_copy(self._page)
            page.role = self._sender_role
            self._sender = Endpoint(self._host, sender, page)
            stack.callback(self._settle)
            stack.callback(self._sender.finish)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the sender, then the receiver."""
        self._stack.close()

    def _receive(self, place: Place, stack: ExitStack) -> None:
        """Start the receiver, and get hold of what reading its counters takes."""
        self._receiver = Endpoint(self._host, place, self._page)
        stack.callback(self._receiver.stop)

    @abstractmethod
    def _settle(self) -> None:
        """Take what must be read between the sender's end and the receiver's."""

    def sent(self) -> int:
        """Return what the sender's system calls have sent: packets of UDP, bytes of TCP."""
        return int(self._sender.page.count)

    def running(self) -> bool:
        """Whether the sender has time left."""
        return self._sender.process.poll() is None

    @abstractmethod
    def received(self) -> int:
        """Return what has come to the receiver's socket: packets of UDP, bytes of TCP."""


class UdpFlow(Flow):
    """Datagrams from one socket to one socket; counts packets."""

    _sender_role = Role.UDP_SENDER
    _dropped = 0

    def _receive(self, place: Place, stack: ExitStack) -> None:
        super()._receive(place, stack)
        number = self._receiver.page.socket
        self._socket = socket.socket(fileno=duplicate_fd(self._receiver.process.pid, number))
        stack.callback(self._socket.close)

    def _settle(self) -> None:
        """Take the last reading, once no packet is on its way to the socket any more."""
        last = -1
        while (now := self.received()) not in (last, self.sent()):
            last = now
            time.sleep(_STILL)
        self._dropped = self.dropped()

    def received(self) -> int:
        """Return the packets that came to the socket: those that were read and those dropped.

        This is where the softirq's work on a packet ends. Packets in the socket's queue are not
        counted yet.
        """
        return int(self._receiver.page.count) + self.dropped()

    def dropped(self) -> int:
        """Return the packets that came to the socket and were dropped there.

        Where nobody reads, that is each one.
        """
        if self._socket.fileno() < 0:
            return self._dropped
        info = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        return int(_MEMINFO.unpack(info)[_DROPS])


class TcpFlow(Flow):
    """Bulk streams, as fast as they go; counts bytes."""

    _sender_role = Role.TCP_SENDER

    def _settle(self) -> None:
        """Nothing: the receiver's page stays readable."""

    def received(self) -> int:
        """Return the bytes that the receiver has read."""
        return int(self._receiver.page.count)
