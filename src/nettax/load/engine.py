"""A load engine of native/ in a process of its own, and the page in which it tells its results."""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired
from typing import Self

from nettax.errors import NettaxError, UsageError
from nettax.host import spawn
from nettax.native import PATH

__all__ = ["Address", "Engine", "address", "runner"]

# A bare interpreter: no site, no environment, nothing of nettax but the library. It starts in 20 ms
# and, once in C, never comes back to Python.
_RUNNER = """\
import ctypes, sys
library, engine, fd = sys.argv[1:]
sys.exit(getattr(ctypes.CDLL(library), engine)(int(fd)))
"""


class Address(ctypes.Structure):
    """``struct load_address`` of native/load.h."""

    _fields_ = (
        ("bytes", ctypes.c_uint8 * 128),
        ("length", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
    )


def address(host: str, port: int) -> Address:
    """Look a host up; of several addresses the first.

    :raises UsageError: there is no such host or port.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{host}:{port} cannot be looked up: {reason}.") from None
    where = socket.inet_pton(found[0], str(found[4][0]).partition("%")[0])
    packed = port.to_bytes(2, "big")
    if found[0] == socket.AF_INET:
        packed += where + bytes(8)
    else:  # flow label, address, scope
        scope = int(found[4][3]) if len(found[4]) > 3 else 0
        packed += bytes(4) + where + scope.to_bytes(4, sys.byteorder)
    packed = int(found[0]).to_bytes(2, sys.byteorder) + packed
    result = Address(length=len(packed))
    ctypes.memmove(result.bytes, packed, len(packed))
    return result


def runner(function: str, fd: int) -> list[str]:
    """Return a command that runs an engine on the page behind a descriptor."""
    return [sys.executable, "-I", "-S", "-c", _RUNNER, PATH, function, str(fd)]


class Engine:
    """An engine that runs while it is entered; its page stays readable afterwards."""

    def __init__(
        self,
        function: str,
        page: bytes,
        size: int,
        *,
        cpus: Iterable[int] | None = None,
        netns: str | None = None,
        cgroup: Path | None = None,
    ) -> None:
        """Prepare to run `function` on a page of `size` bytes that begins with `page`."""
        self._function = function
        self._place = cpus, netns, cgroup
        self._fd = os.memfd_create("nettax-load")
        os.ftruncate(self._fd, size)
        self.memory = mmap.mmap(self._fd, size)
        self.memory[: len(page)] = page
        self._process: Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it."""
        cpus, netns, cgroup = self._place
        command = runner(self._function, self._fd)
        try:
            self._process = spawn(
                command,
                cpus=cpus,
                netns=netns,
                cgroup=cgroup,
                pass_fds=[self._fd],
                stdin=DEVNULL,
                stderr=PIPE,
            )
        finally:
            os.close(self._fd)
        return self

    def __exit__(self, *_: object) -> None:
        """End it; it holds nothing that wants tidying, so at once."""
        if self._process is not None:
            with self._process:
                self._process.kill()

    @property
    def pid(self) -> int:
        """The engine's process, while it is entered."""
        assert self._process is not None  # noqa: S101
        return self._process.pid

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended; False when it has not within so many seconds.

        :raises NettaxError: it failed.
        """
        assert self._process is not None  # noqa: S101
        with suppress(TimeoutExpired):
            code = self._process.wait(seconds)
            if code:
                raise NettaxError(f"the load engine failed: {self._why(code)}.")
            return True
        return False

    def finish(self, limit_s: float) -> None:
        """Wait until it has ended.

        :raises NettaxError: it failed, or has not ended within the limit.
        """
        deadline = time.monotonic() + limit_s
        while not self.wait(max(0.0, deadline - time.monotonic())):
            if time.monotonic() >= deadline:
                raise NettaxError(
                    f"the load engine (pid {self.pid}) has not ended within {limit_s:.0f} s: "
                    "something holds its CPU."
                )

    def _why(self, code: int) -> str:
        if code < 0:
            return f"it was killed by signal {-code}"
        assert self._process is not None and self._process.stderr is not None  # noqa: S101
        said = self._process.stderr.read().decode(errors="replace").strip()
        return said.splitlines()[-1] if said else os.strerror(code)
