"""The tracing data: formats and names of the traced kernel, as perf.data and trace.dat hold them.

Documentation of the second, trace-cmd.dat.v6(5), describes it; perf writes the same (feature
HEADER_TRACING_DATA). It begins with 0x17 0x08 0x44 "tracing".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from nettax.errors import NettaxError
from nettax.events.formats import Format, parse_format

__all__ = [
    "MAGIC",
    "Cursor",
    "TracingData",
    "comms",
    "formats",
    "read_formats",
    "systems",
    "tracing_data",
]

MAGIC = b"\x17\x08\x44tracing"
_MOST_FORMATS = 1 << 16


class Cursor:
    """Reads a buffer from front to back; what is wrong is told with its offset."""

    def __init__(self, data: bytes, order: str = "<", at: int = 0) -> None:
        """`order`: of struct, `<` or `>`."""
        self.data = data
        self.order = order
        self.at = at

    def take(self, size: int) -> bytes:
        """So many bytes.

        :raises NettaxError: there are fewer left
        """
        if size < 0 or self.at + size > len(self.data):
            raise NettaxError(
                f"byte {self.at}: {size} bytes expected, {len(self.data) - self.at} left"
            )
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int) -> int:
        """An unsigned integer of 1, 2, 4 or 8 bytes."""
        code = {1: "B", 2: "H", 4: "I", 8: "Q"}[size]
        return int(struct.unpack(self.order + code, self.take(size))[0])

    def text(self, most: int = 4096) -> str:
        """A string up to its NUL."""
        end = self.data.find(b"\0", self.at, self.at + most)
        if end < 0:
            raise NettaxError(f"byte {self.at}: a string without an end")
        raw = self.take(end - self.at + 1)[:-1]
        return raw.decode(errors="backslashreplace")


@dataclass(slots=True)
class TracingData:
    """What it tells."""

    order: str
    """Of struct: `<` or `>`."""
    long_size: int
    page_size: int
    formats: list[Format] = field(default_factory=list)
    header_page: str = ""
    comms: dict[int, str] = field(default_factory=dict)
    """Names by pid, as of the end of tracing."""


def tracing_data(data: bytes) -> TracingData:
    """Read it from perf's feature.

    :raises NettaxError: it is cut short or none
    """
    cursor = Cursor(data)
    if cursor.take(len(MAGIC)) != MAGIC:
        raise NettaxError("the tracing data does not begin as such")
    version = cursor.text(16)
    cursor.order = ">" if cursor.number(1) else "<"
    found = TracingData(cursor.order, cursor.number(1), cursor.number(4))
    read_formats(cursor, found)
    cursor.take(cursor.number(4))  # kallsyms
    cursor.take(cursor.number(4))  # printk formats
    if version >= "0.6" and cursor.at + 8 <= len(data):
        found.comms = comms(cursor.take(cursor.number(8)))
    return found


def read_formats(cursor: Cursor, into: TracingData) -> None:
    """Read the headers of pages and events, and all formats, from where the cursor is."""
    for title in ("header_page", "header_event"):
        if cursor.text(16) != title:
            raise NettaxError(f"byte {cursor.at}: {title} expected")
        text = cursor.take(cursor.number(8)).decode(errors="replace")
        if title == "header_page":
            into.header_page = text
    formats(cursor, into)
    systems(cursor, into)


def formats(cursor: Cursor, into: TracingData) -> None:
    """Read the formats of one system."""
    for _ in range(_count(cursor)):
        _add(into, cursor.take(cursor.number(8)))


def systems(cursor: Cursor, into: TracingData) -> None:
    """Read the formats of all systems."""
    for _ in range(_count(cursor)):
        cursor.text()  # its name
        formats(cursor, into)


def _count(cursor: Cursor) -> int:
    number = cursor.number(4)
    if number > _MOST_FORMATS:
        raise NettaxError(f"byte {cursor.at - 4}: {number} formats claimed")
    return number


def _add(into: TracingData, raw: bytes) -> None:
    one = parse_format(raw.decode(errors="replace"))
    if one:
        into.formats.append(one)


def comms(raw: bytes) -> dict[int, str]:
    """Names by pid out of tracefs's saved_cmdlines: lines of `PID COMM`."""
    found = {}
    for line in raw.split(b"\0", 1)[0].decode(errors="backslashreplace").splitlines():
        pid, _, comm = line.strip().partition(" ")
        if pid.isdecimal() and len(pid) < 10 and comm:
            found[int(pid)] = comm
    return found
