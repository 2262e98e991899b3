"""The help screen: keys, and what every column means."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Final

from nettax.report.fields import TABLES, VERB_TABLES
from nettax.tui.paint import ACCOUNTS, Line, Span, fit

__all__ = ["help_lines"]

KEYS: Final = (
    ("1 … 6, tab", "tasks, processes, workloads, cgroups, virtual machines, CPUs"),
    ("↑ ↓ pgup pgdn home end", "select a row; j and k do as well"),
    ("enter", "into the row: a task's history; the tasks of a process, container, CPU …"),
    ("esc, backspace", "out again; then clear the filter; then select no row"),
    ("< >", "sort by the column to the left, to the right (or click on it)"),
    ("r", "sort the other way round"),
    ("/", "filter by a part of the name or of the cgroup, or by a pid; enter keeps it"),
    ("space", "pause: the screen stands still, while counting and the history go on"),
    ("?", "this help"),
    ("q, ctrl+c", "quit; ctrl+z suspends"),
)
LETTERS: Final = (
    "Bars, without colours: "
    + ", ".join(f"{letter} {name}" for name, letter in ACCOUNTS.items())
    + "."
)


def help_lines(width: int) -> list[Line]:
    """All of it, wrapped to this width."""
    lines = [*_section("Keys", KEYS, width)]
    for name in VERB_TABLES["top"]:
        table = TABLES[name]
        fields = [(field.name, field.meaning) for field in table.fields]
        lines += _section(f"{table.title}, {table.unit}", fields, width)
    lines += [(Span(text),) for text in textwrap.wrap(LETTERS, max(width - 1, 8))]
    return lines


def _section(
    title: str, entries: tuple[tuple[str, str], ...] | list[tuple[str, str]], width: int
) -> Iterator[Line]:
    yield (Span(title, "head"),)
    indent = min(2 + max(len(name) for name, _ in entries) + 2, max(width // 3, 4))
    for name, meaning in entries:
        rows = textwrap.wrap(meaning, max(width - indent - 1, 8))
        short = len(name) + 4 <= indent
        if not short:
            yield (Span("  " + name, "key"),)
        for i, row in enumerate(rows):
            label = "  " + name if short and i == 0 else ""
            yield (Span(fit(label, indent), "key"), Span(row))
    yield (Span(""),)
