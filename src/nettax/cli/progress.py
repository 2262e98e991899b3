"""A line on standard error that tells how far a long run is; nothing where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable

__all__ = ["progress"]


def progress(what: str) -> Callable[[int, int], None]:
    """A function to call with how many steps are done, of how many."""
    if not sys.stderr.isatty():
        return lambda done, of: None

    def show(done: int, of: int) -> None:
        sys.stderr.write(f"\r{what}: {done}/{of}" if done < of else "\r\033[K")
        sys.stderr.flush()

    return show
