"""`nettax kmod`: the server in the kernel, on one's own host."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from nettax.lab import kmod
from nettax.report.table import table

WARNING = """\
This loads code into the kernel of this host: a fault in it can crash or corrupt the whole host,
its connections have no file limits and are in no cgroup, and the kernel is marked as tainted until
it boots again. A test machine is the place for it; in the lab nothing is at risk:
nettax lab vm run --module kmod -- COMMAND"""
EXAMPLES = """
\b
Examples:
  nettax kmod build
  nettax kmod load mode=workqueue protocol=http port=8081
  nettax kmod status --json
  nettax kmod unload
  ip netns exec blue nettax kmod load   listens in that namespace
"""


@click.group(epilog=EXAMPLES)
def command() -> None:
    """An echo and HTTP server inside the kernel, to measure what such servers cost."""


@command.command()
def build() -> None:
    """Build it for the kernel that runs, and print the module's path."""
    click.echo(kmod.built(_say))


@command.command()
@click.option("-y", "--yes", is_flag=True, help="Do not ask: what loading means is known.")
@click.argument("parameters", nargs=-1, metavar="[NAME=VALUE …]")
def load(yes: bool, parameters: Sequence[str]) -> None:
    """Load it, with parameters, to listen until it is unloaded.

    \b
    mode        kthread, workqueue or workqueue-unbound (kthread)
    protocol    echo or http (echo)
    address     where to listen (127.0.0.1)
    port        0 takes a free one (8081)
    max_active  work items at a time (the kernel's default)
    and more    backlog, nodelay, cork, rcvbuf, reuseaddr, work_us, timeout_ms
    """
    for word in parameters:
        if "=" not in word:
            raise click.UsageError(f"{word!r} is no parameter: give it as NAME=VALUE.")
    kmod.check_loadable()
    module = kmod.built(_say)
    click.echo(WARNING, err=True)
    if not yes:
        try:
            click.confirm("Load it?", abort=True, err=True)
        except click.Abort:
            click.echo(err=True)  # the question's line has no end yet
            _say("it was not loaded: nobody said yes. Without asking: --yes")
            raise
    kmod.load(module, parameters)


@command.command()
def unload() -> None:
    """End its connections and take it out of the kernel."""
    kmod.unload()


@command.command()
@click.option("--json", "as_json", is_flag=True, help="One document.")
def status(as_json: bool) -> None:
    """How it was loaded, and its counters."""
    loaded = kmod.status()
    if as_json:
        document = {
            "schema": "nettax.kmod/1",
            "loaded": loaded is not None,
            "parameters": dict(loaded.parameters) if loaded else None,
            "stats": dict(loaded.stats) if loaded and loaded.stats is not None else None,
        }
        click.echo(json.dumps(document, indent=1))
    elif loaded is None:
        click.echo("not loaded")
    else:
        rows = [[name, value] for name, value in loaded.parameters.items()]
        click.echo(table(["parameter", "value"], rows))
        if loaded.stats is None:
            _say("its counters are in debugfs, which this user cannot read")
        else:
            rows = [[name, str(value)] for name, value in loaded.stats.items()]
            click.echo("\n" + table(["counter", "value"], rows))


def _say(text: str) -> None:
    click.echo(f"nettax: {text}", err=True)
