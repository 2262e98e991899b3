"""Tracepoints' formats, as tracefs describes them (`events/SYSTEM/NAME/format`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Field", "Format", "parse_format"]

_NAME = re.compile(r"^name: (\S+)", re.M)
_ID = re.compile(r"^ID: (\d+)", re.M)
_FIELD = re.compile(
    r"^\tfield:(?P<type>[^;]*?)\s*(?P<name>\w+)(?P<array>\[[^\];]*\])?;"
    r"\s*offset:(?P<offset>\d+);\s*size:(?P<size>\d+);(?:\s*signed:(?P<signed>\d+);)?",
    re.M,
)


@dataclass(frozen=True, slots=True)
class Field:
    """Where a field is in an event's raw record; in bytes."""

    offset: int
    size: int
    signed: bool
    dynamic: bool
    """`__data_loc`: the field holds where the string is (low 16 bits) and its length (high 16)."""
    relative: bool
    """`__rel_loc`: that place is counted from the end of the field."""


@dataclass(frozen=True, slots=True)
class Format:
    """Of one tracepoint."""

    id: int
    name: str
    fields: Mapping[str, Field]


def parse_format(text: str) -> Format | None:
    """Read a format file; None if it is none."""
    name, number = _NAME.search(text), _ID.search(text)
    if not name or not number:
        return None
    fields = {
        match["name"]: Field(
            offset=int(match["offset"]),
            size=int(match["size"]),
            signed=match["signed"] == "1",
            dynamic="__data_loc" in match["type"] or "__rel_loc" in match["type"],
            relative="__rel_loc" in match["type"],
        )
        for match in _FIELD.finditer(text)
        if int(match["offset"]) < 1 << 16 and int(match["size"]) < 1 << 16
    }
    return Format(int(number[1]), name[1], fields)
