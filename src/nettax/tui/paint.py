"""Lines of styled text, bars and sparklines: what the screen and the text frames are made of.

A line is a tuple of spans; a style is a name, which whoever draws turns into colours or does
without. Everything here is plain text; nothing interprets markup.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from nettax.report.table import safe

__all__ = [
    "ACCOUNTS",
    "Line",
    "Span",
    "bar",
    "cells",
    "fit",
    "line_text",
    "sparkline",
]


class Span(NamedTuple):
    """Text of one style; the empty style is the terminal's own."""

    text: str
    style: str = ""


Line = tuple[Span, ...]

# What a bar is made of, in its order, and the letter of each where there are no colours.
ACCOUNTS: Final = {
    "own": "█",
    "hardirq": "h",
    "net": "n",
    "softirq": "s",
    "displaced": "d",
    "kthread": "k",
    "idle-irq": "i",
    "idle": "·",
}
LEVELS: Final = "▁▂▃▄▅▆▇█"
BLOCK: Final = "█"


def cells(text: str) -> int:
    """How many cells of a terminal a text takes: East Asian wide characters take two."""
    if text.isascii():
        return len(text)
    return sum(map(_cells, text))


@lru_cache(maxsize=4096)
def _cells(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):  # they combine with the one before
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def fit(text: str, width: int, right: bool = False) -> str:
    """A name that its owner chose, in exactly so many cells: made safe, cut with `…`, filled."""
    text = safe(text)
    if cells(text) > width:
        kept, left = [], width - 1
        for character in text:
            left -= _cells(character)
            if left < 0:
                break
            kept.append(character)
        text = "".join(kept) + "…" if width > 0 else ""
    padding = " " * (width - cells(text))
    return padding + text if right else text + padding


def line_text(line: Line) -> str:
    """The line without its styles."""
    return "".join(span.text for span in line).rstrip()


def bar(parts: Mapping[str, int], whole: int, width: int, letters: bool = False) -> Line:
    """A partition, drawn: each account of `parts` has its share of the cells, within half a cell.

    What no account has stays blank. `letters`: an account is told by its letter, not its colour.
    """
    spans, reached, edge = [], 0, 0
    for name, letter in ACCOUNTS.items():
        reached += max(parts.get(name, 0), 0)
        # Rounding the sums, not the parts, keeps their total right.
        here = min(round(width * reached / whole), width) if whole > 0 else 0
        if here > edge:
            glyph = letter if letters or name == "idle" else BLOCK
            spans.append(Span(glyph * (here - edge), name))
            edge = here
    return (*spans, Span(" " * (width - edge)))


def sparkline(values: Sequence[float | None], width: int, top: float) -> str:
    """The last `width` values as columns of eighths, of which `top` fills eight; ` ` for none.

    A value above nothing shows as at least the lowest column.
    """
    shown = list(values)[-width:] if width > 0 else []
    text = "".join(
        " "
        if value is None
        else LEVELS[min(max(round(8 * value / top) - 1, 0), 7)]
        if top > 0
        else LEVELS[0]
        for value in shown
    )
    return text.rjust(max(width, 0))
