"""An experiment's outcome: tables, plots and a paragraph; as the document `nettax.run/1`, too."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import Any

from nettax.experiment.environment import environment
from nettax.experiment.estimate import Estimate
from nettax.experiment.runs import EXPERIMENTS, Bars, Outcome, Table, Value
from nettax.report.table import TERMINAL, count, table

__all__ = ["document", "text"]

SCHEMA = "nettax.run/1"
WIDTH = 40  # of the longest bar
_EIGHTHS = " ▏▎▍▌▋▊▉"


def text(name: str, outcome: Outcome) -> str:
    """For people."""
    return "\n\n".join(
        (
            EXPERIMENTS[name],
            *map(_table, outcome.tables),
            *map(_bars, outcome.plots),
            textwrap.fill(outcome.meaning, TERMINAL),
            textwrap.fill(f"Not told: {outcome.untold}", TERMINAL),
        )
    )


def document(name: str, outcome: Outcome, smoke: bool) -> dict[str, Any]:
    """For programs."""
    return {
        "schema": SCHEMA,
        "experiment": name,
        "smoke": smoke,
        "tables": [
            {
                "title": one.title,
                "columns": list(one.columns),
                "rows": [[_plain(cell) for cell in row] for row in one.rows],
            }
            for one in outcome.tables
        ],
        "meaning": outcome.meaning,
        "untold": outcome.untold,
        "raw": dict(outcome.raw),
        "environment": asdict(environment()),
    }


def _plain(cell: Value) -> Any:
    return asdict(cell) if isinstance(cell, Estimate) else cell


def _table(one: Table) -> str:
    rows = [[_cell(cell) for cell in row] for row in one.rows]
    title = textwrap.fill(f"{one.title}:", TERMINAL)
    return f"{title}\n\n{table(list(one.columns), rows)}"


def _cell(cell: Value) -> str:
    if cell is None:
        return "·"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Estimate):
        middle, low, high = map(_number, (cell.median, cell.low, cell.high))
        return middle if cell.n == 1 else f"{middle} [{low}, {high}]"
    return f"{cell:,}" if isinstance(cell, int) else _number(cell)


def _number(value: float) -> str:
    return count(value) if abs(value) >= 1000 else f"{value:.3g}"


def _bars(plot: Bars) -> str:
    most = max((value for _, value in plot.bars), default=0.0)
    rows = [[name, _number(value), _bar(value, most)] for name, value in plot.bars]
    return f"{plot.title}:\n\n{_flush(rows)}"


def _flush(rows: list[list[str]]) -> str:
    """Names to the left, figures to the right, bars after them."""
    names, figures = (max(len(row[i]) for row in rows) for i in (0, 1))
    return "\n".join(f"{n:<{names}}  {f:>{figures}}  {bar}".rstrip() for n, f, bar in rows)


def _bar(value: float, most: float) -> str:
    eighths = round(8 * WIDTH * value / most) if most else 0
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
