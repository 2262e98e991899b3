"""The door to the C that goes through records (native/decode*.h, native/order.h): its layouts.

Python tells it, in plain numbers, where things are in a record and what they mean; it sees to
names that are new and to records that are rare, and otherwise has nothing to do with each event.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Sequence
from ctypes import (
    POINTER,
    c_bool,
    c_char,
    c_int,
    c_int32,
    c_size_t,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
)
from functools import cache
from typing import Final

from nettax.native import library

__all__ = [
    "DEVICE",
    "END",
    "EVENT_BYTES",
    "IRQ",
    "LONGEST",
    "NEVER",
    "NOWHERE",
    "RENAME",
    "SIGHT",
    "TASK",
    "Order",
    "Plan",
    "Progress",
    "Row",
    "Sight",
    "Text",
    "Tracepoint",
    "address",
    "index",
    "native",
]

EVENT_BYTES: Final = 40
NEVER: Final = 1 << 62
"""ns; what is later can only be corrupt."""
NOWHERE: Final = 0xFFFFFFFF
DEVICE, IRQ, TASK, RENAME = 1, 2, 3, 4
END, SIGHT = 0, 1
LONGEST: Final = 64
"""Bytes of a name that count."""
_SEEN = 4 * 4096


class Row(ctypes.Structure):
    """struct event: one of dtype EVENT."""

    _fields_ = (
        ("time_ns", c_uint64),
        ("pid", c_int32),
        ("cpu", c_uint16),
        ("kind", c_uint8),
        ("flags", c_uint8),
        ("id", c_int32),
        ("a", c_int32),
        ("b", c_int32),
        ("c", c_int32),
        ("value", c_uint64),
    )


class Number(ctypes.Structure):
    """struct decode_field."""

    _fields_ = (
        ("at", c_uint16),
        ("size", c_uint8),
        ("signed", c_uint8),
        ("to", c_uint32),
    )


class Text(ctypes.Structure):
    """struct decode_text."""

    _fields_ = (
        ("at", c_uint16),
        ("most", c_uint16),
        ("base", c_uint32),
        ("whose", c_uint32),
        ("to", c_uint32),
        ("dynamic", c_uint8),
        ("_pad", c_uint8 * 3),
    )


class Tracepoint(ctypes.Structure):
    """struct decode_tracepoint."""

    _fields_ = (
        ("least", c_uint32),
        ("kind", c_uint8),
        ("numbers", c_uint8),
        ("texts", c_uint8),
        ("_pad", c_uint8),
        ("a", c_int32),
        ("c", c_int32),
        ("number", Number * 6),
        ("text", Text * 2),
    )


class Slot(ctypes.Structure):
    """struct decode_slot."""

    _fields_ = (("number", c_uint64), ("place", c_uint32), ("_pad", c_uint32))


class _Seen(ctypes.Structure):
    """struct decode_seen."""

    _fields_ = (("hash", c_uint64), ("number", c_uint64))


class Plan(ctypes.Structure):
    """struct decode_plan. What it points to is kept with it."""

    _fields_ = (
        ("tracepoints", POINTER(Tracepoint)),
        ("slots", POINTER(Slot)),
        ("slot_count", c_uint64),
        ("seen", POINTER(_Seen)),
        ("swapped", c_uint32),
        ("names_told", c_uint32),
    )

    def start(self, swapped: bool, names_told: bool) -> None:
        """Nothing is known yet."""
        self.swapped, self.names_told = swapped, names_told
        self.seen = (_Seen * _SEEN)()
        index(self, [], [])


class Sight(ctypes.Structure):
    """struct decode_sight."""

    _fields_ = (
        ("time_ns", c_uint64),
        ("whose", c_uint32),
        ("number", c_int32),
        ("length", c_uint32),
        ("_pad", c_uint32),
        ("_text", c_uint8 * LONGEST),
    )

    @property
    def raw(self) -> bytes:
        return bytes(self._text[: self.length])

    @property
    def text(self) -> str:
        """Bytes that are not UTF-8 are written as ``\\xNN``."""
        return self.raw.decode(errors="backslashreplace")


class Progress(ctypes.Structure):
    """struct decode_progress."""

    _fields_ = (
        ("newest", c_uint64),
        ("next", c_uint32),
        ("rows", c_uint32),
        ("unknown", c_uint32),
        ("at_unknown", c_uint32),
        ("sights", c_uint32),
        ("_pad", c_uint32),
        ("sight", Sight * 2),
    )


class Order(ctypes.Structure):
    """struct order."""

    _fields_ = (
        ("rows", c_void_p),
        ("runs", c_void_p),
        ("heap", c_void_p),
        ("count", c_uint64),
        ("run_count", c_uint64),
        ("heap_count", c_uint64),
        ("heaped", c_uint64),
        ("passed_ns", c_uint64),
        ("late", c_uint64),
        ("absurd", c_uint64),
    )


@cache
def native() -> ctypes.CDLL:
    """The library, with the prototypes of these functions."""
    found = library()
    plan, progress, order, data = POINTER(Plan), POINTER(Progress), POINTER(Order), c_void_p
    for name, result, arguments in (
        ("decode_index", None, [plan, data, data, c_size_t]),
        ("decode_note", None, [plan, c_uint32, ctypes.c_char_p, c_uint32, c_uint32]),
        ("walk_records", None, [data, c_size_t, c_bool, c_bool, data, c_void_p]),
        ("walk_resync", c_size_t, [data, c_size_t, c_bool, c_size_t]),
        ("decode_samples", c_int, [c_void_p, data, data, c_uint32, data, progress]),
        ("decode_pages", c_int, [c_void_p, data, c_size_t, data, progress]),
        ("event_unwrap", None, [data, c_size_t, data]),
        ("order_add", None, [order, c_size_t]),
        ("order_take", c_size_t, [order, c_uint64, data, c_size_t]),
        ("order_settle", None, [order]),
    ):
        function = getattr(found, name)
        function.restype, function.argtypes = result, arguments
    return found


def index(plan: Plan, numbers: Sequence[int], places: Sequence[int]) -> None:
    """Tell a plan what each number stands for; of equal ones the first counts."""
    count = len(numbers)
    plan.slot_count = 2 << max(count, 1).bit_length()
    plan.slots = (Slot * plan.slot_count)()
    native().decode_index(plan, (c_uint64 * count)(*numbers), (c_uint32 * count)(*places), count)


def address(buffer: bytearray | mmap.mmap) -> int:
    """Of a buffer: good for as long as the buffer is neither freed nor resized."""
    return ctypes.addressof((c_char * 0).from_buffer(buffer))
