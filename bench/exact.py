"""What `nettax lab vm compare` says of two alike: how far apart counts are, and what it claims.

Budget: nothing is claimed, of any operation nor of any function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nettax.experiment import exact
from nettax.experiment.exact_setting import setting
from nettax.report.table import table

__all__ = ["Alike", "alike", "text"]

RUNS = 10
SERIES = 5
"""Comparisons in the same four guests, one after another: half the time is their boots."""
MODES = ("kthread", "workqueue")


@dataclass(frozen=True, slots=True)
class Alike:
    """One comparison of a setting with itself, one operation."""

    setting: str
    operation: str
    spread: float
    """Between repetitions, a share."""
    difference: float
    """Between the means, a share."""
    missed: float
    """The least difference that would have been claimed, a share."""
    differs: bool
    functions: tuple[str, ...]
    """That were named."""


def alike(repeats: int = RUNS, progress: Callable[[str], None] = lambda _: None) -> list[Alike]:
    """Compare each mode with itself in turns, `repeats` times in all."""
    found: list[Alike] = []
    for number, first in enumerate(range(0, repeats, SERIES)):
        text = f"mode={MODES[number % len(MODES)]}"
        times = min(SERIES, repeats - first)
        progress(f"exact: {text} with itself, {first + 1} to {first + times} of {repeats}")
        for comparison in exact.series(setting(text), setting(text), times)[2]:
            found += [_alike(text, each) for each in comparison]
    return found


def _alike(text: str, each: exact.Compared) -> Alike:
    total = each.total
    return Alike(
        text,
        each.operation,
        total.spread,
        total.difference / total.mean_b,
        max(total.margin, total.least) / total.mean_b,
        total.differs,
        tuple(one.name for one in each.functions),
    )


def text(found: list[Alike]) -> str:
    """A line for each operation of each mode: the worst of its comparisons."""
    rows = []
    for of, operation in sorted({(one.setting, one.operation) for one in found}):
        ones = [one for one in found if (one.setting, one.operation) == (of, operation)]
        claimed = sum(one.differs or bool(one.functions) for one in ones)
        rows.append(
            [
                f"{of}, {operation}",
                f"{claimed} of {len(ones)}",
                f"{max(one.spread for one in ones):.3%}",
                f"{max(abs(one.difference) for one in ones):.3%}",
                f"{max(one.missed for one in ones):.3%}",
            ]
        )
    head = ["with itself", "claimed", "repeats within", "apart", "could be missed"]
    return table(head, rows)
