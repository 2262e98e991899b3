"""The command line: one module per verb, imported only when the verb is used."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from nettax.errors import NettaxError
from nettax.version import __version__

# Help texts stand here, so that `nettax --help` imports no verb.
VERBS = {
    "stat": "Who paid for the network, over an interval or a command.",
    "canary": "What a program of known speed loses on a CPU, by its own clock.",
    "demo": "See it: what top says a program got, and what it got.",
    "doctor": "What this host can measure, what not, and what would help.",
    "undo": "Undo what a killed nettax left on this host.",
}


class Verbs(click.Group):
    """A group whose commands are modules of this package."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"nettax.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="nettax %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """The CPU bill of networking: who paid, for whom, and what it cost.

    Linux processes packets in the context of whatever runs when they arrive, and bills that
    process for it. nettax tells what was billed, what was really the process's own, and what
    was taken from it.
    """
    if context.invoked_subcommand != "undo":
        _tidy_up()


def _tidy_up() -> None:
    """Undo what a killed nettax left; with nothing to undo, one look at a directory."""
    from nettax.host import recover

    undone = recover()
    for line in (*(f"undone: {change}" for change in undone.changes), *undone.problems):
        click.echo(f"nettax: {line}", err=True)


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; a `NettaxError` is told in its own words, with its exit code."""
    try:
        return cli(arguments, prog_name="nettax")
    except NettaxError as error:
        sys.stderr.write(f"nettax: {error}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `nettax … | head`
        sys.stderr.close()
        sys.exit(141)
