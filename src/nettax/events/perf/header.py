"""The head of a perf.data file, its events and its features.

tools/perf/Documentation/perf.data-file-format.txt in Linux.
"""

from __future__ import annotations

import shlex
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Final

from nettax.errors import NettaxError
from nettax.events.formats import Format
from nettax.events.model import Damage, Machine
from nettax.events.perf.attr import TRACEPOINT, Attr
from nettax.events.tracing_data import tracing_data

__all__ = ["BIG", "LITTLE", "Header", "read_header"]

LITTLE: Final = b"PERFILE2"
BIG: Final = LITTLE[::-1]
_PIPE_HEADER, _FILE_HEADER = 16, 104
_MAX_FEATURE = 64 << 20
_MAX_ATTRS = 1 << 16
_MAX_IDS = 1 << 20
_TRACING_DATA, _HOSTNAME, _OSRELEASE, _ARCH, _NRCPUS, _CMDLINE = 1, 3, 4, 6, 7, 11
_EVENT_DESC, _CLOCK_DATA = 12, 29


@dataclass(slots=True)
class Header:
    """What is known before the events."""

    order: str
    """Of struct: `<` or `>`."""
    start: int
    """Where the records begin, bytes."""
    end: int | None
    """Where they end; None: with the file."""
    attrs: list[Attr] = field(default_factory=list)
    formats: dict[int, Format] = field(default_factory=dict)
    """By tracepoint id."""
    machine: Machine = field(default_factory=Machine)
    command: list[str] = field(default_factory=list)
    """perf's own command line."""
    damage: list[Damage] = field(default_factory=list)

    @property
    def byteorder(self) -> str:
        return "little" if self.order == "<" else "big"

    @property
    def piped(self) -> bool:
        """Whether events and features come among the records."""
        return self.end is None

    def name(self, attr: Attr) -> str:
        """Its tracepoint's name, without the system's; empty if it is none, or unknown."""
        if attr.type == TRACEPOINT and attr.config in self.formats:
            return self.formats[attr.config].name
        return attr.name.rpartition(":")[2]

    def feature(self, number: int, data: bytes, offset: int) -> None:
        """Take in one feature; what is wrong with it is damage."""
        take = _FEATURES.get(number)
        if take is None:
            return
        try:
            take(self, data)
        except (NettaxError, struct.error, ValueError, IndexError) as error:
            self.damage.append(Damage(offset, f"header feature {number}: {error}"))


def _take_tracing_data(header: Header, data: bytes) -> None:
    for one in tracing_data(data).formats:
        header.formats[one.id] = one


def _string(header: Header, data: bytes, at: int = 0) -> tuple[str, int]:
    (size,) = struct.unpack_from(header.order + "I", data, at)
    if size > len(data) - at - 4:
        raise NettaxError("a string goes beyond its end")
    text = data[at + 4 : at + 4 + size].split(b"\0", 1)[0]
    return text.decode(errors="backslashreplace"), at + 4 + size


def _take_text(name: str) -> Callable[[Header, bytes], None]:
    def take(header: Header, data: bytes) -> None:
        text = _string(header, data)[0]
        header.machine = replace(header.machine, **{name: text})  # type: ignore[arg-type]

    return take


def _take_cpus(header: Header, data: bytes) -> None:
    available, online = struct.unpack_from(header.order + "II", data)
    header.machine = replace(header.machine, cpus=min(available, online) or None)


def _take_command(header: Header, data: bytes) -> None:
    (count,) = struct.unpack_from(header.order + "I", data)
    at = 4
    for _ in range(min(count, 4096)):
        text, at = _string(header, data, at)
        header.command.append(text)


def _take_event_desc(header: Header, data: bytes) -> None:
    """The events' names; and their ids, where the attrs have none."""
    count, size = struct.unpack_from(header.order + "II", data)
    at = 8
    found = []
    for _ in range(min(count, _MAX_ATTRS)):
        attr, _ = Attr.parse(data[at : at + size], header.order)
        (ids,) = struct.unpack_from(header.order + "I", data, at + size)
        name, at = _string(header, data, at + size + 4)
        if ids > _MAX_IDS:
            raise NettaxError(f"an event claims to have {ids} ids")
        numbers = struct.unpack_from(f"{header.order}{ids}Q", data, at)
        at += 8 * ids
        found.append(replace(attr, ids=numbers, name=name))
    names = {(a.type, a.config): a.name for a in found}
    header.attrs = [replace(a, name=names.get((a.type, a.config), "")) for a in header.attrs]
    if not header.attrs:
        header.attrs = found


