"""The open-loop requester: requests are due on a schedule that waits for nobody.

A closed loop sends when an answer has come, so a server that stalls is asked less, and the time
that its users would have waited is never seen (G. Tene's "coordinated omission"). Here a request
that finds no free connection goes out late, and its time counts from when it was due.
"""

from __future__ import annotations

import ctypes
import errno
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Literal, Self, TypeVar

from nettax.errors import NettaxError, UsageError
from nettax.load.engine import Address, Engine, address
from nettax.load.histogram import BUCKETS, Histogram

__all__ = [
    "ENGINE",
    "Arrivals",
    "OpenLoop",
    "OpenLoopReading",
    "http_request",
    "prepare",
    "reading",
]

ENGINE = "nettax_load_open"

MOST_REQUEST = 16384
MOST_DEPTH = 65536
DRAIN_S = 1.0
START_LIMIT_S = 12.0
_ERRNOS = 134

Arrivals = Literal["even", "poisson"]

_Key = TypeVar("_Key")


class _Page(ctypes.Structure):
    """``struct open_loop`` of native/load_open.h."""

    _fields_ = (
        ("address", Address),
        ("protocol", ctypes.c_uint32),
        ("connections", ctypes.c_uint32),
        ("depth", ctypes.c_uint32),
        ("request_bytes", ctypes.c_uint32),
        ("no_body", ctypes.c_uint32),
        ("poisson", ctypes.c_uint32),
        ("lone", ctypes.c_uint32),
        ("started", ctypes.c_uint32),
        ("interval_ps", ctypes.c_uint64),
        ("seed", ctypes.c_uint64),
        ("limit_ns", ctypes.c_uint64),
        ("drain_ns", ctypes.c_uint64),
        ("due", ctypes.c_uint64),
        ("sent", ctypes.c_uint64),
        ("answered", ctypes.c_uint64),
        ("unanswered", ctypes.c_uint64),
        ("connects", ctypes.c_uint64),
        ("sent_bytes", ctypes.c_uint64),
        ("received_bytes", ctypes.c_uint64),
        ("malformed", ctypes.c_uint64),
        ("closed_early", ctypes.c_uint64),
        ("wall_ns", ctypes.c_uint64),
        ("cpu_ns", ctypes.c_uint64),
        ("statuses", ctypes.c_uint64 * 6),
        ("connect_errors", ctypes.c_uint64 * _ERRNOS),
        ("errors", ctypes.c_uint64 * _ERRNOS),
        ("latency", ctypes.c_uint64 * BUCKETS),
        ("service", ctypes.c_uint64 * BUCKETS),
        ("request", ctypes.c_uint8 * MOST_REQUEST),
    )


@dataclass(frozen=True, slots=True)
class OpenLoopReading:
    """Counts since the schedule began; the difference of two is what came between."""

    wall_ns: int
    cpu_ns: int
    """The generator's own CPU time."""
    due: int
    """Requests that the schedule had; those that were not sent were never given a connection."""
    sent: int
    answered: int
    unanswered: int
    """Sent, and then their connection failed, or the time was over."""
    connects: int
    sent_bytes: int
    received_bytes: int
    statuses: Mapping[int, int]
    """HTTP: answers by their status's first digit."""
    errors: Mapping[tuple[str, str], int]
    """(operation, what): ``("connect", "ECONNREFUSED")``, ``("transfer", "ECONNRESET")``,
    ``("answer", "malformed")``, ``("answer", "closed early")``."""
    latency: Histogram
    """From when a request was due to its whole answer."""
    service: Histogram
    """From when it was sent. What `latency` is longer by, requests spent waiting to be sent."""

    @property
    def unsent(self) -> int:
        """Requests that were due and not sent."""
        return self.due - self.sent

    def __sub__(self, earlier: OpenLoopReading) -> OpenLoopReading:
        """Return what came since ``earlier``.

        :raises UsageError: ``earlier`` is the later one.
        """
        return OpenLoopReading(
            self.wall_ns - earlier.wall_ns,
            self.cpu_ns - earlier.cpu_ns,
            self.due - earlier.due,
            self.sent - earlier.sent,
            self.answered - earlier.answered,
            self.unanswered - earlier.unanswered,
            self.connects - earlier.connects,
            self.sent_bytes - earlier.sent_bytes,
            self.received_bytes - earlier.received_bytes,
            _less(self.statuses, earlier.statuses),
            _less(self.errors, earlier.errors),
            self.latency - earlier.latency,
            self.service - earlier.service,
        )


def _less(now: Mapping[_Key, int], then: Mapping[_Key, int]) -> Mapping[_Key, int]:
    found = {key: count - then.get(key, 0) for key, count in now.items()}
    return MappingProxyType({key: count for key, count in found.items() if count})


def http_request(target: str, host: str, *, method: str = "GET", close: bool = False) -> bytes:
    """Return the bytes of a request without a body."""
    end = "Connection: close\r\n" if close else ""
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{end}\r\n".encode()


