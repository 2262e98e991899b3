"""Whether there are colours, and which."""

from __future__ import annotations

import curses
import os
from typing import Final

__all__ = ["COLOURS", "PLAIN", "has_colours"]

# The terminal's own sixteen, so that its owner's theme holds, on light and on dark.
COLOURS: Final = {
    "own": "green",
    "hardirq": "magenta",
    "net": "red",
    "softirq": "yellow",
    "displaced": "bright_blue",
    "kthread": "bright_blue",
    "idle-irq": "cyan",
    "idle": "bright_black",
    "hot": "bold red",
    "spark": "red",
    "key": "cyan",
    "dim": "bright_black",
    "head": "bold",
    "sorted": "underline",
    "on": "reverse",
    "select": "reverse",
}
PLAIN: Final = {
    "hot": "bold",
    "key": "bold",
    "idle": "dim",
    "dim": "dim",
    "head": "bold",
    "sorted": "underline",
    "on": "reverse",
    "select": "reverse",
}
LEAST: Final = 8


def has_colours() -> bool:
    """Whether the terminal has colours, and its user wants them (no-color.org)."""
    if os.environ.get("NO_COLOR"):
        return False
    try:
        curses.setupterm()
    except curses.error:  # not in the database of terminals: most of those have colours
        return True
    return curses.tigetnum("colors") >= LEAST
