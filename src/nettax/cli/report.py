"""`nettax report`: what a recording tells, whoever made it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from nettax.errors import MissingFeature, UsageError

if TYPE_CHECKING:
    from nettax.events.bursts import Bursts
    from nettax.events.model import Recording
    from nettax.ledger import TaskShare

EXAMPLES = """
\b
Examples:
  nettax report                          victims and bursts of nettax.events
  nettax report --timeline perf.data     what perf recorded, a line an interrupt
  nettax report --timeline -C 5 --from 1.5 --to 1.6 --vector net_rx
  nettax report --chrome t.json FILE     for ui.perfetto.dev or chrome://tracing
"""
DEFAULT = Path("nettax.events")
VECTORS = (
    *("hi", "timer", "net_tx", "net_rx", "block"),
    *("irq_poll", "tasklet", "sched", "hrtimer", "rcu"),
)

_OUT = click.Path(path_type=Path, dir_okay=False)
_SECONDS = click.FloatRange(min=0)


@dataclass(frozen=True, slots=True)
class Shown:
    """What was asked for, and how."""

    victims: bool
    bursts: bool
    timeline: bool
    rows: int
    hist: bool
    form: str
    """`text`, `json` or `csv`."""
    pids: frozenset[int] | None
    task: str | None
    vector: str | None
    head: int | None
    tail: int | None


@click.command(epilog=EXAMPLES)
@click.option("--victims", is_flag=True, help="Who was interrupted, and for how long.")
@click.option("--bursts", is_flag=True, help="How network work came, with histograms.")
@click.option("--timeline", is_flag=True, help="A line for each interrupt, as it came.")
@click.option("-i", "--input", "given", type=click.Path(path_type=Path), help="The recording.")
@click.option("-C", "--cpu", metavar="CPUS", help="These CPUs only: 0,2-5. Not of the victims.")
@click.option("--from", "since", type=_SECONDS, default=0, metavar="SECS",
              help="From so long after the first event on.")  # fmt: skip
@click.option("--to", "until", type=_SECONDS, metavar="SECS", help="Until so long after it.")
@click.option("-p", "--pid", metavar="PID,…", help="These processes or threads only.")
@click.option("--task", metavar="NAME", help="Tasks of this name only.")
@click.option(
    "--vector",
    type=click.Choice(VECTORS),
    metavar="NAME",
    help="In the timeline: with this softirq, as net_rx or timer.",
)
@click.option("--head", type=click.IntRange(min=0), help="The first so many lines of it.")
@click.option("--tail", type=click.IntRange(min=0), help="The last so many.")
@click.option("-n", "--rows", type=click.IntRange(min=0), default=15, help="Tasks shown (15).")
@click.option("--hist", is_flag=True, help="Run times of hard IRQs, softirqs and polls, log2.")
@click.option("--json", "as_json", is_flag=True, help="A document; of the timeline, JSON lines.")
@click.option("--csv", "as_csv", is_flag=True, help="The victims, bursts or timeline as a table.")
@click.option("--chrome", type=_OUT, metavar="FILE",
              help="Write a trace for ui.perfetto.dev, speedscope, chrome://tracing.")  # fmt: skip
@click.option("--parquet", type=_OUT, metavar="FILE", help="Write all events as a Parquet table.")
@click.option("-o", "--output", type=click.File("w", lazy=False), default="-",
              help="Write here, not to stdout.")  # fmt: skip
@click.argument("file", type=click.Path(path_type=Path), required=False)
def command(
    victims: bool,
    bursts: bool,
    timeline: bool,
    given: Path | None,
    cpu: str | None,
    since: float,
    until: float | None,
    pid: str | None,
    task: str | None,
    vector: str | None,
    head: int | None,
    tail: int | None,
    rows: int,
    hist: bool,
    as_json: bool,
    as_csv: bool,
    chrome: Path | None,
    parquet: Path | None,
    output: TextIO,
    file: Path | None,
) -> None:
    """Tell who was interrupted, for how long and how, from a recording.

    Reads nettax's own recordings, perf.data, perf script's text, trace.dat and ftrace's text: the
    file's content tells which it is. Without a choice, it shows victims and bursts.
    """
    if given and file:
        raise UsageError("one recording at a time: FILE or -i FILE")
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other")
    if timeline and (victims or bursts):
        raise UsageError("--timeline goes alone")
    if not timeline and (vector or head is not None or tail is not None):
        raise UsageError("--vector, --head and --tail are of the --timeline")
    if as_csv and victims and bursts:
        raise UsageError("--csv is one table: --victims or --bursts")
    if bursts and (pid or task):
        raise UsageError("-p and --task are of the victims and the --timeline")
    exported = chrome or parquet
    if not (victims or bursts or timeline or (exported and not as_json and not as_csv)):
        victims = True
        bursts = not (as_csv or pid or task)
    if victims and cpu is not None:
        raise UsageError(
            "-C cannot be of victims, who wait for other CPUs too: give --bursts or --timeline"
        )
    form = "json" if as_json else "csv" if as_csv else "text"
    shown = Shown(victims, bursts, timeline, rows, hist, form,
                  _pids(pid), task, vector, head, tail)  # fmt: skip
    from nettax.events.sniff import open_recording

    cpus = _cpus(cpu)
    path = given or file or DEFAULT
    with _numpy_or_why(), open_recording(path) as whole:
        recording: Recording = whole
        if cpus is not None or since or until is not None:
            from nettax.events.window import Window

            end = None if until is None else round(until * 1e9)
            recording = Window(whole, cpus, round(since * 1e9), end)
        _export(recording, chrome, parquet)
        output.writelines(_told(recording, shown))
        if whole.damage:
            sys.stderr.write(f"nettax: {path}: {len(whole.damage)} parts were not readable\n")


@contextmanager
def _numpy_or_why() -> Iterator[None]:
    """It is imported where arrays are needed, which a table of victims does not."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "numpy":
            raise
        raise MissingFeature(
            "numpy is missing, which recordings need: pip install 'nettax[events]'"
        ) from error


