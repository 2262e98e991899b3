"""What an experiment found, in a form that people and programs can be told alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nettax.experiment.estimate import Estimate

__all__ = ["Bars", "Outcome", "Table", "Value"]

Value = str | int | float | Estimate | None
"""A cell; None: it does not apply, or was not seen."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of figures; each begins with its name."""

    title: str
    """What is in it, with the unit where columns do not have one."""
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True, slots=True)
class Bars:
    """A plot: one length for each name."""

    title: str
    bars: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to an experiment's question."""

    tables: tuple[Table, ...]
    plots: tuple[Bars, ...]
    meaning: str
    """One paragraph: what the figures say, of this run."""
    untold: str
    """What they cannot say, and why."""
    raw: Mapping[str, Any] = field(default_factory=dict)
    """For programs: what the tables were made from, as JSON can hold it."""
