"""Keeps the C library from giving memory back to the kernel between two arrays.

By default glibc maps anew whatever is larger than some hundred KiB, and the kernel then has to
clear each page: a third of the time that decoding takes. See mallopt(3).
"""

from __future__ import annotations

import ctypes

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_MAPPED, _KEPT = 32 << 20, 256 << 20  # bytes; the first is the most that glibc allows


def keep_freed_memory() -> None:
    """Have malloc keep up to 256 MiB of freed memory; where it is not glibc's, nothing happens."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MAPPED)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
