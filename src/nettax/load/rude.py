"""Clients that behave as real ones do at times: they leave, reset, send halves, or stall."""

from __future__ import annotations

import errno
import heapq
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Self

__all__ = ["KINDS", "Rude", "RudeKind", "RudeReading"]

RudeKind = Literal["abort", "reset", "half", "stall"]
KINDS: tuple[RudeKind, ...] = ("abort", "reset", "half", "stall")

PIPELINED = 64
"""Requests that one who aborts sends: more than a server answers in one system call, so that it
is still writing when the peer has gone."""
CONNECT_S = 5.0
"""More than a SYN that is sent again takes: after 1 s and 3, where the queue is full, say."""
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close(2) sends a reset


@dataclass(frozen=True, slots=True)
class RudeReading:
    """Counts since the start."""

    done: Mapping[str, int]
    """By kind; those that could not connect are not in it."""
    errors: Mapping[tuple[str, str], int]
    """(operation, errno) that these clients met."""


class Rude:
    """A thread that opens such connections at set rates while it is entered.

    ``abort``: sends requests and closes at once, so that the answers find nobody. ``reset``: the
    same with a reset. ``half``: sends half a request and closes. ``stall``: sends half a request
    and holds the connection for `stall_s` seconds.
    """

    def __init__(
        self,
        host: str,
        port: int,
        request: bytes,
        rates: Mapping[RudeKind, float],
        *,
        stall_s: float = 10.0,
        seed: int = 1,
    ) -> None:
        """Prepare so many a second of each kind, at random times."""
        self._to = host, port
        self._request = request
        self._rates = {kind: rate for kind, rate in rates.items() if rate > 0}
        self._stall_s = stall_s
        # Times that clients come at, not secrets.
        self._random = random.Random(seed)  # noqa: S311
        self._lock = threading.Lock()
        self._done: Counter[str] = Counter()
        self._errors: Counter[tuple[str, str]] = Counter()
        self._held: list[tuple[float, int, socket.socket]] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nettax-rude", daemon=True)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop, and close what is held."""
        self._ending.set()
        self._thread.join()
        for _, _, held in self._held:
            held.close()

    def read(self) -> RudeReading:
        """Return the counts."""
        with self._lock:
            return RudeReading(dict(self._done), dict(self._errors))

    def _run(self) -> None:
        due = [(self._next(time.monotonic(), kind), kind) for kind in self._rates]
        heapq.heapify(due)
        while True:
            now = time.monotonic()
            wakes = [at for at, *_ in (due[:1] + self._held[:1])]
            if self._ending.wait(max(0.0, min(wakes, default=now + 1) - now)):
                return
            now = time.monotonic()
            while self._held and self._held[0][0] <= now:
                heapq.heappop(self._held)[2].close()
            while due and due[0][0] <= now:
                at, kind = due[0]
                heapq.heapreplace(due, (self._next(at, kind), kind))
                self._be(kind)

    def _next(self, at: float, kind: RudeKind) -> float:
        return at + self._random.expovariate(self._rates[kind])

    def _be(self, kind: RudeKind) -> None:
        operation = "connect"
        try:
            one = socket.create_connection(self._to, CONNECT_S)
            operation = "send"
            half = self._request[: max(1, len(self._request) // 2)]
            try:
                one.settimeout(CONNECT_S)
                one.sendall(self._request * PIPELINED if kind in ("abort", "reset") else half)
                if kind == "reset":
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                if kind == "stall":
                    heapq.heappush(self._held, (time.monotonic() + self._stall_s, id(one), one))
            finally:
                if kind != "stall":
                    with suppress(OSError):
                        one.close()
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, type(error).__name__)
            with self._lock:
                self._errors[operation, name] += 1
            if operation == "connect":
                return
        with self._lock:
            self._done[kind] += 1
