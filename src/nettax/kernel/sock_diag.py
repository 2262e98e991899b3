"""TCP sockets of a port, asked of the kernel by netlink: the rest is passed over there.

Source: net/ipv4/inet_diag.c (inet_diag_dump_icsk) and include/uapi/linux/inet_diag.h. /proc/net/tcp
prints every socket, a page at a time: with ten thousand in TIME-WAIT, reading it takes seconds.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from typing import Final, Self

from nettax.kernel.tcp_sockets import ESTABLISHED, LISTEN, Socket

__all__ = ["SockDiag"]

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_REQUEST = struct.Struct("=BBBBI2H44x")  # struct inet_diag_req_v2; its ports are big-endian
_MESSAGE = struct.Struct("=BBBB4s44xIIIII")  # struct inet_diag_msg
_RECEIVE_BYTES: Final = 1 << 16
_STATES: Final = 1 << ESTABLISHED | 1 << LISTEN


class SockDiag:
    """A netlink socket: it stays with the network namespace in which it was opened."""

    def __init__(self) -> None:
        """Open it.

        :raises OSError: this kernel has no SOCK_DIAG.
        """
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG)

    def sockets(self, port: int) -> Iterator[Socket]:
        """Those with this port of their own that listen or are established; IPv4 and IPv6.

        :raises OSError: the kernel refuses, or an answer got lost.
        """
        for family in (socket.AF_INET, socket.AF_INET6):
            yield from self._of(family, port)

    def _of(self, family: int, port: int) -> Iterator[Socket]:
        asked = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, _STATES, socket.htons(port), 0)
        flags = _NLM_F_REQUEST | _NLM_F_DUMP
        length = _HEADER.size + len(asked)
        self._socket.send(_HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, flags, 0, 0) + asked)
        while True:
            answer = self._socket.recv(_RECEIVE_BYTES)
            at = 0
            while at < len(answer):
                length, kind, *_ = _HEADER.unpack_from(answer, at)
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    (code,) = struct.unpack_from("=i", answer, at + _HEADER.size)
                    raise OSError(-code, os.strerror(-code))
                yield _read(answer, at + _HEADER.size)
                at += (length + 3) & ~3

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _read(answer: bytes, at: int) -> Socket:
    _, state, _, _, ports, _, receive, send, _, inode = _MESSAGE.unpack_from(answer, at)
    own, peer = struct.unpack("!HH", ports)
    return Socket(own, peer, state, send, receive, inode)
