"""`nettax canary --watch`: the score, a line at a time, until it is told to end."""

from __future__ import annotations

import json
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

__all__ = ["keep_score"]

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
    with _ending() as ended, score:
        start = time.monotonic()
        most = max(1, round(duration / interval)) if duration else None
        number = 0
        while number != most:
            number += 1
            last = _within(ended, start + number * interval - time.monotonic())
            lines = score.read()
            if as_json:
                click.echo(json.dumps(document(lines, alert)))
            else:
                header = number % HEADER_EVERY == 1
                click.echo(lines_text(lines, alert, header=header))
            if last:
                break
        if as_json:
            click.echo(json.dumps(document(score.total(), alert, total=True)))
        else:
            click.echo("\n" + total_text(score.total(), alert))


def _idle(cpu: int) -> float | None:
    """The share of time in gaps that the gap engine found on a quiet CPU."""
    speed = reference.kept_speed("gap", cpu)
    return None if speed is None else 1 - speed


def _within(ended: int, seconds: float) -> bool:
    return bool(select.select([ended], [], [], max(seconds, 0))[0])


@contextmanager
def _ending() -> Iterator[int]:
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
