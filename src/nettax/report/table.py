"""Plain text tables, and numbers as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["count", "percent", "safe", "signed_percent", "table"]

TERMINAL = 80  # columns


def safe(name: str) -> str:
    """A name that its owner chose (a task's, a cgroup's), with `?` for what commands a terminal.

    Any process may call itself anything (prctl(2), PR_SET_NAME): line ends, escape sequences.
    """
    return name if name.isprintable() else "".join(c if c.isprintable() else "?" for c in name)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Columns as wide as their longest cell; the first `left` columns flush left, others right.

    Cells are made `safe`. Columns stand closer where that fits them into a terminal.
    """
    lines = [head, *(list(map(safe, row)) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    close = sum(widths) + len(widths) - 1
    gap = " " if close <= TERMINAL < close + len(widths) - 1 else "  "
    return "\n".join(
        gap.join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def percent(part: float | None, whole: float) -> str:
    """A share of one CPU; a dot where there is nothing, so that the eye finds what there is.

    A question mark where it is not known.
    """
    if part is None:
        return "?"
    return f"{100 * part / whole:.1f}" if whole and abs(part / whole) >= 0.0005 else "·"


def signed_percent(part: float | None, whole: float) -> str:
    """A share that may be negative, with enough digits to tell a residual from nothing."""
    if part is None:
        return "?"
    return f"{100 * part / whole:+.3f}" if whole else "·"


def count(number: float) -> str:
    """A count with k, M and G (powers of ten): three digits that matter."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * size:  # what would be shown as 1000 of the unit below
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"
