"""struct perf_event_attr, and what it says of where things are in a sample.

include/uapi/linux/perf_event.h; the order of a sample's parts is that of perf_output_sample().
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from nettax.errors import NettaxError

__all__ = ["CLOCKS", "TRACEPOINT", "Attr", "SampleLayout"]

TRACEPOINT: Final = 2  # PERF_TYPE_TRACEPOINT
CLOCKS: Final = {
    0: "CLOCK_REALTIME",
    1: "CLOCK_MONOTONIC",
    4: "CLOCK_MONOTONIC_RAW",
    7: "CLOCK_BOOTTIME",
    11: "CLOCK_TAI",
}

IP, TID, TIME, ADDR, READ, CALLCHAIN, ID, CPU, PERIOD, STREAM_ID, RAW = (1 << i for i in range(11))
IDENTIFIER = 1 << 16
_FORMAT_TIMES = (1 << 0, 1 << 1)  # TOTAL_TIME_ENABLED, TOTAL_TIME_RUNNING
_FORMAT_ID, _FORMAT_GROUP, _FORMAT_LOST = 1 << 2, 1 << 3, 1 << 4
_SAMPLE_ID_ALL, _USE_CLOCKID = 1 << 18, 1 << 25  # bits of the attr's flags
_FLAGS_AT, _CLOCKID_AT = 40, 92
_LEAST, _MOST = 64, 4096


@dataclass(frozen=True, slots=True)
class SampleLayout:
    """Where the parts of a sample are: bytes from the record's start; None: not in it."""

    id: int | None
    tid: int | None
    time: int | None
    cpu: int | None
    read: int | None
    """Where the counter's value is, if that is of variable size (a group's)."""
    read_entry: int
    """Bytes for each counter of the group."""
    read_head: int
    callchain: int | None
    """Where the callchain begins (if `read` is None, else relative to the end of that)."""
    raw: int | None
    """Where the raw data's size is, or, if a variable part precedes it, how far behind that."""


@dataclass(frozen=True, slots=True)
class Attr:
    """One event of a recording."""

    type: int
    config: int
    sample_type: int
    read_format: int
    flags: int
    clockid: int
    ids: tuple[int, ...] = ()
    name: str = ""
    layout: SampleLayout = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layout", _layout(self.sample_type, self.read_format))

    @classmethod
    def parse(cls, data: bytes, order: str) -> tuple[Attr, int]:
        """Read one, as far as its own size says; returns that size too.

        :raises NettaxError: it is none
        """
        if len(data) < _LEAST:
            raise NettaxError("an event's description is cut short")
        kind, size, config, _, sample_type, read_format, flags = struct.unpack_from(
            order + "IIQQQQQ", data
        )
        size = size or _LEAST  # PERF_ATTR_SIZE_VER0
        if not _LEAST <= size <= _MOST or size % 8:
            raise NettaxError(f"an event's description claims to be of {size} bytes")
        clockid = 0
        if size >= _CLOCKID_AT + 4 and len(data) >= _CLOCKID_AT + 4:
            (clockid,) = struct.unpack_from(order + "i", data, _CLOCKID_AT)
        return cls(kind, config, sample_type, read_format, flags, clockid), size

    @property
    def sample_id_all(self) -> bool:
        """Whether records other than samples end with who, when and where, too."""
        return bool(self.flags & _SAMPLE_ID_ALL)

    @property
    def clock(self) -> str:
        """What its times are of."""
        if not self.flags & _USE_CLOCKID:
            return "perf clock"
        return CLOCKS.get(self.clockid, f"clock {self.clockid}")

    def trailer(self) -> dict[str, int]:
        """Where id, tid, time and cpu are at the end of other records: bytes before the end."""
        places: dict[str, int] = {}
        end = 0
        for bit, name in (
            (IDENTIFIER, "id"),
            (CPU, "cpu"),
            (STREAM_ID, ""),
            (ID, "id"),
            (TIME, "time"),
            (TID, "tid"),
        ):
            if self.sample_type & bit:
                end += 8
                if name:
                    places.setdefault(name, end)
        return places


def _layout(sample_type: int, read_format: int) -> SampleLayout:
    at = 8  # after the header
    places: dict[str, int] = {}
    for bit, name in (
        (IDENTIFIER, "id"),
        (IP, ""),
        (TID, "tid"),
        (TIME, "time"),
        (ADDR, ""),
        (ID, "id"),
        (STREAM_ID, ""),
        (CPU, "cpu"),
        (PERIOD, ""),
    ):
        if sample_type & bit:
            if name:
                places.setdefault(name, at)
            at += 8
    read = callchain = None
    times = 8 * sum(bool(read_format & bit) for bit in _FORMAT_TIMES)
    entry = 8 + 8 * bool(read_format & _FORMAT_ID) + 8 * bool(read_format & _FORMAT_LOST)
    if sample_type & READ:
        if read_format & _FORMAT_GROUP:
            read, at = at, 0
        else:
            at += times + entry
    if sample_type & CALLCHAIN:
        callchain, at = at, 0
    return SampleLayout(
        id=places.get("id"),
        tid=places.get("tid"),
        time=places.get("time"),
        cpu=places.get("cpu"),
        read=read,
        read_entry=entry,
        read_head=8 + times,
        callchain=callchain,
        raw=at if sample_type & RAW else None,
    )
