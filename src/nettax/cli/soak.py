"""`nettax soak`: hours of load and rude clients, and what that does to a server."""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from nettax.cli.canary_watch import ending, within
from nettax.cli.progress import progress
from nettax.errors import NettaxError, UsageError
from nettax.experiment import soak_journal
from nettax.experiment.environment import environment
from nettax.experiment.soak import soak
from nettax.experiment.soak_findings import findings
from nettax.experiment.soak_journal import Plan
from nettax.report.soak import document, text
from nettax.servers.server import MODELS

EXAMPLES = """
\b
Examples:
  nettax soak http://127.0.0.1:8081/ -d 8h             a server that runs
  nettax soak echo://127.0.0.1:7000 -- ./server 7000   one that it starts and ends
  nettax soak epoll -d 10m                             a reference server
  nettax soak --resume nettax-soak.jsonl               go on after a kill
  nettax soak --report nettax-soak.jsonl               what there is so far
"""
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> float:
    """A time: 90, 90s, 10m, 8h or 2d."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    value = float(found[1]) * UNITS[found[2]] if found else 0.0
    if not 1 <= value <= 90 * 86400:
        raise click.BadParameter(f"{text!r} is no time: give 90s, 10m, 8h or 2d")
    return value


@click.command(epilog=EXAMPLES)
@click.argument("words", nargs=-1, metavar="[TARGET [-- COMMAND …]]", type=click.UNPROCESSED)
@click.option("-d", "--duration", type=seconds, default="10m", help="How long: 90s, 10m, 8h (10m).")
@click.option("-I", "--interval", type=seconds, default="5s", help="Between two samples (5s).")
@click.option(
    "--rate", type=click.FloatRange(0.1, 1e6), default=100.0, help="Requests a second (100)."
)
@click.option(
    "-c", "--connections", type=click.IntRange(1, 10_000), default=8, help="That carry them (8)."
)
@click.option("--abort", type=click.FloatRange(0, 1000), default=5.0, help="Clients a second … (5)")
@click.option("--reset", type=click.FloatRange(0, 1000), default=5.0, help="that reset (5),")
@click.option("--half", type=click.FloatRange(0, 1000), default=5.0, help="send a half (5),")
@click.option("--stall", type=click.FloatRange(0, 1000), default=1.0, help="or stall (1),")
@click.option("--stall-time", type=seconds, default="10s", help="for so long (10s).")
@click.option("--bytes", "size", type=click.IntRange(1, 16384), help="Of an echo (256).")
@click.option("-p", "--pid", type=click.IntRange(min=1), help="The server's process, if not found.")
@click.option(
    "--protocol", type=click.Choice(["http", "echo"]), help="Of a reference server (http)."
)
@click.option("--leak", type=click.IntRange(0, 1 << 20), help="Bytes that it loses a connection.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The journal.")
@click.option("--resume", type=click.Path(path_type=Path), help="Go on with a journal.")
@click.option("--report", "only", type=click.Path(path_type=Path), help="Of a journal, no run.")
@click.option("--json", "as_json", is_flag=True, help="One document on standard output.")
def command(
    words: tuple[str, ...],
    duration: float,
    interval: float,
    rate: float,
    connections: int,
    abort: float,
    reset: float,
    half: float,
    stall: float,
    stall_time: float,
    size: int | None,
    pid: int | None,
    protocol: str | None,
    leak: int | None,
    output: Path | None,
    resume: Path | None,
    only: Path | None,
    as_json: bool,
) -> None:
    """Load a server for hours, with clients that leave, reset, send halves and stall beside it.

    TARGET is http://HOST:PORT/PATH, echo://HOST:PORT, or a reference server: epoll, threads, pool.
    A command behind it is started as the server, and ended; else it runs already.

    Told: growth of memory and descriptors, with its interval; errors by errno and by side;
    TIME-WAIT; drift of latency. A server's own errors are what the kernel saw its sends, receives
    fail with, and what a started command prints. Each sample goes to a journal
    (nettax-soak.jsonl): the run ends cleanly at any time, and --resume goes on after a kill.
    """
    target, *server = words or (None,)
    if sum(x is not None for x in (target, resume, only)) != 1:
        raise UsageError("give one of TARGET, --resume JOURNAL and --report JOURNAL")
    path = only or resume or output or Path("nettax-soak.jsonl")
    failure: NettaxError | None = None
    if only is None:
        if resume:
            plan = soak_journal.read(resume).plan
        else:
            assert target is not None  # noqa: S101
            rude = {"abort": abort, "reset": reset, "half": half, "stall": stall}
            options: dict[str, Any] = {} if leak is None else {"leak_bytes": leak}
            spoken = protocol or ("echo" if target.startswith("echo:") else "http")
            _check(target, server, pid, protocol, options)
            if size is not None and spoken != "echo":
                raise UsageError("--bytes is for an echo: leave it out")
            plan = Plan(
                target,
                spoken,
                duration,
                interval,
                rate,
                connections,
                rude,
                stall_time,
                server,
                pid,
                size or 256,
                options,
            )
        try:
            _run(plan, path, resume is not None)
        except UsageError:
            raise
        except NettaxError as error:  # the server ended, say: what there was until then
            if not path.exists():
                raise
            failure = error
    record = soak_journal.read(path)
    found = findings(record)
    click.echo(json.dumps(document(record, found), indent=1) if as_json else text(record, found))
    if failure:
        raise failure


def _check(
    target: str,
    server: list[str],
    pid: int | None,
    protocol: str | None,
    options: dict[str, Any],
) -> None:
    """Refuse options that would do nothing."""
    if target in MODELS:
        if server or pid:
            raise UsageError(f"{target} is a reference server, which nettax starts by itself")
        return
    if protocol or options:
        raise UsageError(f"--protocol and --leak are for reference servers: {', '.join(MODELS)}")
    if server and pid:
        raise UsageError("a command to start and --pid exclude each other")


def _run(plan: Plan, path: Path, resume: bool) -> None:
    about = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "environment": asdict(environment()),
    }
    show = progress("soaking, s")
    with ending() as ended:
        soak(
            plan,
            path,
            about,
            resume=resume,
            wait=lambda s: within(ended, s),
            progress=lambda done, of: show(int(done), int(of)),
        )
    show(1, 1)
    click.echo(f"journal: {path}", err=True)
