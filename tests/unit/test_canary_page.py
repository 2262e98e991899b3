"""The page, as the native library lays it out and as Python reads it."""

from __future__ import annotations

import ctypes
import errno
import struct

import pytest

from nettax.canary.process import Sample
from nettax.native import library

SLOTS = 64  # _Alignas(64) in native/canary.h


def size_of(symbol: str) -> int:
    return ctypes.c_size_t.in_dll(library(), symbol).value


def page(version: int) -> ctypes.Array[ctypes.c_char]:
    """A page whose slot 0 holds 100, 101, … and whose slot 1 holds 200, 201, …"""
    words = ctypes.sizeof(Sample) // 8
    content = struct.pack("Q", version).ljust(SLOTS, b"\0")
    for first in (100, 200):
        content += struct.pack(f"{words}Q", *range(first, first + words))
    return ctypes.create_string_buffer(content, size_of("canary_page_size"))


def test_the_sample_is_as_long_as_the_native_one() -> None:
    assert ctypes.sizeof(Sample) == size_of("canary_sample_size")


@pytest.mark.parametrize(("version", "first"), [(1, 200), (2, 100), (2**40 + 1, 200)])
def test_the_newest_slot_is_read(version: int, first: int) -> None:
    sample = Sample()
    assert library().canary_read(page(version), ctypes.byref(sample)) == 0
    head = (sample.ns, sample.cycles, sample.iterations, sample.chain)
    assert head == (first, first + 1, first + 2, first + 3)
    assert (sample.gaps, sample.gap_cycles) == (first + 4, first + 5)
    assert (sample.bursts, sample.taken_cycles, sample.late_ns) == (first + 6, first + 7, first + 8)
    assert sample.histogram[0] == first + 10


def test_a_page_without_a_sample_says_so() -> None:
    assert library().canary_read(page(0), ctypes.byref(Sample())) == errno.EAGAIN
