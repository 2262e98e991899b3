"""`nettax report`: what a recording tells, whoever made it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from nettax.errors import MissingFeature, UsageError

if TYPE_CHECKING:
    from nettax.events.model import Recording

EXAMPLES = """
\b
Examples:
  nettax report nettax.events            victims and bursts
  nettax report --timeline perf.data     what perf recorded, a line an interrupt
  nettax report --chrome t.json FILE     for chrome://tracing or ui.perfetto.dev
"""


@click.command(epilog=EXAMPLES)
@click.option("--victims", is_flag=True, help="Who was interrupted, and for how long.")
@click.option("--bursts", is_flag=True, help="How network work came, with histograms.")
@click.option("--timeline", is_flag=True, help="A line for each interrupt, as it came.")
@click.option("-n", "--rows", type=click.IntRange(min=0), default=15, help="Tasks shown (15).")
@click.option("--hist", is_flag=True, help="Run times of hard IRQs, softirqs and polls, log2.")
@click.option("--json", "as_json", is_flag=True, help="A document; of the timeline, JSON lines.")
@click.option("--csv", "as_csv", is_flag=True, help="The victims, one a line.")
@click.option(
    "--chrome",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a trace for chrome://tracing and ui.perfetto.dev.",
)
@click.option(
    "--parquet",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write all events as a Parquet table.",
)
@click.option(
    "-o",
    "--output",
    type=click.File("w", lazy=False),
    default="-",
    help="Write here, not to stdout.",
)
@click.argument("file", type=click.Path(path_type=Path))
def command(
    victims: bool,
    bursts: bool,
    timeline: bool,
    rows: int,
    hist: bool,
    as_json: bool,
    as_csv: bool,
    chrome: Path | None,
    parquet: Path | None,
    output: TextIO,
    file: Path,
) -> None:
    """Tell who was interrupted, for how long and how, from a recording.

    Reads nettax's own recordings, perf.data, perf script's text, trace.dat and ftrace's text: the
    file's content tells which it is. Without a choice, it shows victims and bursts.
    """
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other")
    if as_csv and (bursts or timeline):
        raise UsageError("--csv is of the victims: leave --bursts and --timeline out")
    if timeline and (victims or bursts):
        raise UsageError("--timeline goes alone")
    try:
        from nettax.events.sniff import open_recording
    except ModuleNotFoundError as error:
        raise MissingFeature(
            f"{error.name} is missing, which recordings need: pip install 'nettax[events]'"
        ) from error
    exported = [path for path in (chrome, parquet) if path]
    chosen = victims or bursts or timeline or as_csv
    with open_recording(file) as recording:
        if chrome:
            from nettax.report import chrome_trace

            chrome_trace.write(recording, chrome)
        if parquet:
            from nettax.report import parquet as parquet_file

            parquet_file.write(recording, parquet)
        if timeline:
            _timeline(recording, output, as_json)
        elif chosen or not exported:
            both = not chosen
            _tables(recording, output, victims or both, bursts or both, rows, hist, as_json, as_csv)
        if recording.damage:
            sys.stderr.write(f"nettax: {file}: {len(recording.damage)} parts were not readable\n")


def _timeline(recording: Recording, output: TextIO, as_json: bool) -> None:
    from nettax.report import timeline

    for row in timeline.timeline(recording):
        output.write((json.dumps(row) if as_json else timeline.line(row)) + "\n")


def _tables(
    recording: Recording,
    output: TextIO,
    victims: bool,
    bursts: bool,
    rows: int,
    hist: bool,
    as_json: bool,
    as_csv: bool,
) -> None:
    documents, texts = {}, []
    if victims or as_csv:
        from nettax.experiment.replay import replayed
        from nettax.report import replay
        from nettax.report.interval import by_taken

        found = replayed(recording)
        tasks = by_taken(found.tasks)
        if as_csv:
            output.write(replay.tasks_csv(found, tasks))
            return
        if as_json:
            documents["victims"] = replay.document(found, tasks, recording)
        else:
            texts.append(replay.text(found, tasks, recording, rows, hist))
    if bursts:
        from nettax.events.bursts import bursts as count_bursts
        from nettax.report import bursts as burst_tables

        counted = count_bursts(recording)
        if as_json:
            documents["bursts"] = burst_tables.document(counted)
        else:
            texts.append(burst_tables.text(counted, histograms=not victims))
    if as_json:
        one = next(iter(documents.values()))
        both = {"schema": "nettax.report/1", **documents}
        output.write(json.dumps(both if len(documents) > 1 else one, indent=1) + "\n")
    else:
        output.write("\n\n".join(texts) + "\n")
