"""The state machine in C, and its rows as numpy has them."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Iterable
from functools import cache
from typing import Final

import numpy as np

from nettax.errors import NettaxError
from nettax.events.model import EVENT, Array, EventArray
from nettax.native import library

__all__ = ["Machine"]

_VECTORS, _TRIGGERS, _KTHREADS, _SLOTS = 10, 3, 3, 40

# As in native/replay.h.
CPU_ROW: Final = np.dtype(
    [
        ("cpu", "i8"),
        ("start_ns", "i8"),
        ("end_ns", "i8"),
        ("idle_ns", "i8"),
        ("idle_interrupted_ns", "i8"),
        ("own_ns", "i8"),
        ("stolen_hardirq_ns", "i8"),
        ("stolen_softirq_ns", "i8", _VECTORS),
        ("kthread_ns", "i8", _KTHREADS),
        ("lost", "i8"),
        ("hard_ns", "i8"),
        ("soft_ns", "i8", _VECTORS),
        ("soft_count", "i8", _VECTORS),
        ("interrupts", "i8"),
        ("ipis", "i8"),
        ("polls", "i8"),
        ("packets", "i8"),
        ("softirq_packets", "i8"),
        ("switches", "i8"),
        ("unmatched", "i8"),
        ("inferred_ns", "i8"),
    ]
)
TASK_ROW: Final = np.dtype(
    [
        ("pid", "i4"),
        ("life", "u4"),
        ("cpu", "i4"),
        ("flags", "u4"),
        ("last_ns", "i8"),
        # on-CPU, own, billed, hard IRQs, softirqs by vector, the same by trigger, displaced by
        # kind of thread, waits, interrupts, switches
        ("sums", "i8", 4 + _VECTORS + _TRIGGERS + _KTHREADS + 3),
    ]
)
TOTALS_ROW: Final = np.dtype(
    [
        ("cpus", "i8"),
        ("tasks", "i8"),
        ("events", "i8"),
        ("switches", "i8"),
        ("lost", "i8"),
        ("start_ns", "i8"),
        ("end_ns", "i8"),
        ("histograms", "i8", (_VECTORS + 2, _SLOTS)),
    ]
)
NAME: Final = np.dtype([("since_ns", "u8"), ("kind", "u8")])
EXITED, UNBILLED = 1, 2
_ROWS: Final = (EVENT, NAME, TOTALS_ROW, CPU_ROW, TASK_ROW)


@cache
def _functions() -> ctypes.CDLL:
    native = library()
    sizes = (ctypes.c_size_t * len(_ROWS)).in_dll(native, "replay_sizes")
    if list(sizes) != [row.itemsize for row in _ROWS]:
        raise NettaxError("nettax's native library is of another version: run `pip install .` anew")
    native.replay_open.restype = ctypes.c_void_p
    native.replay_open.argtypes = [ctypes.c_bool]
    native.replay_close.argtypes = [ctypes.c_void_p]
    native.replay_close.restype = None
    native.replay_finish.argtypes = [ctypes.c_void_p]
    native.replay_feed.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    native.replay_name.argtypes = [
        *(ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p, ctypes.c_size_t)
    ]
    for name in ("replay_read", "replay_read_cpus", "replay_read_tasks"):
        getattr(native, name).argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        getattr(native, name).restype = None
    return native


def _check(error: int) -> None:
    if error:
        raise NettaxError(f"the replay of a recording: {os.strerror(error)}")


class Machine:
    """One replay in C; it takes events in chunks, without the interpreter's lock."""

    def __init__(self, *, sliced: bool) -> None:
        """:raises NettaxError: no memory is left"""
        self._native = _functions()
        self._at = self._native.replay_open(sliced)
        if not self._at:
            raise NettaxError("a replay needs memory, and there is none left")
        self.close = weakref.finalize(self, self._native.replay_close, self._at)

    def name(self, pid: int, kinds: Iterable[tuple[int, int]]) -> None:
        """Say from when on a pid's task was of which kind, in order of time.

        :raises NettaxError: no memory is left
        """
        rows = np.array(list(kinds), NAME)
        _check(self._native.replay_name(self._at, pid, rows.ctypes.data, len(rows)))

    def feed(self, events: EventArray) -> None:
        """Follow some events.

        :raises NettaxError: no memory is left for more tasks
        """
        if events.dtype != EVENT:
            raise TypeError(f"events are of {EVENT}, not of {events.dtype}")
        events = np.ascontiguousarray(events)
        if events.ctypes.data % 8:  # part of a buffer of bytes
            events = events.copy()
        _check(self._native.replay_feed(self._at, events.ctypes.data, len(events)))

    def finish(self) -> None:
        """Close what is open.

        :raises NettaxError: no memory is left
        """
        _check(self._native.replay_finish(self._at))

    def totals(self) -> Array:
        """One row of dtype TOTALS_ROW."""
        row = np.zeros(1, TOTALS_ROW)
        self._native.replay_read(self._at, row.ctypes.data)
        return row[0]  # type: ignore[no-any-return]

    def cpus(self) -> Array:
        """A row of dtype CPU_ROW for each CPU, in order."""
        rows = np.zeros(int(self.totals()["cpus"]), CPU_ROW)
        self._native.replay_read_cpus(self._at, rows.ctypes.data)
        return rows

    def tasks(self) -> Array:
        """A row of dtype TASK_ROW for each task, as they came."""
        rows = np.zeros(int(self.totals()["tasks"]), TASK_ROW)
        self._native.replay_read_tasks(self._at, rows.ctypes.data)
        return rows
