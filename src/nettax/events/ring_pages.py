"""Pages of the kernel's trace ring buffer: where the events in them are, and when they happened.

Source: kernel/trace/ring_buffer.c, include/linux/ring_buffer.h. Each page is a chain of events; the
chains of many pages are followed at once, an event of every page at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from nettax.events.model import Array
from nettax.events.words import Words

__all__ = ["Found", "events_in"]

_PADDING, _TIME_EXTEND, _TIME_STAMP = 29, 30, 31  # enum ring_buffer_type
_DELTA_BITS: Final = 27
_COMMIT, _MISSED, _MISSED_STORED = (1 << 27) - 1, 1 << 31, 1 << 30
_ABSOLUTE: Final = np.uint64((1 << 59) - 1)  # bits of an absolute time stamp


@dataclass(frozen=True, slots=True)
class Found:
    """The events of some pages, in their order."""

    starts: Array
    """Of each one's data, bytes."""
    sizes: Array
    times: Array
    """ns."""
    missed: Array
    """Places in these arrays before which events were lost,"""
    numbers: Array
    """and how many; 0: not told."""
    broken: Array
    """Pages whose chain does not hold: their offsets."""


def events_in(words: Words, page_size: int, long_size: int) -> Found:
    """Find the events of whole pages, one after the other in a buffer."""
    pages = np.arange(0, words.size - page_size + 1, page_size, dtype=np.int64)
    now = words.u64(pages)
    commit = words.u32(pages + 8 + (long_size - 4 if words.big else 0))
    length = np.minimum((commit & np.uint32(_COMMIT)).astype(np.int64), page_size - 8 - long_size)
    at = pages + 8 + long_size
    end = at + length
    parts: list[tuple[Array, Array, Array, Array]] = []
    broken: list[Array] = []
    live = np.flatnonzero(at + 4 <= end)
    at, now, stop = at[live], now[live], end[live]
    while len(live):
        kind, size, delta, start = _heads(words, at)
        absolute = kind == _TIME_STAMP
        now = np.where(absolute, (now & ~_ABSOLUTE) | (delta & _ABSOLUTE), now + delta)
        after = start + size
        over = (kind == _PADDING) & (delta == 0)
        bad = ~over & ((after > stop) | (size < 0))
        if bad.any():
            broken.append(pages[live[bad]])
        real = (kind < _PADDING) & ~bad
        parts.append((live[real], start[real], size[real], now[real]))
        on = ~over & ~bad & (after + 4 <= stop)
        live, at, now, stop = live[on], after[on], now[on], stop[on]
    return _ordered(words, pages, end, commit, parts, broken, long_size)


def _heads(words: Words, at: Array) -> tuple[Array, Array, Array, Array]:
    """Of the events at these offsets: kind, size of the data, time delta, where the data begins."""
    head, extra = words.u32(at), words.u32(at + 4)
    if words.big:
        kind, delta = head >> np.uint32(_DELTA_BITS), head & np.uint32((1 << _DELTA_BITS) - 1)
    else:
        kind, delta = head & np.uint32(31), head >> np.uint32(5)
    kind, wide = kind.astype(np.int64), extra.astype(np.int64)
    delta = delta.astype(np.uint64)
    timed = (kind == _TIME_EXTEND) | (kind == _TIME_STAMP)
    delta = np.where(timed, delta + (extra.astype(np.uint64) << np.uint64(_DELTA_BITS)), delta)
    long = kind == 0
    # Padding within a page, an event discarded, says how long it is.
    size = np.where(long, wide - 4, np.where(kind == _PADDING, wide, 4 * kind))
    size = np.where(timed, 0, size)
    start = at + np.where(long | timed, 8, 4)
    return kind, (size + 3) & ~3, delta, start


def _ordered(
    words: Words,
    pages: Array,
    end: Array,
    commit: Array,
    parts: list[tuple[Array, Array, Array, Array]],
    broken: list[Array],
    long_size: int,
) -> Found:
    page, starts, sizes, times = (
        np.concatenate([part[i] for part in parts]) if parts else np.empty(0, np.int64)
        for i in range(4)
    )
    order = np.argsort(starts, kind="stable")
    page = page[order]
    missed = np.flatnonzero(commit & np.uint32(_MISSED))
    stored = (commit[missed] & np.uint32(_MISSED_STORED)) != 0
    told = words.number(end[missed], 8 if long_size == 8 else 4, False).astype(np.int64)
    return Found(
        starts=starts[order],
        sizes=sizes[order],
        times=times[order],
        missed=np.searchsorted(page, missed),
        numbers=np.where(stored, np.maximum(told, 0), 0),
        broken=np.concatenate(broken) if broken else np.empty(0, np.int64),
    )
