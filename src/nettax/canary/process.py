"""The child that runs an engine of native/canary.h, and the page in which it tells its progress."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import sys
import time
from collections.abc import Iterable
from signal import Signals
from subprocess import DEVNULL, PIPE, Popen

from nettax.canary.histogram import BUCKETS
from nettax.errors import MissingFeature, NettaxError
from nettax.host import spawn
from nettax.native import library

# The engine runs in a bare interpreter: no site, no environment, nothing of nettax but the
# library. It starts in 20 ms and, once in C, never comes back to Python.
_RUNNER = """\
import ctypes, sys
library, engine, *arguments = sys.argv[1:]
sys.exit(getattr(ctypes.CDLL(library), engine)(*map(int, arguments)))
"""
START_LIMIT_S = 10.0


class Sample(ctypes.Structure):
    """``struct canary_sample``."""

    ns: int
    cycles: int
    iterations: int
    chain: int
    gaps: int
    gap_cycles: int
    histogram: ctypes.Array[ctypes.c_uint64]

    _fields_ = (
        ("ns", ctypes.c_uint64),
        ("cycles", ctypes.c_uint64),
        ("iterations", ctypes.c_uint64),
        ("chain", ctypes.c_uint64),
        ("gaps", ctypes.c_uint64),
        ("gap_cycles", ctypes.c_uint64),
        ("histogram", ctypes.c_uint64 * BUCKETS),
    )


class EngineProcess:
    """An engine in a process of its own, which ends with :meth:`stop`, its parent or its lifetime.

    The constructor returns when the engine has made its first progress.

    :raises UsageError: a CPU that does not exist.
    :raises MissingFeature: the engine needs a system call that this kernel lacks.
    :raises NettaxError: the engine ended, or made no progress, before START_LIMIT_S.
    """

    def __init__(self, engine: str, *arguments: int, cpus: Iterable[int]) -> None:
        native = library()
        size = ctypes.c_size_t.in_dll(native, "canary_page_size").value
        self._read = native.canary_read
        self._ipis = native.canary_ipis
        self._ipis.restype = ctypes.c_uint64
        self._set_period = native.canary_set_period
        fd = os.memfd_create("nettax-canary")
        try:
            os.ftruncate(fd, size)
            # Lives as long as the array: a mapping is undone when nothing refers to it.
            self._page = (ctypes.c_char * size).from_buffer(mmap.mmap(fd, size))
            command = [sys.executable, "-I", "-S", "-c", _RUNNER, native._name, engine, str(fd)]
            self._process: Popen[bytes] = spawn(
                [*command, *map(str, arguments)],
                cpus=cpus,
                pass_fds=[fd],
                stdin=DEVNULL,
                stderr=PIPE,
            )
        finally:
            os.close(fd)
        try:
            self._await_progress()
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """The process, which is also its thread that runs the engine."""
        return self._process.pid

    def sample(self) -> Sample:
        """Return the newest progress.

        :raises NettaxError: the engine has ended.
        """
        self._check_alive()
        sample = Sample()
        if self._read(self._page, ctypes.byref(sample)):
            raise NettaxError(f"cannot read the canary (pid {self.pid}): it publishes too fast.")
        return sample

    def ipis(self) -> int:
        """Return how many IPIs the storm has sent."""
        return int(self._ipis(self._page))

    def set_period(self, period_ns: int) -> None:
        """Have the storm send an IPI every so often; 0: none."""
        self._set_period(self._page, ctypes.c_uint64(period_ns))

    def stop(self) -> None:
        """End the process; it holds nothing that wants tidying, so at once."""
        with self._process:
            self._process.kill()

    def _await_progress(self) -> None:
        limit = time.monotonic() + START_LIMIT_S
        sample = Sample()
        while self._read(self._page, ctypes.byref(sample)) or not sample.iterations:
            self._check_alive()
            if time.monotonic() > limit:
                raise NettaxError(
                    f"the canary (pid {self.pid}) made no progress in {START_LIMIT_S:.0f} s: "
                    "something of higher priority holds its CPU."
                )
            time.sleep(0.001)

    def _check_alive(self) -> None:
        code = self._process.poll()
        if code is None:
            return
        who = f"the canary (pid {self.pid})"
        if code == 0:
            raise NettaxError(f"{who} has ended: its lifetime is over. Give it a longer one.")
        if code < 0:
            raise NettaxError(f"{who} was killed by {Signals(-code).name}.")
        if code == errno.ENOSYS:
            raise MissingFeature(
                "the kernel has no membarrier(2) with private expedited commands "
                "(CONFIG_MEMBARRIER), by which IPIs are sent."
            )
        complaint = self._process.stderr.read() if self._process.stderr else b""
        reason = complaint.decode(errors="replace").strip() or os.strerror(code)
        raise NettaxError(f"{who} ended: {reason.splitlines()[-1]}.")
