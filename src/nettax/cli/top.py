"""`nettax top`: the ledger, live."""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import sys
import time
from collections.abc import Iterator

import click

from nettax.cli.selection import selection
from nettax.errors import NettaxError, UsageError
from nettax.host.signals import EndingSignals
from nettax.kernel import cpus as cpu_lists
from nettax.ledger import Ledger, Toll
from nettax.tui.batch import frame_text
from nettax.tui.colours import has_colours
from nettax.tui.columns import COLUMNS
from nettax.tui.model import Model
from nettax.tui.moment import VIEWS, Moments
from nettax.tui.reader import Loading, Reader

EXAMPLES = """
\b
Examples:
  nettax top                        the whole host, every second
  nettax top -C 0,2-5 -I 0.5        CPUs 0 and 2 to 5, twice a second
  nettax top -v workloads           by container, unit and session
  nettax top -b -n 10 > log         ten frames as text
  nettax top --once -v cpus         one second, by CPU, and out
"""
MOST_SECONDS = 10**9
REAP_S = 1.0  # how often to make room for new tasks


@click.command(epilog=EXAMPLES)
@click.option("-a", "--all-cpus", is_flag=True, help="All CPUs (the default).")
@click.option("-C", "--cpu", metavar="CPUS", help="These CPUs only: 0,2-5.")
@click.option("-p", "--pid", metavar="PID,…", help="Show these processes only.")
@click.option("-G", "--cgroup", metavar="PATH", help="Show this cgroup and those below it only.")
@click.option(
    "-I",
    "--interval",
    type=click.FloatRange(min=0.1),
    default=1.0,
    metavar="SECS",
    help="Read this often (1).",
)
@click.option(
    "-d",
    "--duration",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECS",
    help="Stop after so long (else when told to).",
)
@click.option("-v", "--view", type=click.Choice(VIEWS), default="tasks", help="Begin with (tasks).")
@click.option("-s", "--sort", metavar="COLUMN", help="Sort by (taken; CPUs by number).")
@click.option("-F", "--filter", "pattern", default="", metavar="TEXT", help="Rows with this only.")
@click.option("-b", "--batch", is_flag=True, help="Frames as text, one each interval.")
@click.option("--once", is_flag=True, help="One frame as text, after one interval.")
@click.option("-n", "--iterations", type=click.IntRange(min=1), help="So many frames, with -b.")
@click.option(
    "--rows", type=click.IntRange(min=0), default=15, help="Rows of a text frame (15; 0: all)."
)
def command(
    all_cpus: bool,
    cpu: str | None,
    pid: str | None,
    cgroup: str | None,
    interval: float,
    duration: float | None,
    view: str,
    sort: str | None,
    pattern: str,
    batch: bool,
    once: bool,
    iterations: int | None,
    rows: int,
) -> None:
    """Who pays for the network, live: tasks, processes, containers, virtual machines, CPUs.

    billed is what the kernel charged, own what the task got; taken is what interrupts, softirqs
    and network kernel threads had of its time, by vector. `?` explains every column. Text for
    pipes: --once, --batch.
    """
    if all_cpus and cpu is not None:
        raise UsageError("-a and -C exclude each other")
    if once and (batch or iterations):
        raise UsageError("--once is --batch -n 1: give one of them")
    if iterations and not batch:
        raise UsageError("-n counts frames of text: give --batch as well")
    for option, seconds in (("-d", duration), ("-I", interval)):
        if seconds is not None and not seconds <= MOST_SECONDS:  # a NaN, too
            raise UsageError(f"{option} takes at most {MOST_SECONDS} seconds")
    live = not (batch or once)
    if live:
        _require_terminal()
    moments = Moments(selection(pid, cgroup) if pid or cgroup else None)
    model = Model(view, _column(view, sort), pattern)
    ledger = Ledger(cpus=None if cpu is None else cpu_lists.select(cpu), toll=Toll.load())
    if live:
        sys.exit(_live(ledger, model, moments, interval, duration))
    frames = 1 if once else iterations
    for _ in _readings(ledger, model, moments, interval, duration, frames):
        width = shutil.get_terminal_size().columns
        text = frame_text(model, width, rows or None)
        click.echo(text if once else text + "\n")


def _require_terminal() -> None:
    """Make sure that there is one to draw on, and to read keys from."""
    for stream, name in ((sys.stdout, "output"), (sys.stdin, "input")):
        if not stream.isatty():
            raise UsageError(
                f"standard {name} is not a terminal, and top needs one.\n"
                "For pipes and files: nettax top --once, or --batch"
            )
    if os.environ.get("TERM", "") in ("", "dumb", "unknown"):
        raise UsageError(
            "TERM does not name a terminal that can be drawn on.\n"
            "Set it (TERM=xterm, say), or use nettax top --once or --batch"
        )


def _column(view: str, name: str | None) -> str | None:
    """A column of the view, which may be named without its sign."""
    names = [column.name for column in COLUMNS[view]]
    if name is None or name in names:
        return name
    if "≈" + name in names:
        return "≈" + name
    raise UsageError(f"-s takes a column of {view}, and {name!r} is none: {', '.join(names)}")


def _live(
    ledger: Ledger, model: Model, moments: Moments, interval: float, duration: float | None
) -> int:
    """Draw until told to end; the exit code."""
    loading = Loading(ledger)
    try:
        gc.disable()  # nothing of what is imported is ever garbage
        from nettax.tui.app import Top

        gc.enable()
        reader = Reader(loading.result())
        top = Top(model, moments, reader, interval, duration, has_colours())
        top.run()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("textual", "rich"):
            raise
        raise NettaxError("nettax top needs textual: pip install 'nettax[tui]'") from None
    finally:
        loading.close()
    if top.error:
        raise top.error
    return top.return_value or top.return_code or 0


def _readings(
    ledger: Ledger,
    model: Model,
    moments: Moments,
    interval: float,
    duration: float | None,
    most: int | None,
) -> Iterator[None]:
    """Feed the model an interval at a time, until all are read or a signal ends it."""
    with EndingSignals(), ledger:
        reader = Reader(ledger)
        start = time.monotonic()
        for number in itertools.count(1):
            due = start + number * interval
            if duration is not None and number * interval > duration + 1e-9:
                return
            while (left := due - time.monotonic()) > REAP_S:
                time.sleep(REAP_S)
                reader.reap()
            time.sleep(max(left, 0))
            model.feed(moments.of(reader.read()))
            yield
            if number == most:
                return
