"""What to trace, for how long, and the command behind `--`."""

from __future__ import annotations

import sys

import click

from nettax.errors import UsageError

__all__ = ["duration", "split"]

_FOREVER = 10**9
"""Seconds; more do not fit into the system calls that wait."""
duration = click.option(
    "-d",
    "--duration",
    type=click.FloatRange(min=0, min_open=True, max=_FOREVER),
    metavar="SECS",
    default=_FOREVER,
    help="Stop after so long (else at Ctrl-C, or as the command ends).",
)


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
