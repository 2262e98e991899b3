"""The child that runs an engine of native/canary.h, and the page in which it tells its progress."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import sys
import time
from collections.abc import Sequence
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
    bursts: int
    taken_cycles: int
    late_ns: int
    square: float
    histogram: ctypes.Array[ctypes.c_uint64]

    _fields_ = (
        ("ns", ctypes.c_uint64),
        ("cycles", ctypes.c_uint64),
        ("iterations", ctypes.c_uint64),
        ("chain", ctypes.c_uint64),
        ("gaps", ctypes.c_uint64),
        ("gap_cycles", ctypes.c_uint64),
        ("bursts", ctypes.c_uint64),
        ("taken_cycles", ctypes.c_uint64),
        ("late_ns", ctypes.c_uint64),
        ("square", ctypes.c_double),
        ("histogram", ctypes.c_uint64 * BUCKETS),
    )


class EngineProcess:
    """An engine in a process of its own, which ends with :meth:`stop`, its parent or its lifetime.

    The constructor returns when the engine has made its first progress. An engine that is on
    several CPUs has a page for each of `paced`; any other has one.

    :raises UsageError: a CPU that does not exist.
    :raises MissingFeature: the engine needs a system call that this kernel lacks.
    :raises NettaxError: the engine ended, or made no progress within `start_limit_s`.
    """

    def __init__(
        self,
        engine: str,
        *arguments: int,
        cpus: Sequence[int],
        paced: Sequence[int] = (),
        start_limit_s: float = START_LIMIT_S,
    ) -> None:
        native = library()
        if ctypes.c_size_t.in_dll(native, "canary_sample_size").value != ctypes.sizeof(Sample):
            raise NettaxError(
                "nettax's native library is of another version than the rest: reinstall nettax."
            )
        size = ctypes.c_size_t.in_dll(native, "canary_page_size").value
        count = len(paced) or 1
        self._native = native
        native.canary_ipis.restype = native.canary_tid.restype = ctypes.c_uint64
        fd = os.memfd_create("nettax-canary")
        try:
            os.ftruncate(fd, size * count)
            # Lives as long as the arrays: a mapping is undone when nothing refers to it.
            memory = mmap.mmap(fd, size * count)
            page = ctypes.c_char * size
            self._pages = [page.from_buffer(memory, size * i) for i in range(count)]
            for here, cpu in zip(self._pages, paced, strict=False):
                native.canary_set_cpu(here, ctypes.c_uint64(cpu))
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
            self._await_progress(start_limit_s)
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """The process, which is also its thread that runs the engine."""
        return self._process.pid

    def sample(self, page: int = 0) -> Sample:
        """Return the newest progress.

        :raises NettaxError: the engine has ended.
        """
        self._check_alive()
        sample = Sample()
        if self._native.canary_read(self._pages[page], ctypes.byref(sample)):
            raise NettaxError(f"cannot read the canary (pid {self.pid}): it publishes too fast.")
        return sample

    def tid(self, page: int) -> int:
        """Return the thread that the paced engine runs for a page."""
        return int(self._native.canary_tid(self._pages[page]))

    def ipis(self) -> int:
        """Return how many IPIs the storm has sent."""
        return int(self._native.canary_ipis(self._pages[0]))

    def set_period(self, period_ns: int) -> None:
        """Have the storm send an IPI every so often; 0: none."""
        self._native.canary_set_period(self._pages[0], ctypes.c_uint64(period_ns))

    def stop(self) -> None:
        """End the process; it holds nothing that wants tidying, so at once."""
        with self._process:
            self._process.kill()

    def _await_progress(self, start_limit_s: float) -> None:
        limit = time.monotonic() + start_limit_s
        sample = Sample()
        for page in self._pages:
            while self._native.canary_read(page, ctypes.byref(sample)) or not sample.iterations:
                self._check_alive()
                if time.monotonic() > limit:
                    raise NettaxError(
                        f"the canary (pid {self.pid}) made no progress in {start_limit_s:.0f} s: "
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


class Running:
    """What runs in an `EngineProcess` of its own, from when it is entered until it is left."""

    _process: EngineProcess

    def __exit__(self, *_: object) -> None:
        self._process.stop()

    @property
    def pid(self) -> int:
        """The process, and its thread that runs the engine."""
        return self._process.pid
