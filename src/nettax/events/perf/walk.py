"""Finding the records of a buffer: each says only how long it is, so they form a chain.

Following it one by one takes 80 ns a record in Python. Here many chains are followed at once, each
from a likely beginning; a chain counts only if the one before it ends exactly where it began, so
what comes out is what following the one true chain would give.
"""

from __future__ import annotations

import numpy as np

from nettax.events.model import Array

__all__ = ["resync", "walk"]

_LANE = 1024  # units of 8 bytes between the beginnings of two chains
_REACH = 64  # units in which a beginning is looked for
_FEW = 4 * _LANE  # units under which it is not worth it
_SAMPLE = 9  # PERF_RECORD_SAMPLE
_LAST_TYPE = 96  # of all record types, with room for those to come


def walk(kinds: Array, sizes: Array, limit: int) -> tuple[Array, int, bool]:
    """Follow the chain from unit 0 to unit `limit`; units are of 8 bytes.

    `kinds` and `sizes`: the type and the size in bytes that each unit would have as the head of a
    record. Returns the records' places in units, where the chain goes on (in units), and whether
    it broke there, at a record of no possible size. A record whose end is beyond the limit is not
    in it: there the chain goes on.
    """
    if limit < _FEW:
        return _one_by_one(sizes, 0, limit)
    guesses = _guesses(kinds, sizes, limit)
    stops = np.append(guesses[1:], limit)
    seen = np.zeros(limit, bool)
    landed = _follow(sizes, guesses, stops, limit, seen)
    place, broken = int(landed[0]), landed[0] < 0
    if broken:
        return _retrace(seen, sizes, 0, int(stops[0]))
    for lane in range(1, len(guesses)):
        if place == guesses[lane]:
            if landed[lane] < 0:
                return _retrace(seen, sizes, int(guesses[lane]), int(stops[lane]))
            place = int(landed[lane])
            continue
        seen[guesses[lane] : stops[lane]] = False  # began in the middle of a record
        if place >= stops[lane]:
            continue
        found, place, broken = _one_by_one(sizes, place, int(stops[lane]), limit)
        seen[found] = True
        if broken or place < stops[lane]:
            seen[place:] = False
            return np.flatnonzero(seen), place, broken
    return np.flatnonzero(seen), place, False


def _retrace(seen: Array, sizes: Array, start: int, stop: int) -> tuple[Array, int, bool]:
    """The chain that broke, or met the limit, again: to tell where."""
    found, place, broken = _one_by_one(sizes, start, stop, len(seen))
    seen[start:] = False
    seen[found] = True
    return np.flatnonzero(seen), place, broken


def _one_by_one(
    sizes: Array, place: int, stop: int, limit: int | None = None
) -> tuple[Array, int, bool]:
    """Follow the chain while it is before `stop`."""
    limit = stop if limit is None else limit
    units = sizes[place:stop].tolist()
    base = place
    found: list[int] = []
    while place < stop:
        size = units[place - base]
        if size < 8 or size & 7:
            return np.array(found, np.int64), place, True
        if place + (size >> 3) > limit:
            break
        found.append(place)
        place += size >> 3
    return np.array(found, np.int64), place, False


def _follow(sizes: Array, starts: Array, stops: Array, limit: int, seen: Array) -> Array:
    """Follow all chains, each to its stop; mark their records. -1: broke, or met the limit."""
    landed = np.full(len(starts), -1, np.int64)
    lanes = np.arange(len(starts))
    place = starts.copy()
    while len(lanes):
        size = sizes[place]
        after = place + (size >> 3)
        good = (size >= 8) & (size & 7 == 0) & (after <= limit)
        if not good.all():
            lanes, place, after = lanes[good], place[good], after[good]
        seen[place] = True
        over = after >= stops[lanes]
        if over.any():
            landed[lanes[over]] = after[over]
            on = ~over
            lanes, after = lanes[on], after[on]
        place = after
    return landed


def _guesses(kinds: Array, sizes: Array, limit: int) -> Array:
    """Where records probably begin: unit 0, and one place near each multiple of a lane."""
    lanes = np.arange(_LANE, limit - 2 * _LANE, _LANE)
    candidates = lanes[:, None] + np.arange(_REACH)
    likely = _plausible(kinds, sizes, candidates, limit)
    found = likely.any(axis=1)
    return np.append(0, (lanes + likely.argmax(axis=1))[found])


def _plausible(kinds: Array, sizes: Array, places: Array, limit: int, chain: int = 3) -> Array:
    """Whether each place looks like the head of a sample with other records behind it."""
    good: Array = (kinds[places] == _SAMPLE) & (sizes[places] >= 16) & (sizes[places] & 7 == 0)
    at = places
    for _ in range(chain):
        at = np.where(good, at + (sizes[np.where(good, at, 0)] >> 3), 0)
        good &= at < limit
        at = np.where(good, at, 0)
        kind, size = kinds[at], sizes[at]
        good &= (kind > 0) & (kind < _LAST_TYPE) & (size >= 8) & (size & 7 == 0)
    return good


def resync(kinds: Array, sizes: Array, start: int, limit: int) -> int:
    """The first place from `start` on that looks like a record; `limit` if there is none."""
    for low in range(start, limit, _FEW):
        places = np.arange(low, min(low + _FEW, limit))
        likely = _plausible(kinds, sizes, places, limit)
        if likely.any():
            return int(places[likely.argmax()])
    return limit
