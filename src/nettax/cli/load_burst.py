"""`nettax load echo --burst`: many connections at once."""

from __future__ import annotations

import json
from collections.abc import Iterable

import click

from nettax.experiment.burst import burst_run
from nettax.report.burst import document, text

__all__ = ["show_burst"]


def show_burst(
    host: str,
    port: int,
    connections: int,
    rounds: int,
    message_bytes: int | None,
    cpus: Iterable[int] | None,
    as_json: bool,
    netns: str | None = None,
    pid: int | str = "self",
) -> None:
    """Run one and print it, with the counters of the network namespace of a process."""
    run = burst_run(
        host,
        port,
        connections,
        rounds=rounds,
        message_bytes=message_bytes or 13,
        cpus=cpus,
        netns=netns,
        pid=pid,
    )
    click.echo(json.dumps(document(run), indent=1) if as_json else text(run))
