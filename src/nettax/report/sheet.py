"""What is put into words in C: names by number, and text in pages."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from nettax.events.model import VECTOR_NAMES, Array, Kind, Tables
from nettax.ledger.rows import VECTORS

__all__ = ["Names", "Words", "name_of_span", "pages"]

_PAGE: Final = 1 << 16  # bytes at a time: what a pipe holds


class Names(ctypes.Structure):
    """struct sheet_names (native/sheet.h)."""

    _fields_ = (("text", ctypes.c_char_p), ("places", ctypes.c_void_p))


class Words:
    """Words, each of which has a number."""

    def __init__(self, form: Callable[[str], str]) -> None:
        """`form`: how a word is to be written."""
        self._words: list[bytes] = []
        self._form = form

    def add(self, word: str) -> int:
        """Its number."""
        self._words.append(self._form(word).encode(errors="replace"))
        return len(self._words) - 1

    def numbered(self, keys: Array, say: Callable[[int], str]) -> Array:
        """The number of what is said of each of these keys, whole numbers."""
        unique = np.unique(keys)
        numbers = [self.add(say(key)) for key in unique.tolist()]
        return np.array(numbers, np.uint32)[np.searchsorted(unique, keys)]

    def spans(self, items: Array, tables: Tables) -> Array:
        """The number of what each span is called."""
        names = np.clip(items["name"], -1, len(VECTOR_NAMES)).astype(np.int64)
        kinds = items["kind"].astype(np.int64)
        keys = (kinds << 40) | (names + 1 << 32) | items["id"].view(np.uint32)

        def say(key: int) -> str:
            number = key & 0xFFFFFFFF
            name = (key >> 32 & 0xFF) - 1
            return name_of_span(tables, key >> 40, number - (number >> 31 << 32), name)

        return self.numbered(keys, say)

    def given(self) -> tuple[Names, Any]:
        """All of them as C takes them; the second keeps the memory of the first."""
        places = np.append(0, np.cumsum([len(word) for word in self._words])).astype(np.uint64)
        return Names(b"".join(self._words), places.ctypes.data), places


def name_of_span(tables: Tables, kind: int, number: int, name: int) -> str:
    """What a span is called, by its kind, id and name."""
    if kind == Kind.SOFTIRQ_ENTRY:
        known = 0 <= number < len(VECTORS)
        return VECTORS[number].upper() if known else f"softirq {number}"
    if kind == Kind.VECTOR_ENTRY:
        return VECTOR_NAMES[name] if 0 <= name < len(VECTOR_NAMES) else f"vector {number}"
    return tables.irqs.get(number) or f"IRQ {number}"


def pages(write: Callable[[Any, int], int], left: Callable[[], bool]) -> Iterator[bytes]:
    """What `write(memory, its size)` gives, again and again while something is `left`."""
    out = ctypes.create_string_buffer(_PAGE)
    while left():
        size = write(out, len(out))
        if size:
            yield out.raw[:size]
        else:  # one line is longer
            out = ctypes.create_string_buffer(2 * len(out))
