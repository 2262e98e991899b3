"""Finding the records of a buffer: each says only how long it is, so they form a chain.

Following it one by one takes 80 ns a record in Python. But nearly all records are samples, and
where a sample's head might be is found in one pass over the buffer. What looks like one and ends
where the next one begins is followed at once; only where that fails does Python follow the chain
itself. So what comes out is exactly the chain.
"""

from __future__ import annotations

import numpy as np

from nettax.events.model import Array

__all__ = ["resync", "walk"]

_LAST_TYPE = 96  # of all record types, with room for those to come
# A head is a type (32 bits), flags (16) and a size (16). These bits of it are those of a sample of
# less than 2 KiB, which may have any of the lower flags, and whose size is of whole units.
_MASK, _SAMPLE = 0xF807_FFF8_FFFF_FFFF, 9  # PERF_RECORD_SAMPLE
_MASK_SWAPPED, _SAMPLE_SWAPPED = 0xFFFF_FFFF_FFF8_F807, 9 << 32


def walk(data: Array, byteorder: str) -> tuple[Array, int, bool]:
    """Follow the chain of a buffer of whole units of 8 bytes, from its beginning.

    Returns the records' places in units, where the chain goes on (in units), and whether it broke
    there, at a record of no possible size. A record that goes beyond the end is not in it: there
    the chain goes on.
    """
    sizes = data.view("<u2" if byteorder == "little" else ">u2")[3::4]
    limit = len(sizes)
    found = _samples(data, byteorder)
    ends = found + (sizes[found] >> 3)
    # Stretches of samples, each of which ends where the next one begins.
    breaks = np.flatnonzero(ends[:-1] != found[1:])
    lasts = np.append(breaks, len(found) - 1)
    parts: list[Array] = [found[:0]]
    place = 0
    while place < limit:
        at = int(np.searchsorted(found, place))
        if at < len(found) and found[at] == place:
            last = int(lasts[np.searchsorted(lasts, at)])
            if ends[last] > limit:
                last -= 1
            if last < at:
                break
            parts.append(found[at : last + 1])
            place = int(ends[last])
            continue
        stop = int(found[at]) if at < len(found) else limit
        some, place, broken = _one_by_one(sizes, place, stop, limit)
        parts.append(some)
        if broken or not len(some):
            return np.concatenate(parts), place, broken
    return np.concatenate(parts), place, False


def _samples(data: Array, byteorder: str) -> Array:
    """Where a sample's head might be."""
    if byteorder == "little":
        heads, mask, sample = data.view("<u8"), _MASK, _SAMPLE
    else:
        heads, mask, sample = data.view(">u8"), _MASK_SWAPPED, _SAMPLE_SWAPPED
    likely = np.flatnonzero((heads & np.uint64(mask)) == np.uint64(sample))
    sizes = data.view("<u2" if byteorder == "little" else ">u2")[3::4]
    whole: Array = likely[sizes[likely] >= 16]
    return whole


def _one_by_one(sizes: Array, place: int, stop: int, limit: int) -> tuple[Array, int, bool]:
    """Follow the chain while it is before `stop`."""
    found: list[int] = []
    while place < stop:
        size = int(sizes[place])
        if size < 8 or size & 7:
            return np.array(found, np.int64), place, True
        if place + (size >> 3) > limit:
            break
        found.append(place)
        place += size >> 3
    return np.array(found, np.int64), place, False


def resync(data: Array, byteorder: str, start: int) -> int:
    """The first place from `start` on that looks like a record and has others behind it.

    The end of the buffer if there is none; in units.
    """
    mark = "<" if byteorder == "little" else ">"
    kinds, sizes = data.view(mark + "u4")[::2], data.view(mark + "u2")[3::4]
    limit = len(sizes)
    likely = _samples(data, byteorder)
    first = at = likely[likely >= start]
    for _ in range(3):
        at = at + (sizes[at] >> 3)
        good = at < limit
        first, at = first[good], at[good]
        good = (kinds[at] > 0) & (kinds[at] < _LAST_TYPE) & (sizes[at] >= 8) & (sizes[at] & 7 == 0)
        first, at = first[good], at[good]
    return int(first[0]) if len(first) else limit