_FEATURES: Final[dict[int, Callable[[Header, bytes], None]]] = {
    _TRACING_DATA: _take_tracing_data,
    _HOSTNAME: _take_text("hostname"),
    _OSRELEASE: _take_text("release"),
    _ARCH: _take_text("arch"),
    _NRCPUS: _take_cpus,
    _CMDLINE: _take_command,
    _EVENT_DESC: _take_event_desc,
}


def read_header(file: BinaryIO, size: int) -> Header:
    """Read the head of an open file of so many bytes.

    :raises NettaxError: it is no perf.data, or so little of it is left that nothing can be read
    """
    head = file.read(_FILE_HEADER)
    order = {LITTLE: "<", BIG: ">"}.get(head[:8])
    if order is None:
        raise NettaxError("not a perf.data file: it does not begin with PERFILE2")
    if len(head) < _PIPE_HEADER:
        raise NettaxError(f"cut short at byte {len(head)}, within the header")
    (length,) = struct.unpack_from(order + "Q", head, 8)
    if length == _PIPE_HEADER:
        return Header(order, _PIPE_HEADER, None)
    if length < _FILE_HEADER:
        raise NettaxError(f"a header of {length} bytes: not a version of perf.data known here")
    if len(head) < _FILE_HEADER:
        raise NettaxError(f"cut short at byte {len(head)}, within the header")
    attr_size, attrs_at, attrs_size, start, data_size = struct.unpack_from(order + "5Q", head, 16)
    bits = struct.unpack_from(order + "4Q", head, 72)
    header = Header(order, start, start + data_size)
    if data_size == 0:
        # perf was killed: it writes the size, and the features after the data, as it ends
        header.end = size
        header.damage.append(
            Damage(40, "perf was stopped before it wrote the head: no features, no formats")
        )
    _read_attrs(header, file, size, (attr_size, attrs_at, attrs_size))
    if header.end is not None and header.end > size:
        lost = header.end - max(size, header.start)
        header.damage.append(Damage(size, f"cut short: {lost} bytes of events are missing"))
    elif data_size:
        _read_features(header, file, start + data_size, size, bits)
    return header


def _read_attrs(header: Header, file: BinaryIO, size: int, section: tuple[int, int, int]) -> None:
    entry, at, length = section
    if not 80 <= entry <= 4112:
        raise NettaxError(f"byte 16: event descriptions of {entry} bytes: the header is corrupt")
    if at + length > size:
        raise NettaxError(f"byte {at}: the events' descriptions lie beyond the end of the file")
    for place in range(at, at + min(length // entry, _MAX_ATTRS) * entry, entry):
        file.seek(place)
        data = file.read(entry)
        try:
            attr, _ = Attr.parse(data[:-16], header.order)
            ids_at, ids_size = struct.unpack_from(header.order + "QQ", data, entry - 16)
            if ids_at + ids_size > size or ids_size > 8 * _MAX_IDS:
                raise NettaxError("its ids lie beyond the end of the file")
        except NettaxError as error:
            header.damage.append(Damage(place, str(error)))
            continue
        file.seek(ids_at)
        ids = struct.unpack(f"{header.order}{ids_size // 8}Q", file.read(ids_size // 8 * 8))
        header.attrs.append(replace(attr, ids=ids))


def _read_features(
    header: Header, file: BinaryIO, at: int, size: int, bits: tuple[int, int, int, int]
) -> None:
    """The table of features follows the data: one section for each bit that is set."""
    wanted = [64 * word + bit for word in range(4) for bit in range(64) if bits[word] >> bit & 1]
    file.seek(at)
    table = file.read(16 * len(wanted))
    if len(table) < 16 * len(wanted):
        header.damage.append(Damage(at, "the table of features is cut short"))
    for number, (place, length) in zip(
        wanted,
        struct.iter_unpack(header.order + "QQ", table[: len(table) // 16 * 16]),
        strict=False,
    ):
        if number not in _FEATURES:
            continue
        if place + length > size or length > _MAX_FEATURE:
            header.damage.append(Damage(at, f"header feature {number} lies beyond the file's end"))
            continue
        file.seek(place)
        header.feature(number, file.read(length), place)


def filtered_vectors(command: list[str]) -> frozenset[int] | None:
    """Softirq vectors to which perf's command line filters (`--filter 'vec == 3'`); None: all."""
    vectors: set[int] = set()
    event = ""
    wanted = dict.fromkeys(("irq:softirq_entry",), False)
    words = iter(command)
    for word in words:
        if word in ("-e", "--event"):
            event = next(words, "")
        elif word.startswith("--filter"):
            text = word.partition("=")[2] or next(words, "")
            parts = shlex.split(text.replace("==", " == "))
            if event in wanted and len(parts) == 3 and parts[:2] == ["vec", "=="]:
                vectors.add(int(parts[2], 0))
    return frozenset(vectors) or None
