"""`nettax canary --watch`: the score, a line at a time, until it is told to end."""

from __future__ import annotations

import json
import math
import os
import select
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from nettax.experiment import reference
from nettax.experiment.score import Score
from nettax.report.score import document, lines_text, total_text

__all__ = ["ending", "keep_score", "within"]

HEADER_EVERY = 20  # intervals


def keep_score(
    cpus: Sequence[int],
    share: float,
    interval: float,
    duration: float | None,
    alert: float | None,
    ledger: bool,
    as_json: bool,
) -> None:
    """Print the score of each interval, and at the end that of the whole time."""
    score = Score(cpus, share, ledger=ledger, idle=_idle)
    with ending() as ended, score:
        start = time.monotonic()
        end = math.inf if duration is None else start + duration
        number = 0
        last = False
        while not last:
            number += 1
            due = min(start + number * interval, end)
            last = within(ended, due - time.monotonic()) or end - due < 1e-6
            lines = score.read()
            if as_json:
                click.echo(json.dumps(document(lines, alert)))
            else:
                header = number % HEADER_EVERY == 1
                click.echo(lines_text(lines, alert, header=header))
        if as_json:
            click.echo(json.dumps(document(score.total(), alert, total=True)))
        else:
            click.echo("\n" + total_text(score.total(), alert))


def _idle(cpu: int) -> float | None:
    """The share of time in gaps that the gap engine found on a quiet CPU."""
    speed = reference.kept_speed("gap", cpu)
    return None if speed is None else 1 - speed


def within(ended: int, seconds: float) -> bool:
    """Wait so many seconds; True: it is to end now."""
    return bool(select.select([ended], [], [], max(seconds, 0))[0])


@contextmanager
def ending() -> Iterator[int]:
    """Ctrl-C and SIGTERM end the watch, not the program: a descriptor to wait on for them."""
    woken, wake = os.pipe()
    former = {
        number: signal.signal(number, lambda number, frame: _wake(wake))
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN  # as nohup(1) wants
    }
    try:
        yield woken
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        os.close(woken)
        os.close(wake)


def _wake(pipe: int) -> None:
    os.write(pipe, b".")
