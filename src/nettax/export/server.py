"""A small HTTP server that cannot be made to wait, to grow or to stop.

One thread and one event loop. Every connection has a deadline for whatever it is doing, heads have
a limit, and there are never more than so many connections: when one more comes, the one that was
served longest ago, or never, has to go, half a second after that at the earliest. So a crowd that
comes at once is served, and a client that keeps many connections open and says nothing keeps only
itself from being served. Requests are answered one after the other.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Protocol

from nettax.export.http import BadRequest, Request, Response, parse_head

__all__ = ["Guard", "Server"]

MOST_CONNECTIONS = 128
MOST_HEAD = 16 * 1024  # bytes; Prometheus sends about 500, a browser with cookies some thousand
HEAD_S = 10.0  # from the first to the last byte of a request's head, and for a TLS handshake
IDLE_S = 330.0  # between two requests; Prometheus itself closes idle connections after 300
WRITE_S = 30.0
LINGER_S = 1.0
LINGER_BYTES = 1 << 20
GRACE_S = 0.5  # for which nobody is sent away
TURNS = 8  # of the event loop, from accepting a connection to answering what it said
BACKLOG = 256
RETRY_S = 0.1  # after a lack of descriptors


class Guard(Protocol):
    """Who may connect: TLS and passwords."""

    def context(self) -> ssl.SSLContext | None:
        """How to speak TLS with the next connection; None: in the clear."""

    async def admits(self, request: Request) -> Response | None:
        """None if the request may be answered, else what it is told instead."""


class Server:
    """Answers requests until it is cancelled."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        answer: Callable[[Request], Response],
        guard: Guard,
        refused: Counter[str],
    ) -> None:
        """`sockets` listen already; `answer` is called in the event loop's thread, in turn.

        `refused` counts by reason what was not answered as asked: `evicted`, `timeout`, `tls`,
        `broken` (the client went away) and `malformed`.
        """
        self._sockets = sockets
        self._answer = answer
        self._guard = guard
        self._refused = refused
        # With when they came or were last served, in that order.
        self._connections: dict[asyncio.Task[None], float] = {}
        self._ended = asyncio.Event()

    async def serve(self) -> None:
        """Accept and answer; cancel the task that runs this to stop it."""
        loop = asyncio.get_running_loop()
        # What goes wrong with a connection after its task has ended is nobody's business.
        loop.set_exception_handler(lambda loop, context: self._count("broken"))
        accepting = [asyncio.create_task(self._accept(each)) for each in self._sockets]
        try:
            await asyncio.gather(*accepting)
        finally:
            ending = [*accepting, *self._connections]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)

    def _count(self, reason: str) -> None:
        self._refused[reason] += 1

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._make_room()
            try:
                accepted, _ = await loop.sock_accept(listening)
            except ConnectionError:  # it went away while it waited
                self._count("broken")
                continue
            except OSError:  # no descriptors or no memory
                self._evict()
                await asyncio.sleep(RETRY_S)
                continue
            task = loop.create_task(self._connection(accepted))
            self._connections[task] = loop.time()
            task.add_done_callback(partial(self._forget, accepted))

    def _forget(self, accepted: socket.socket, task: asyncio.Task[None]) -> None:
        # Closed here, not by the task: one that is cancelled before it begins runs no line.
        accepted.close()
        self._connections.pop(task, None)
        self._ended.set()

    async def _make_room(self) -> None:
        """Wait for a connection to end, or for the one served longest ago to have had its time.

        Meanwhile newcomers wait in the kernel's queue: a crowd that comes at once is served.
        """
        loop = asyncio.get_running_loop()
        while len(self._connections) >= MOST_CONNECTIONS:
            oldest, since = next(iter(self._connections.items()))
            left = since + GRACE_S - loop.time()
            if left <= 0:
                # On a busy host its request may be here, and only not have had its turn.
                for _ in range(TURNS):
                    await asyncio.sleep(0)
                if oldest in self._connections and self._connections[oldest] == since:
                    self._evict()
                    return
                continue
            self._ended.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._ended.wait()

    def _evict(self) -> None:
        if self._connections:
            task = next(iter(self._connections))
            del self._connections[task]
            task.cancel()
            self._count("evicted")

    async def _connection(self, accepted: socket.socket) -> None:
        transport: asyncio.BaseTransport | None = None
        try:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            reader, writer = await _streams(accepted, self._guard.context())
            transport = writer.transport
            patience = HEAD_S
            while await self._exchange(reader, writer, patience):
                patience = IDLE_S
                task = asyncio.current_task()
                if task in self._connections:  # to the end of the queue of those that may go
                    del self._connections[task]
                    self._connections[task] = asyncio.get_running_loop().time()
            await _linger(reader, writer)
        except TimeoutError:
            self._count("timeout")
        except ssl.SSLError:
            self._count("tls")
        except (OSError, EOFError):
            self._count("broken")
        finally:
            if isinstance(transport, asyncio.WriteTransport):
                transport.abort()

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, patience: float
    ) -> bool:
        """Answer one request that begins within `patience` seconds; whether another may follow."""
        try:
            request = parse_head(await _head(reader, patience))
        except BadRequest as error:
            self._count("malformed")
            await _send(writer, Response.text(error.status, str(error)), False, True)
            return False
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return False
        response = await self._guard.admits(request) or self._respond(request)
        await _send(writer, response, request.method == "HEAD", not request.keep_alive)
        return request.keep_alive

    def _respond(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return Response.text(
                HTTPStatus.METHOD_NOT_ALLOWED, "GET and HEAD are answered here", Allow="GET, HEAD"
            )
        return self._answer(request)


async def _streams(
    accepted: socket.socket, context: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Reader and writer of a connection, once its TLS handshake is done.

    Not by asyncio.start_server(): that one hands connections over only after their handshakes,
    and any number may be under way until then.
    """
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=MOST_HEAD, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    accepted.setblocking(False)
    transport, _ = await loop.connect_accepted_socket(
        lambda: protocol,
        accepted,
        ssl=context,
        ssl_handshake_timeout=HEAD_S if context else None,
        ssl_shutdown_timeout=LINGER_S if context else None,
    )
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def _head(reader: asyncio.StreamReader, patience: float) -> bytes:
    """The next request's head.

    :raises BadRequest: it is too long
    :raises asyncio.IncompleteReadError: the client has closed; `partial` is what came of a head
    :raises TimeoutError: it does not come, or not in time
    """
    async with asyncio.timeout(patience) as deadline:
        first = await reader.readexactly(1)
        deadline.reschedule(asyncio.get_running_loop().time() + HEAD_S)
        while first in b"\r\n":  # empty lines before a request are to be ignored
            first = await reader.readexactly(1)
        try:
            return first + await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            raise BadRequest(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"a request's head may have {MOST_HEAD} bytes",
            ) from None
        except asyncio.IncompleteReadError as error:
            raise asyncio.IncompleteReadError(first + error.partial, None) from None


async def _send(
    writer: asyncio.StreamWriter, response: Response, head_only: bool, close: bool
) -> None:
    async with asyncio.timeout(WRITE_S):
        writer.write(response.encoded(head_only=head_only, close=close))
        await writer.drain()


async def _linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close so that the answer arrives: data that nobody read would make the kernel reset it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            if writer.can_write_eof():  # TLS cannot
                writer.write_eof()
            else:
                await writer.drain()
            left = LINGER_BYTES
            while left > 0 and (more := await reader.read(1 << 16)):
                left -= len(more)
