"""What to trace, and the command behind `--`."""

from __future__ import annotations

import sys

from nettax.errors import UsageError

__all__ = ["split"]


def split(words: tuple[str, ...]) -> tuple[list[str], tuple[str, ...]]:
    """Names, each once, and the command, of the words that click left: it drops the `--`.

    :raises UsageError: there is no name
    """
    given = sys.argv[1:]
    behind = len(given) - given.index("--") - 1 if "--" in given else 0
    cut = len(words) - behind
    if cut <= 0:
        raise UsageError("name a function, or a chain of events, before `--`")
    return list(dict.fromkeys(words[:cut])), words[cut:]