class OpenLoop:
    """A schedule that runs while it is entered; leaving it stops it at once."""

    def __init__(
        self,
        host: str,
        port: int,
        request: bytes,
        *,
        protocol: Literal["echo", "http"] = "http",
        rate: float,
        duration_s: float,
        connections: int = 1,
        depth: int = 1,
        arrivals: Arrivals = "even",
        seed: int = 1,
        lone: bool = False,
        no_body: bool = False,
        drain_s: float = DRAIN_S,
        cpus: Iterable[int] | None = None,
        netns: str | None = None,
        cgroup: Path | None = None,
    ) -> None:
        """Prepare a schedule of `rate` requests a second.

        :param rate: 0: one whenever a connection is free, which is a closed loop.
        :param depth: requests on one connection that wait for answers: 1 waits for each, more
            pipelines.
        :param arrivals: `poisson`: as independent users come, by `seed`.
        :param lone: a connection serves one request, and is then closed from here.
        :param no_body: answers have none, as those to HEAD.
        :param drain_s: how long to wait for the last answers.
        :raises UsageError: the host cannot be looked up; figures that make no sense.
        """
        page = prepare(
            host,
            port,
            request,
            protocol=protocol,
            rate=rate,
            duration_s=duration_s,
            connections=connections,
            depth=depth,
            arrivals=arrivals,
            seed=seed,
            lone=lone,
            no_body=no_body,
            drain_s=drain_s,
        )
        self._duration_s = duration_s
        self._drain_s = drain_s
        self._engine = Engine(
            ENGINE,
            page,
            len(page),
            cpus=cpus,
            netns=netns,
            cgroup=cgroup,
        )
        self._page = _Page.from_buffer(self._engine.memory)

    def __enter__(self) -> Self:
        """Start the generator, and return when its schedule has begun.

        :raises NettaxError: it failed.
        """
        self._engine.__enter__()
        try:
            deadline = time.monotonic() + START_LIMIT_S
            while not self._page.started:
                if self._engine.wait(0.002):
                    break
                if time.monotonic() > deadline:
                    raise NettaxError("the load engine has not started: something holds its CPU.")
        except BaseException:
            self._engine.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it wherever it is."""
        self._engine.__exit__(kind, error, traceback)

    @property
    def pid(self) -> int:
        """The generator's process."""
        return self._engine.pid

    def end(self) -> None:
        """Let no more requests become due; `finish` then waits for the last answers."""
        self._page.limit_ns = 0

    def running(self) -> bool:
        """Whether it has not ended yet.

        :raises NettaxError: it failed.
        """
        return not self._engine.wait(0)

    def finish(self) -> OpenLoopReading:
        """Wait for the schedule's end and the last answers.

        :raises NettaxError: it failed, or does not end.
        """
        self._engine.finish(self._duration_s + self._drain_s + START_LIMIT_S)
        return self.read()

    def read(self) -> OpenLoopReading:
        """Take a reading; each count is of its own moment."""
        return _reading(self._page)


def prepare(
    host: str,
    port: int,
    request: bytes,
    *,
    protocol: Literal["echo", "http"],
    rate: float,
    duration_s: float,
    connections: int,
    depth: int = 1,
    arrivals: Arrivals = "even",
    seed: int = 1,
    lone: bool = False,
    no_body: bool = False,
    drain_s: float = DRAIN_S,
) -> bytes:
    """Return the page that `ENGINE` runs on, which means what `OpenLoop` says.

    :raises UsageError: the host cannot be looked up; figures that make no sense.
    """
    if rate < 0 or rate > 1e9 or duration_s <= 0 or connections < 1:
        raise UsageError("an open loop takes a rate, a duration and a connection at least.")
    if not 1 <= depth <= MOST_DEPTH or (lone and depth > 1):
        raise UsageError(f"the depth is 1 to {MOST_DEPTH}, and 1 with one request each.")
    if not 1 <= len(request) <= MOST_REQUEST:
        raise UsageError(f"a request has 1 to {MOST_REQUEST} bytes, not {len(request)}.")
    page = _Page(
        address=address(host, port),
        protocol=("echo", "http").index(protocol),
        connections=connections,
        depth=depth,
        request_bytes=len(request),
        no_body=no_body,
        poisson=arrivals == "poisson",
        lone=lone,
        interval_ps=round(1e12 / rate) if rate else 0,
        seed=seed,
        limit_ns=round(duration_s * 1e9),
        drain_ns=round(drain_s * 1e9),
        request=(ctypes.c_uint8 * MOST_REQUEST)(*request),
    )
    return bytes(page)


def reading(page: bytes) -> OpenLoopReading:
    """Return what the engine left in a page.

    :raises ValueError: it is no such page.
    """
    return _reading(_Page.from_buffer_copy(page))


def _reading(page: _Page) -> OpenLoopReading:
    errors = {
        ("answer", "malformed"): int(page.malformed),
        ("answer", "closed early"): int(page.closed_early),
    }
    for operation, counts in (("connect", page.connect_errors), ("transfer", page.errors)):
        for number, count in enumerate(counts):
            errors[operation, errno.errorcode.get(number, "other")] = count
    return OpenLoopReading(
        int(page.wall_ns),
        int(page.cpu_ns),
        int(page.due),
        int(page.sent),
        int(page.answered),
        int(page.unanswered),
        int(page.connects),
        int(page.sent_bytes),
        int(page.received_bytes),
        MappingProxyType({n: count for n, count in enumerate(page.statuses) if count}),
        MappingProxyType({key: count for key, count in errors.items() if count}),
        Histogram.of_counts(page.latency),
        Histogram.of_counts(page.service),
    )
