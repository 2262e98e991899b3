"""Groups of spans of all CPUs: by the time they began, or some of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from nettax.events.model import Array
from nettax.events.spans import GROUP, POLL, SPAN, Spans

__all__ = ["in_order", "newest", "picked"]

MOST_HELD: Final = 1 << 18  # groups; so many wait at most for a CPU that is silent


def in_order(parts: Iterable[Spans]) -> Iterator[Spans]:
    """By the time they began, across CPUs; their spans and polls stay where they are."""
    held = nothing()
    for part in parts:
        part = joined([held, part]) if len(held.groups) else part
        starts = part.groups["start_ns"]
        order = np.argsort(starts, kind="stable")
        known = int(np.searchsorted(starts[order], np.uint64(part.known_ns)))
        known = max(known, len(order) - MOST_HELD)
        held = picked(part, order[known:])
        yield part._replace(groups=part.groups[order[:known]])


def newest(parts: Iterable[Spans], count: int) -> Spans:
    """The last so many groups of all."""
    kept = nothing()
    for part in parts:
        kept = joined([kept, picked(part, np.arange(len(part.groups))[-count:])])
        kept = picked(kept, np.arange(len(kept.groups))[-count:])
    return kept


def nothing() -> Spans:
    """No groups."""
    return Spans(np.empty(0, GROUP), np.empty(0, SPAN), np.empty(0, POLL), 0)


def joined(parts: list[Spans]) -> Spans:
    """Several as one."""
    groups = np.concatenate([part.groups for part in parts])
    place = polls = spans = 0
    for part in parts:
        mine = groups[place : place + len(part.groups)]
        mine["first_span"] += spans
        mine["first_poll"] += polls
        place += len(part.groups)
        spans += len(part.spans)
        polls += len(part.polls)
    return Spans(
        groups,
        np.concatenate([part.spans for part in parts]),
        np.concatenate([part.polls for part in parts]),
        parts[-1].known_ns,
    )


def picked(part: Spans, places: Array) -> Spans:
    """The groups at these places, with what is theirs and nothing else."""
    groups = part.groups[places]
    spans, polls = (
        _ranges(groups[first], groups[count])
        for first, count in (("first_span", "spans"), ("first_poll", "polls"))
    )
    for first, count in (("first_span", "spans"), ("first_poll", "polls")):
        groups[first] = np.cumsum(groups[count], dtype=np.uint64) - groups[count]
    return part._replace(groups=groups, spans=part.spans[spans], polls=part.polls[polls])


def _ranges(first: Array, count: Array) -> Array:
    """All places from `first` on, `count` of each, one after the other."""
    count = count.astype(np.int64)
    before = np.cumsum(count) - count
    places: Array = np.repeat(first.astype(np.int64) - before, count) + np.arange(int(count.sum()))
    return places
