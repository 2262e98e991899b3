"""Entries and exits made into spans, and spans into groups: what a CPU did in one go.

Spans are hard IRQs and softirqs, with the polls inside them. What never finds its other half (at
either end of the recording, around lost events) is left out.

A group begins with a hard IRQ, or with a softirq that no hard IRQ came before (run by a system
call, or by ksoftirqd), and holds the softirqs that follow within 20 µs and were raised before:
where raises were recorded, a system call's own softirqs are a group for each call. Handlers within
1 µs of each other (several devices on one line) begin one group.

The work is done in C (native/spans.c), event by event.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Final, NamedTuple

import numpy as np

from nettax.errors import NettaxError
from nettax.events.model import EVENT, Array, EventArray
from nettax.native import library

__all__ = ["CUT", "GROUP", "NET_RX", "POLL", "SPAN", "Spans", "spans"]

NET_RX: Final = 3  # include/linux/interrupt.h
CUT: Final = 2
"""State of a span that was under way as its CPU's recording ended: it ends there, in no group."""

SPAN: Final = np.dtype(
    [
        ("start_ns", "<u8"),
        ("end_ns", "<u8"),
        ("hard_ns", "<u8"),  # hard IRQs inside it
        ("raised_ns", "<u8"),  # of a softirq: when it was raised; 0: not seen
        ("pid", "<i4"),
        ("id", "<i4"),  # as in the entry's event, as is `name`
        ("name", "<i4"),
        ("polls", "<u4"),  # of a softirq: NAPI polls inside it,
        ("packets", "<u4"),  # the packets that they told,
        ("full", "<u4"),  # and those that used up their budget
        ("switches", "<u4"),  # how many its CPU had seen
        ("cpu", "<u2"),
        ("kind", "u1"),  # of the entry's event
        ("flags", "u1"),
        ("level", "u1"),  # how many spans are around it
        ("state", "u1"),
        ("in_softirq", "u1"),  # of a hard IRQ: what is around it is one
    ],
    align=True,
)
POLL: Final = np.dtype(
    [
        ("start_ns", "<u8"),  # at the poll before it in its softirq, or as that began; 0: in none
        ("end_ns", "<u8"),
        ("pid", "<i4"),
        ("device", "<i4"),
        ("work", "<i4"),
        ("budget", "<i4"),
        ("cpu", "<u2"),
        ("unused", "<u2"),
        ("owner", "<u4"),
    ]
)
GROUP: Final = np.dtype(
    [
        ("start_ns", "<u8"),
        ("end_ns", "<u8"),
        ("gap_ns", "<i8"),  # to the next interrupt or softirq; -1: not known
        ("rx_start_ns", "<u8"),  # where its first NET_RX began; 0: it has none
        ("rx_raised_ns", "<u8"),  # when that was raised; 0: not seen
        ("first_span", "<u8"),  # in `Spans.spans`, and so many from there
        ("first_poll", "<u8"),
        ("spans", "<u4"),
        ("polls", "<u4"),
        ("rounds", "<u4"),  # NET_RX softirqs
        ("inside", "<u4"),  # hard IRQs inside its softirqs
        ("pid", "<i4"),
        ("cpu", "<u2"),
        ("by_irq", "u1"),  # it begins with a hard IRQ
        ("unused", "u1"),
    ]
)


class Spans(NamedTuple):
    """What a chunk of events completed. A group comes once the next has begun on its CPU."""

    groups: Array
    """Of dtype GROUP; those of one CPU by time."""
    spans: Array
    """Of dtype SPAN: those of groups, each with what is inside it behind it; and CUT ones."""
    polls: Array
    """Of dtype POLL: those of groups, and others (of NAPI threads, of busy polling)."""
    known_ns: int
    """All groups that began before then were given."""


class _Out(ctypes.Structure):
    """struct spans_out (native/spans.h)."""

    _fields_ = (
        ("groups", ctypes.c_void_p),
        ("spans", ctypes.c_void_p),
        ("polls", ctypes.c_void_p),
        ("group_count", ctypes.c_uint64),
        ("span_count", ctypes.c_uint64),
        ("poll_count", ctypes.c_uint64),
        ("known_ns", ctypes.c_uint64),
    )


@cache
def _library() -> ctypes.CDLL:
    native = library()
    handle, out = ctypes.c_void_p, ctypes.POINTER(_Out)
    native.spans_open.restype = handle
    native.spans_held.restype = ctypes.c_size_t
    native.spans_held.argtypes = native.spans_close.argtypes = (handle,)
    native.spans_feed.argtypes = (handle, ctypes.c_void_p, ctypes.c_size_t, out)
    native.spans_finish.argtypes = (handle, out)
    return native


def spans(chunks: Iterable[EventArray]) -> Iterator[Spans]:
    """Go through a recording's chunks, which are in order of time.

    :raises NettaxError: there is no memory
    """
    native = _library()
    handle = native.spans_open()
    if not handle:
        raise NettaxError(f"no spans: {os.strerror(12)}")
    try:
        for chunk in chunks:
            events = np.ascontiguousarray(chunk, EVENT)
            room = native.spans_held(handle) + len(events)
            yield _filled(room, native.spans_feed, handle, events.ctypes.data, len(events))
        yield _filled(native.spans_held(handle), native.spans_finish, handle)
    finally:
        native.spans_close(handle)


def _filled(room: int, call: Callable[..., int], *arguments: object) -> Spans:
    # What is not filled takes no memory.
    groups, found, polls = (np.empty(room, kind) for kind in (GROUP, SPAN, POLL))
    out = _Out(groups.ctypes.data, found.ctypes.data, polls.ctypes.data)
    error = call(*arguments, ctypes.byref(out))
    if error:
        raise NettaxError(f"no spans: {os.strerror(error)}")
    return Spans(
        groups[: out.group_count],
        found[: out.span_count],
        polls[: out.poll_count],
        out.known_ns,
    )
