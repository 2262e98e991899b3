"""Tables of tasks, groups and CPUs, as lines of exactly so many cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from nettax.ledger import CpuShare
from nettax.tui.accounts import cpu_parts, task_parts
from nettax.tui.columns import GAP, chosen
from nettax.tui.history import SHARES
from nettax.tui.model import Model, key_of
from nettax.tui.moment import Moment
from nettax.tui.paint import ACCOUNTS, Line, Span, bar, fit, sparkline

__all__ = ["Table"]

BAR: Final = 24  # cells, beside a row
TREND: Final = 16  # intervals
ROW_BAR_FROM: Final = 116  # cells of the screen
TREND_FROM: Final = 150
TAKEN: Final = SHARES.index("taken")


class Table:
    """One view's table for a width: its heading, and rows as they are asked for."""

    def __init__(self, model: Model, width: int, letters: bool) -> None:
        self.model = model
        self.width = width
        self.letters = letters
        self.of_cpus = model.view == "cpus"
        self.bar = BAR if width >= ROW_BAR_FROM else 0
        self.trend = TREND if width >= TREND_FROM and model.view == "tasks" else 0
        room = width - sum(extra + 2 for extra in (self.bar, self.trend) if extra)
        columns = model.columns
        # A CPU's number stands with its bar, where that has a line of its own.
        self.columns = chosen(columns[1:] if self.stacked else columns, room)

    @property
    def stacked(self) -> bool:
        """Whether each row has a second line, for its bar."""
        return self.of_cpus and not self.bar

    @property
    def height(self) -> int:
        """Lines of a row."""
        return 2 if self.stacked else 1

    @property
    def heading(self) -> Line:
        """Names of columns, in the colours of the bars; the one sorted by stands out."""
        by = self.model.sorting[self.model.view].column
        spans = []
        for i, (column, width) in enumerate(self.columns):
            style = f"head {column.name if column.name in ACCOUNTS else ''}"
            spans.append(Span(" " * GAP * (i > 0), "head"))
            text = fit(column.name, width, right=not column.left)
            spans.append(Span(text, style + " sorted" * (column.name == by)))
        if self.bar:
            spans.append(Span("  " + fit("time", self.bar), "head"))
        if self.trend:
            spans.append(Span("  " + fit("taken before", self.trend), "head"))
        used = sum(len(span.text) for span in spans)
        return (*spans, Span(" " * (self.width - used), "head"))

    def places(self) -> Iterator[tuple[int, int, str]]:
        """Of each heading: its first cell, one past its last, and its name."""
        left = 0
        for i, (column, width) in enumerate(self.columns):
            right = left + width + GAP * (i > 0)
            yield left, right, column.name
            left = right

    def rows(self, now: Moment, rows: Sequence[Any]) -> Iterator[tuple[Line, ...]]:
        """The lines of each of some rows, whose bars have one scale."""
        chosen_key = self.model.cursor
        most = max((ns for row in rows for ns in [self._whole(now, row)]), default=1)
        for row in rows:
            selected = " select" * (chosen_key is not None and key_of(row) == chosen_key)
            figures = self._figures(now, row, selected)
            if isinstance(row, CpuShare):
                yield tuple(self._cpu(row, row is now.total, figures, selected))
                continue
            if self.bar:
                parts = task_parts(row.charges)
                drawn = bar(parts, most, self.bar, self.letters)
                figures = (*figures, Span("  "), *drawn)
            if self.trend:
                past = self.model.history.task(row.key, self.trend)
                taken = [each[TAKEN] if each else None for each in past]
                figures = (*figures, Span("  "), Span(sparkline(taken, self.trend, 1.0), "spark"))
            yield (figures,)

    def _whole(self, now: Moment, row: Any) -> int:
        """What a full bar stands for: one CPU, or as many as the greatest group had."""
        if isinstance(row, CpuShare):
            return 1
        return max(now.wall_ns, sum(task_parts(row.charges).values()))

    def _cpu(self, cpu: CpuShare, total: bool, figures: Line, selected: str) -> Iterator[Line]:
        name = "all" if total else str(cpu.cpu)
        width = self.width - 6 if self.stacked else self.bar
        if cpu.online:
            drawn = bar(cpu_parts(cpu), cpu.wall_ns, max(width, 0), self.letters)
        else:
            drawn = (Span(fit("offline", max(width, 0)), "dim"),)
        if self.stacked:
            yield (Span(fit(name, 5, right=True), "name" + selected), Span(" "), *drawn)
            yield figures
        else:
            yield (*figures, Span("  "), *drawn)

    def _figures(self, now: Moment, row: Any, selected: str) -> Line:
        spans = []
        for i, (column, width) in enumerate(self.columns):
            text = column.text(now, row)
            style = column.style(now, row, text) + selected
            # Figures are short and plain; names are what their owners chose.
            text = fit(text, width) if column.left else text[:width].rjust(width)
            spans.append(Span(" " * (GAP * (i > 0)) + text, style))
        return tuple(spans)
