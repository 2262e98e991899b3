"""`nettax run`: experiments by name."""

from __future__ import annotations

import json

import click

from nettax.errors import UsageError
from nettax.experiment.runs import EXPERIMENTS, run
from nettax.report.run import document, text
from nettax.report.table import table

EXAMPLES = """
\b
Examples:
  nettax run --list
  nettax run thread-vs-pool              tables, plots, and what they mean
  nettax run bound-vs-unbound --json     with what the tables were made from
  nettax run echo-burst --smoke          less of everything: does it work here?
"""


@click.command(epilog=EXAMPLES)
@click.option("--list", "as_list", is_flag=True, help="Which there are, and what they ask.")
@click.option("--smoke", is_flag=True, help="Less of everything; not for its figures.")
@click.option("--json", "as_json", is_flag=True, help="One document.")
@click.argument(
    "name", metavar="[EXPERIMENT]", required=False, type=click.Choice(list(EXPERIMENTS))
)
def command(as_list: bool, smoke: bool, as_json: bool, name: str | None) -> None:
    """Run an experiment: a question, a table, a plot, and what it means.

    Those about the server in the kernel boot guests of the lab, which count instructions; what
    cannot be told from there is said, and not printed.
    """
    if as_list:
        if name:
            raise UsageError("--list takes no experiment: leave one out")
        click.echo(table(["experiment", "asks"], EXPERIMENTS.items(), left=2))
        return
    if name is None:
        raise UsageError(f"name an experiment: {', '.join(EXPERIMENTS)}")
    outcome = run(name, smoke=smoke, progress=_say)
    found = document(name, outcome, smoke)
    click.echo(json.dumps(found, indent=1) if as_json else text(name, outcome))


def _say(what: str) -> None:
    click.echo(f"nettax: {what}", err=True)