def _pids(text: str | None) -> frozenset[int] | None:
    if text is None:
        return None
    try:
        return frozenset(int(word) for word in text.split(","))
    except ValueError:
        raise UsageError(f"-p takes process ids, such as 12 or 12,15; not {text!r}") from None


def _cpus(text: str | None) -> tuple[int, ...] | None:
    """Of whatever machine was recorded."""
    from nettax.kernel.cpus import parse_list

    if text is None:
        return None
    chosen = parse_list(text)
    if not chosen:
        raise UsageError("no CPU is named: give a list such as 0,2-5")
    return chosen


def _export(recording: Recording, chrome: Path | None, parquet: Path | None) -> None:
    if chrome:
        from nettax.report import chrome_trace

        chrome_trace.write(recording, chrome)
    if parquet:
        from nettax.report import parquet as parquet_file

        parquet_file.write(recording, parquet)


def _told(recording: Recording, shown: Shown) -> Iterator[str]:
    if shown.timeline:
        yield from _timeline(recording, shown)
        return
    documents, texts = {}, []
    counted: Bursts | None = None
    if shown.victims:
        from nettax.experiment.replay import replayed, replayed_with_bursts
        from nettax.report import replay
        from nettax.report.interval import by_taken

        if shown.bursts:
            found, counted = replayed_with_bursts(recording)
        else:
            found = replayed(recording)
        tasks = [row for row in by_taken(found.tasks) if _chosen(row, shown)]
        if shown.form == "csv":
            yield replay.tasks_csv(found, tasks)
        elif shown.form == "json":
            documents["victims"] = replay.document(found, tasks, recording)
        else:
            texts.append(replay.text(found, tasks, recording, shown.rows, shown.hist))
    if shown.bursts:
        from nettax.events.bursts import bursts as count_bursts
        from nettax.report import bursts as burst_tables

        counted = counted or count_bursts(recording)
        if shown.form == "csv":
            yield burst_tables.csv_text(counted)
        elif shown.form == "json":
            documents["bursts"] = burst_tables.document(counted)
        else:
            texts.append(burst_tables.text(counted, histograms=not shown.victims))
    if documents:
        one = next(iter(documents.values()))
        both = {"schema": "nettax.report/1", **documents}
        yield json.dumps(both if len(documents) > 1 else one, indent=1) + "\n"
    if texts:
        yield "\n\n".join(texts) + "\n"


def _chosen(task: TaskShare, shown: Shown) -> bool:
    named = shown.task is None or task.comm == shown.task
    return named and (shown.pids is None or task.pid in shown.pids or task.tgid in shown.pids)


def _timeline(recording: Recording, shown: Shown) -> Iterator[str]:
    from nettax.report import timeline

    vector = None if shown.vector is None else VECTORS.index(shown.vector)
    choice = timeline.Choice(shown.pids, shown.task, vector, shown.head, shown.tail)
    if shown.form == "json":
        yield from (f"{line}\n" for line in timeline.json_lines(recording, choice))
    elif shown.form == "csv":
        yield from timeline.csv_text(recording, choice)
    else:
        yield from timeline.text(recording, choice)
