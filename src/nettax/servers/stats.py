"""What a reference server counts, read from the page that it shares: `struct stats` of server.h."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from nettax.errors import UsageError

__all__ = ["OPERATIONS", "Page", "ServerErrors", "ServerStats"]

OPERATIONS = ("accept", "receive", "send", "thread")
_ERRNOS = 134

ServerErrors = Mapping[tuple[str, str], int]
"""How often each (operation, name of the errno) was seen: ``{("send", "EPIPE"): 3}``."""


class Page(ctypes.Structure):
    """``struct stats``."""

    _fields_ = (
        ("accepted", ctypes.c_uint64),
        ("closed", ctypes.c_uint64),
        ("requests", ctypes.c_uint64),
        ("refused", ctypes.c_uint64),
        ("received_bytes", ctypes.c_uint64),
        ("sent_bytes", ctypes.c_uint64),
        ("idle", ctypes.c_uint64),
        ("errors", ctypes.c_uint64 * _ERRNOS * len(OPERATIONS)),
    )


@dataclass(frozen=True, slots=True)
class ServerStats:
    """Counts since the server's start; the difference of two is what came between."""

    accepted: int
    """Connections."""
    closed: int
    requests: int
    """HTTP: answered with 200. Echo: readings of a socket, each of which is sent back."""
    refused: int
    """HTTP: answered with 4xx or 5xx."""
    received_bytes: int
    sent_bytes: int
    idle: int
    """Connections closed because they neither sent nor took anything for too long."""
    errors: ServerErrors

    @property
    def open(self) -> int:
        """Connections that are open, of a count from the server's start."""
        return self.accepted - self.closed

    def __sub__(self, earlier: ServerStats) -> ServerStats:
        """Return what came since ``earlier``.

        :raises UsageError: ``earlier`` is the later one.
        """
        errors = {
            key: more
            for key, now in self.errors.items()
            if (more := now - earlier.errors.get(key, 0))
        }
        since = ServerStats(
            self.accepted - earlier.accepted,
            self.closed - earlier.closed,
            self.requests - earlier.requests,
            self.refused - earlier.refused,
            self.received_bytes - earlier.received_bytes,
            self.sent_bytes - earlier.sent_bytes,
            self.idle - earlier.idle,
            MappingProxyType(errors),
        )
        if min(since.accepted, since.requests, since.received_bytes) < 0:
            raise UsageError("a server's counts only grow: subtract the earlier from the later.")
        return since


def read(page: Page) -> ServerStats:
    """Take a reading; counts of one moment each, not all of one moment."""
    errors = {
        (operation, errno.errorcode.get(number, "other")): count
        for operation, counts in zip(OPERATIONS, page.errors, strict=True)
        for number, count in enumerate(counts)
        if count
    }
    closed = int(page.closed)  # before what it cannot exceed
    return ServerStats(
        int(page.accepted),
        closed,
        int(page.requests),
        int(page.refused),
        int(page.received_bytes),
        int(page.sent_bytes),
        int(page.idle),
        MappingProxyType(errors),
    )
