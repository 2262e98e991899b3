"""The state machine in C (native/replay.h), and its rows.

Without numpy: what a short recording comes to is told sooner than numpy is imported.
"""

from __future__ import annotations

import ctypes
import os
import struct
import weakref
from collections.abc import Iterator, Sequence
from ctypes import c_bool, c_char, c_int32, c_size_t, c_uint64, c_void_p
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nettax.errors import NettaxError
from nettax.events.replay.accounts import CpuAccount
from nettax.native import library

if TYPE_CHECKING:
    from nettax.events.model import EventArray

__all__ = ["EXITED", "UNBILLED", "Machine", "TaskRow", "Totals"]

EVENT_BYTES: Final = 40
EXITED, UNBILLED = 1, 2
_VECTORS, _KTHREADS, _HISTOGRAMS, _SLOTS = 10, 3, 12, 40
_SUMS = 4 + _VECTORS + 3 + _KTHREADS + 3

# How many numbers a field has in struct replay_cpu_row, whose fields are those of CpuAccount.
_WIDTHS: Final = {
    "stolen_softirq_ns": _VECTORS,
    "kthread_ns": _KTHREADS,
    "soft_ns": _VECTORS,
    "soft_count": _VECTORS,
}
_FIELDS: Final = tuple(CpuAccount.__dataclass_fields__)
_CPU: Final = struct.Struct(f"{sum(_WIDTHS.get(name, 1) for name in _FIELDS)}q")
_TASK: Final = struct.Struct(f"iIiIq{_SUMS}q")
_TOTALS: Final = struct.Struct(f"{7 + _HISTOGRAMS * _SLOTS}q")
_NAME: Final = struct.Struct("2Q")


class Totals(NamedTuple):
    """Of all CPUs; see Accounts."""

    cpus: int
    tasks: int
    events: int
    switches: int
    """Recorded, whether accounted for or not."""
    lost: int
    start_ns: int
    end_ns: int
    histograms: list[list[int]]


class TaskRow(NamedTuple):
    """A task; see TaskAccount."""

    pid: int
    life: int
    cpu: int
    flags: int
    """EXITED, UNBILLED."""
    last_ns: int
    sums: tuple[int, ...]


@cache
def _functions() -> ctypes.CDLL:
    native = library()
    native.replay_open.restype = c_void_p
    native.replay_open.argtypes = [c_bool]
    native.replay_close.argtypes = [c_void_p]
    native.replay_close.restype = None
    native.replay_finish.argtypes = [c_void_p]
    native.replay_feed.argtypes = [c_void_p, c_void_p, c_size_t]
    native.replay_name.argtypes = [c_void_p, c_int32, c_void_p, c_size_t]
    for name in ("replay_read", "replay_read_cpus", "replay_read_tasks"):
        getattr(native, name).argtypes = [c_void_p, c_void_p]
        getattr(native, name).restype = None
    expected = [EVENT_BYTES, *(row.size for row in (_NAME, _TOTALS, _CPU, _TASK))]
    if list((c_size_t * len(expected)).in_dll(native, "replay_sizes")) != expected:
        raise NettaxError("nettax's native library is of another version: run `pip install .` anew")
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
        weakref.finalize(self, self._native.replay_close, self._at)

    def name(self, pid: int, kinds: Sequence[tuple[int, int]]) -> None:
        """Say from when on a pid's task was of which kind, in order of time.

        :raises NettaxError: no memory is left
        """
        rows = (c_uint64 * (2 * len(kinds)))(*(number for pair in kinds for number in pair))
        _check(self._native.replay_name(self._at, pid, rows, len(kinds)))

    def feed(self, events: EventArray | memoryview) -> None:
        """Follow some events: an array of them, or their bytes.

        :raises NettaxError: no memory is left for more tasks
        """
        view = memoryview(events)  # type: ignore[arg-type] # numpy's stubs tell from 3.12 on
        if view.itemsize not in (1, EVENT_BYTES) or view.nbytes % EVENT_BYTES:
            raise TypeError(f"events have {EVENT_BYTES} bytes each, these have {view.itemsize}")
        if not view.nbytes:
            return
        held = view if view.c_contiguous and not view.readonly else bytearray(view.tobytes())
        at = ctypes.addressof(c_char.from_buffer(held))
        if at % 8:  # part of a buffer of bytes
            aligned = (c_uint64 * (view.nbytes // 8)).from_buffer_copy(held)
            at = ctypes.addressof(aligned)
        _check(self._native.replay_feed(self._at, at, view.nbytes // EVENT_BYTES))

    def finish(self) -> None:
        """Close what is open.

        :raises NettaxError: no memory is left
        """
        _check(self._native.replay_finish(self._at))

    def totals(self) -> Totals:
        """So far."""
        buffer = ctypes.create_string_buffer(_TOTALS.size)
        self._native.replay_read(self._at, buffer)
        numbers = iter(_TOTALS.unpack(buffer))
        fields: list[Any] = list(islice(numbers, 7))
        fields.append([list(islice(numbers, _SLOTS)) for _ in range(_HISTOGRAMS)])
        return Totals(*fields)

    def cpus(self) -> Iterator[CpuAccount]:
        """Each CPU, in order."""
        buffer = ctypes.create_string_buffer(self.totals().cpus * _CPU.size)
        self._native.replay_read_cpus(self._at, buffer)
        for row in _CPU.iter_unpack(memoryview(buffer)):
            numbers = iter(row)
            fields: list[Any] = [
                list(islice(numbers, _WIDTHS[name])) if name in _WIDTHS else next(numbers)
                for name in _FIELDS
            ]
            yield CpuAccount(*fields)

    def tasks(self) -> Iterator[TaskRow]:
        """Each task, as they came."""
        buffer = ctypes.create_string_buffer(self.totals().tasks * _TASK.size)
        self._native.replay_read_tasks(self._at, buffer)
        for pid, life, cpu, flags, last_ns, *sums in _TASK.iter_unpack(memoryview(buffer)):
            yield TaskRow(pid, life, cpu, flags, last_ns, tuple(sums))
