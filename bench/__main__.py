"""``python -m bench [PART …]``: measure, and print tables of ratios and intervals."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import click

from bench import (
    compare_tools,
    exact,
    export,
    lab,
    load_engines,
    own_cost,
    reading,
    record,
    replay,
    report,
    servers,
    startup,
    top,
)
from nettax.experiment.environment import environment
from nettax.host import recover

SCHEMA = "nettax.bench/1"

Part = tuple[Callable[..., Any], Callable[[Any], str]]
PARTS: dict[str, Part] = {
    "startup": (startup.start_up, startup.text),
    "reading": (reading.reading_cost, reading.text),
    "record": (record.record_cost, record.text),
    "replay": (replay.replay_cost, replay.text),
    "report": (report.report_cost, report.text),
    "top": (top.top_cost, top.text),
    "load-engines": (load_engines.load_engines, load_engines.text),
    "servers": (servers.servers, servers.text),
    "export": (export.export_cost, export.text),
    "lab": (lab.boots, lab.text),
    "exact": (exact.alike, exact.text),
    "own-cost": (own_cost.own_cost, own_cost.text),
    "compare": (compare_tools.compare_tools, compare_tools.text),
}


def _plain(value: Any) -> Any:
    """What json cannot do by itself: dataclasses, in whatever holds them."""
    return asdict(value)


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
@click.option("--repeat", "-r", type=click.IntRange(min=6), help="Rounds, not each part's own.")
@click.option("--json", "as_json", is_flag=True, help="One document on standard output.")
def main(parts: tuple[str, ...], repeat: int | None, as_json: bool) -> None:
    """What nettax costs. Takes about half an hour, on two CPUs that should do nothing else."""
    recover()
    host = environment()
    results: dict[str, Any] = {}
    if not as_json:
        click.echo(f"{host.date}  Linux {host.kernel}  {host.cpu_model} {host.online_cpus}")
    for name in parts or PARTS:
        run, text = PARTS[name]
        arguments = {} if repeat is None else {"repeats": repeat}
        results[name] = run(progress=lambda what: click.echo(f"… {what}", err=True), **arguments)
        if not as_json:
            click.echo("\n" + text(results[name]))
    if as_json:
        document = {"schema": SCHEMA, "environment": host, **results}
        json.dump(document, sys.stdout, default=_plain, indent=1)
        sys.stdout.write("\n")


if __name__ == "__main__":
    main(prog_name="python -m bench")
