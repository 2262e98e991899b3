"""`nettax report`: what a recording tells, whoever made it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TextIO

import click

EXAMPLES = """
\b
Examples:
  nettax report nettax.events            victims and bursts
  nettax report --timeline perf.data     what perf recorded, a line an interrupt
"""


@click.command(epilog=EXAMPLES)
@click.option("--timeline", "as_timeline", is_flag=True, help="A line for each interrupt.")
@click.option("--json", "as_json", is_flag=True, help="JSON.")
@click.option(
    "-o",
    "--output",
    type=click.File("w", lazy=False),
    default="-",
    help="Write here, not to stdout.",
)
@click.argument("file", type=click.Path(exists=True, path_type=Path))
def command(as_timeline: bool, as_json: bool, output: TextIO, file: Path) -> None:
    """Tell who was interrupted, for how long and how, from a recording.

    Reads nettax's own recordings, perf.data, perf script's text, trace.dat and ftrace's text; the
    file's content tells which it is.
    """
    from nettax.events.sniff import open_recording
    from nettax.report import timeline

    with open_recording(file) as recording:
        if as_timeline:
            for row in timeline.timeline(recording):
                output.write((json.dumps(row) if as_json else timeline.line(row)) + "\n")
