"""`nettax undo`: by hand, what every start that changes the host does first."""

from __future__ import annotations

import sys

import click

from nettax.host import recover

EXAMPLES = """
\b
Examples:
  nettax undo  tidy up after a kill -9, without another run
"""


@click.command(epilog=EXAMPLES)
def command() -> None:
    """Undo what a killed nettax left on this host: namespaces, masks, cgroups, processes.

    What a running nettax has made is left alone. Exits with 1 if something could not be undone.
    """
    undone = recover()
    for change in undone.changes:
        click.echo(f"undone: {change}")
    for problem in undone.problems:
        click.echo(f"nettax: {problem}", err=True)
    if not undone.changes and not undone.problems:
        click.echo("nothing to undo")
    sys.exit(1 if undone.problems else 0)
