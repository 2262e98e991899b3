"""Frames as plain text, for pipes and files."""

from __future__ import annotations

import time

from nettax.tui.frame import LABELS, clip, footer
from nettax.tui.model import Model
from nettax.tui.paint import line_text
from nettax.tui.tables import Table

__all__ = ["frame_text"]


def frame_text(model: Model, width: int, rows: int | None) -> str:
    """The interval that `model` shows: a line of what it is, the table, what could not be told.

    `rows`: so many, and how many more there are; all of them, if None.
    """
    now = model.now
    if now is None:
        return ""
    shown, label = model.rows, LABELS[model.view]
    kept = shown if rows is None else shown[:rows]
    clock = time.strftime("%H:%M:%S", time.localtime(now.clock))
    wall, taken = now.total.wall_ns, now.taken_ns
    table = Table(model, width, letters=True)
    above = [now.total] if table.of_cpus and len(shown) > 1 else []
    lines = [line for row in table.rows(now, [*above, *kept]) for line in row]
    more = len(shown) - len(kept)
    return "\n".join(
        (
            f"{clock}  {now.wall_ns / 1e9:.3f} s on {len(now.interval.cpus)} CPUs, "
            f"of which {100 * taken / (wall or 1):.1f} % was taken; "
            f"{len(shown)} {label} by {model.sorting[model.view].column}",
            *(line_text(clip(line, width)) for line in (table.heading, *lines)),
            *([f"({more} more; --rows sets how many are shown)"] if more else []),
            line_text(footer(now, width)),
        )
    )
