"""One end of a flow: a pinned process that runs native/flow.c, and the page shared with it."""

from __future__ import annotations

import ctypes
import enum
import mmap
import os
import select
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired
from typing import IO, cast

from nettax import native
from nettax.errors import NettaxError
from nettax.host import Host

_START_UP = 10.0  # seconds allowed for a process to set itself up
_WIND_UP = 1.0  # and to see that its time is over
_RUNNER = Path(__file__).with_name("runner.py")


class Role(enum.IntEnum):
    """``enum role`` of native/flow.c."""

    UDP_SENDER = 0
    UDP_SINK = 1
    UDP_READER = 2
    TCP_SENDER = 3
    TCP_READER = 4


class Page(ctypes.Structure):
    """``struct flow`` of native/flow.c, where the fields are explained."""

    _fields_ = (
        ("role", ctypes.c_uint32),
        ("address", ctypes.c_uint32),
        ("port", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("batch", ctypes.c_uint32),
        ("burst", ctypes.c_uint32),
        ("streams", ctypes.c_uint32),
        ("filter", ctypes.c_uint32),
        ("pps", ctypes.c_uint64),
        ("limit", ctypes.c_uint64),
        ("count", ctypes.c_uint64),
        ("socket", ctypes.c_uint32),
    )


@dataclass(frozen=True)
class Place:
    """Where a process runs."""

    netns: str
    cpu: int
    cgroup: Path | None


class Endpoint:
    """A running process and its page, which stays readable when the process has ended."""

    def __init__(self, host: Host, place: Place, page: Page) -> None:
        """Start the process with a copy of ``page``, and return once it has its sockets.

        :raises NettaxError: it could not set itself up.
        """
        self._host = host
        shared = os.memfd_create("nettax-flow")
        try:
            os.truncate(shared, mmap.PAGESIZE)
            self.page = Page.from_buffer(mmap.mmap(shared, mmap.PAGESIZE))
            ctypes.pointer(self.page)[0] = page
            self.process: Popen[bytes] = host.spawn(
                [sys.executable, "-IS", _RUNNER, native.PATH, str(shared)],
                cpus=[place.cpu],
                netns=place.netns,
                cgroup=place.cgroup,
                pass_fds=[shared],
                stderr=PIPE,
            )
        finally:
            os.close(shared)
        if failure := self._failure():
            self.stop()
            raise NettaxError(f"a flow's {Role(page.role).name} did not start: {failure}.")

    def _failure(self) -> str:
        """Wait for the NUL that tells of success, or return the text that came instead."""
        deadline = time.monotonic() + _START_UP
        said = b""
        with cast(IO[bytes], self.process.stderr) as pipe:
            while select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                more = os.read(pipe.fileno(), 4096)
                said += more
                if said.endswith(b"\0"):
                    return ""
                if not more:
                    return said.decode(errors="replace").strip() or "it ended without a word"
        return f"it was not ready within {_START_UP:g} s"

    def finish(self) -> None:
        """End the process between two of its system calls, so that its count is exact."""
        self.page.limit = 0
        with suppress(TimeoutExpired):
            self.process.wait(_WIND_UP)
        self.stop()

    def stop(self) -> None:
        """End the process wherever it is."""
        self._host.stop(self.process)
