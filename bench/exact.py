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

RUNS = 6
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
    """Compare each mode with itself in turns, `repeats` times in all, each time in guests anew."""
    found = []
    for number in range(repeats):
        text = f"mode={MODES[number % len(MODES)]}"
        progress(f"exact: {text} with itself, {number + 1} of {repeats}")
        for each in exact.compare(setting(text), setting(text))[2]:
            total = each.total
            found.append(
                Alike(
                    text,
                    each.operation,
                    total.spread,
                    total.difference / total.mean_b,
                    max(total.margin, total.least) / total.mean_b,
                    total.differs,
                    tuple(one.name for one in each.functions),
                )
            )
    return found


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
