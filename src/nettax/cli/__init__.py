"""The command line: one module per verb, imported only when the verb is used."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, NoReturn

import click

from nettax.cli.verbs import Verbs
from nettax.errors import NettaxError

# Help texts stand here, so that `nettax --help` imports no verb.
VERBS = {
    "stat": "Who paid for the network, over an interval or a command.",
    "top": "The same, live: tasks, CPUs, containers and virtual machines.",
    "export": "The same, always on: metrics for Prometheus.",
    "record": "Each interrupt, softirq, poll and switch, into a file.",
    "report": "What a recording tells: victims, bursts, a timeline; perf.data and trace.dat, too.",
    "load": "Load a server: who was the limit, and what a request cost whom.",
    "serve": "Something to load: reference servers, and others by their recipes.",
    "soak": "Hours of load and rude clients: leaks, errors by side, drift.",
    "canary": "What a program of known speed loses on a CPU, by its own clock.",
    "demo": "See it: what top says a program got, and what it got.",
    "run": "Experiments by name: a question, a table, a plot, what it means.",
    "trace": "How long kernel functions take, what they call, why one cannot be traced.",
    "lab": "Another kernel to try things on: in an emulated machine, with this host's files.",
    "kmod": "A server inside the kernel, to measure what such servers cost.",
    "doctor": "What this host can measure, what not, and what would help.",
    "undo": "Undo what a killed nettax left on this host.",
}


EXAMPLES = """
\b
Examples:
  nettax doctor              what can be measured here
  nettax stat -d 10          who paid for the network in ten seconds
  nettax stat -- make -j4    what a command was billed, and what it got
  nettax top                 the same, live
"""


class _Verbs(Verbs):
    """The verbs of nettax itself."""

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in VERBS and ctx.resilient_parsing:  # Tab
            from nettax.cli.completion import offering

            return offering(name, lambda: self.imported(name))
        return super().get_command(ctx, name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # `nettax … | head`; click would end with 1
            _write_no_more()
            ctx.exit(128 + signal.SIGPIPE)


def _version(context: click.Context, option: click.Parameter, asked: bool) -> None:
    if not asked or context.resilient_parsing:
        return
    from nettax.experiment.about import about

    first, *facts = about()
    click.echo(" ".join(first))
    for name, what in facts:
        click.echo(f"  {name + ':':<16}{what}")
    context.exit()


@click.group(
    cls=_Verbs,
    package=__name__,
    verbs=VERBS,
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version, and what a bug report needs with it.",
)
@click.pass_context
def cli(context: click.Context) -> None:
    """The CPU bill of networking: who paid, for whom, and what it cost.

    Linux processes packets in the context of whatever runs when they arrive, and bills that
    process for it. nettax tells what was billed, what was really the process's own, and what
    was taken from it.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(2)
    if context.invoked_subcommand != "undo":
        _tidy_up()


def _tidy_up() -> None:
    """Undo what a killed nettax left; with nothing to undo, one look at a directory."""
    from nettax.host import recover

    undone = recover()
    for line in (*(f"undone: {change}" for change in undone.changes), *undone.problems):
        click.echo(f"nettax: {line}", err=True)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line. What goes wrong is told in its own words, with its exit code."""
    try:
        sys.exit(cli.main(arguments, prog_name="nettax", standalone_mode=False))
    except NettaxError as error:
        _fail(str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:  # its message is the help
        sys.stderr.write(f"{error.format_message()}\n")
        sys.exit(error.exit_code)
    except click.UsageError as error:
        hint = f" ({error.ctx.command_path} --help)" if error.ctx else ""
        _fail(error.format_message() + hint, error.exit_code)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except click.Abort:
        sys.exit(128 + signal.SIGINT)
    except OSError as error:  # a full disk, say
        _write_no_more()
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}", 1)


def _fail(message: str, code: int) -> NoReturn:
    sys.stderr.write(f"nettax: {message}\n")
    sys.exit(code)


def _write_no_more() -> None:
    """What standard output would not take is dropped; else the interpreter tries once more."""
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
