"""The rate of this machine's cycle counter, which a guest's counter follows."""

from __future__ import annotations

import ctypes
import time

from nettax import native

__all__ = ["Counter"]

_LEAST_NS = 50_000_000  # between the two looks: an error of 0.1 µs in either is one of 4 ppm


class _Instant(ctypes.Structure):
    """``struct canary_instant`` of native/meter.h."""

    _fields_ = (("ns", ctypes.c_uint64), ("cycles", ctypes.c_uint64))


class Counter:
    """Look twice at both clocks: when it is made, and when it is asked."""

    def __init__(self) -> None:
        """Look for the first time."""
        self._first = _look()

    def khz(self) -> int:
        """The counter's rate since, in kHz; waits if too little time has passed."""
        while (last := _look()).ns - self._first.ns < _LEAST_NS:
            time.sleep((_LEAST_NS - (last.ns - self._first.ns)) / 1e9)
        cycles, ns = last.cycles - self._first.cycles, last.ns - self._first.ns
        return int(cycles * 1_000_000 // ns)


def _look() -> _Instant:
    instant = _Instant()
    native.library().nettax_instant(ctypes.byref(instant))
    return instant
