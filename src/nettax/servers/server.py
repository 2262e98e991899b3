"""A reference server as a child process: a context manager that knows its port, pid and counts."""

from __future__ import annotations

import ctypes
import mmap
import os
import select
from collections.abc import Iterable
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired
from typing import IO, Any, Literal, Self, TypedDict, Unpack, cast

from nettax.errors import NettaxError, UsageError
from nettax.host import spawn
from nettax.servers import stats
from nettax.servers.stats import Page, ServerStats

__all__ = [
    "MODELS",
    "PROGRAM",
    "KeepAlive",
    "Model",
    "Options",
    "Protocol",
    "Server",
    "arguments",
    "serve",
]

PROGRAM = Path(__file__).with_name("nettax-server")
START_LIMIT_S = 10.0
STOP_LIMIT_S = 2.0

Model = Literal["epoll", "threads", "pool"]
Protocol = Literal["echo", "http"]
KeepAlive = Literal["off", "on", "asked"]

MODELS: tuple[Model, ...] = ("epoll", "threads", "pool")
_KEEP_ALIVE: tuple[KeepAlive, ...] = ("off", "on", "asked")  # enum keep_alive of server.h


# Names of options that differ from main.c's by their unit.
_NAMES = {"body_bytes": "body", "idle_s": "idle", "leak_bytes": "leak"}


class Options(TypedDict, total=False):
    """What a reference server can be told."""

    protocol: Protocol
    """``http``."""
    port: int
    """0: any that is free."""
    bind: str
    """127.0.0.1."""
    backlog: int
    """Of listen(2), 511; the kernel keeps it below net.core.somaxconn."""
    threads: int
    """Of `epoll` and `pool`: 1."""
    nodelay: bool
    """Set TCP_NODELAY on each connection: it is."""
    cork: bool
    """Set TCP_CORK around each answer."""
    two_writes: bool
    """An answer in two system calls: HTTP's head and body, an echo's halves."""
    keep_alive: KeepAlive
    """``on``; `asked`: only where a request has the header ``Connection: keep-alive``, as servers
    of HTTP/1.0's style do it."""
    max_requests: int
    """Close a connection after so many answers; 0: do not."""
    body_bytes: int
    """Of each answer: 128."""
    sleep_us: int
    """Sleep so long for each request, in the thread that serves it: with `epoll`, all connections
    of that thread wait."""
    work_us: int
    """Compute so long for each request, by the thread's CPU clock."""
    idle_s: int
    """Close a connection on which nothing has moved for so long: 60."""
    leak_bytes: int
    """Lose so much memory for each connection, to try what looks for leaks."""


class Server:
    """A server that runs while it is entered. Its counts stay readable when it has ended."""

    def __init__(
        self,
        command: list[str],
        cpus: Iterable[int] | None,
        netns: str | None,
        cgroup: Path | None,
    ) -> None:
        self.port = 0
        self._command = command
        self._place = cpus, netns, cgroup
        self._page = Page()
        self._process: Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it, and return when it listens.

        :raises NettaxError: it could not be started, or not listen there.
        """
        cpus, netns, cgroup = self._place
        shared = os.memfd_create("nettax-server")
        size = -(-ctypes.sizeof(Page) // mmap.PAGESIZE) * mmap.PAGESIZE
        try:
            os.ftruncate(shared, size)
            self._page = Page.from_buffer(mmap.mmap(shared, size))
            self._process = spawn(
                [*self._command, f"--stats-fd={shared}"],
                cpus=cpus,
                netns=netns,
                cgroup=cgroup,
                pass_fds=[shared],
                stdout=PIPE,
                stderr=PIPE,
            )
        except FileNotFoundError as error:
            raise NettaxError(
                f"the reference server {PROGRAM} is missing.\n"
                "It is compiled at install: run `pip install .` (needs cc) in nettax's source tree."
            ) from error
        finally:
            os.close(shared)
        out = cast(IO[bytes], self._process.stdout)
        try:
            ready, _, _ = select.select([out], [], [], START_LIMIT_S)
            line = out.readline() if ready else b""
            if not line:
                raise NettaxError(self._why())
        except BaseException:
            self._end()
            raise
        self.port = int(line)
        return self

    def __exit__(self, *_: object) -> None:
        """End it; it closes what is open."""
        self._end()

    @property
    def pid(self) -> int:
        """The server's process, while it is entered."""
        return self._running().pid

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._running().poll() is None

    def stats(self) -> ServerStats:
        """Read what it has counted since its start."""
        return stats.read(self._page)

    def _running(self) -> Popen[bytes]:
        if self._process is None:
            raise UsageError(
                "the server has not been started: enter it, `with serve(…) as server`."
            )
        return self._process

    def _why(self) -> str:
        process = self._running()
        if process.poll() is None:
            process.kill()
        said = cast(IO[bytes], process.stderr).read().decode(errors="replace").strip()
        return (
            f"the server {' '.join(self._command[1:3])} did not start: {said or 'no word from it'}"
        )

    def _end(self) -> None:
        with self._running() as process:
            process.terminate()
            try:
                process.wait(STOP_LIMIT_S)
            except TimeoutExpired:
                process.kill()


def serve(
    model: Model = "epoll",
    *,
    cpus: Iterable[int] | None = None,
    netns: str | None = None,
    cgroup: Path | None = None,
    **options: Unpack[Options],
) -> Server:
    """Make a reference server, which starts when it is entered.

    `epoll`: `threads` threads, each with the connections that it accepted. `threads`: one for each
    connection. `pool`: one waits for all connections, `threads` serve those that are ready.

    :param cpus: where it may run; `netns`, `cgroup`: in which it runs (see `nettax.host.spawn`).
    :param options: see `Options`.
    :raises UsageError: on entering: no such CPU, namespace or cgroup.
    """
    return Server(arguments(model, **options), cpus, netns, cgroup)


def arguments(model: Model, **options: Unpack[Options]) -> list[str]:
    """The command that runs a reference server."""
    defaults: Options = {
        "protocol": "http",
        "port": 0,
        "bind": "127.0.0.1",
        "backlog": 511,
        "threads": 1,
        "nodelay": True,
        "keep_alive": "on",
        "body_bytes": 128,
        "idle_s": 60,
    }
    words: dict[str, Any] = {**defaults, **options}
    protocol = words.pop("protocol")
    words["keep_alive"] = _KEEP_ALIVE.index(words["keep_alive"])
    given = (
        f"--{_NAMES.get(name, name).replace('_', '-')}={value if name == 'bind' else int(value)}"
        for name, value in words.items()
    )
    return [str(PROGRAM), model, protocol, *given]
