"""`nettax serve`: something to load, in the foreground."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn, get_args

import click

from nettax.cli.canary_watch import ending, within
from nettax.errors import NettaxError, UsageError
from nettax.host import spawn
from nettax.servers import KeepAlive, Protocol
from nettax.servers.recipes import RECIPES, recipe
from nettax.servers.server import MODELS, arguments

EXAMPLES = """
\b
Examples:
  nettax serve epoll --port 8080       HTTP/1.1, one thread
  nettax serve pool --threads 4 --protocol echo --port 7000
  nettax serve epoll --two-writes --no-nodelay --port 8080   the delayed-ACK plateau
  nettax serve sink --port 9000        datagrams, for load stream --udp --tool nettax
  nettax serve nginx --port 8080       others, as they are loaded here
  nettax load http http://127.0.0.1:8080/ --server -- nettax serve epoll --port 8080
"""
SINK = "sink"
LOOK_S = 0.2
"""Between two looks at whether another's server has ended by itself."""


@click.command(epilog=EXAMPLES)
@click.argument("name", type=click.Choice([*MODELS, SINK, *RECIPES]))
@click.option("--port", type=click.IntRange(0, 65535), help="Where it listens (any that is free).")
@click.option("--bind", default="127.0.0.1", metavar="ADDRESS", help="On which address (loopback).")
@click.option(
    "--program", type=click.Path(path_type=Path), help="Of another's server: where it is."
)
@click.option("--protocol", type=click.Choice(get_args(Protocol)), help="What it speaks (http).")
@click.option("--threads", type=click.IntRange(1, 1024), help="Of epoll and pool (1).")
@click.option("--backlog", type=click.IntRange(0, 65535), help="Of listen(2) (511).")
@click.option("--nodelay/--no-nodelay", default=None, help="TCP_NODELAY (set).")
@click.option("--cork", is_flag=True, default=None, help="TCP_CORK around each answer.")
@click.option("--two-writes", is_flag=True, default=None, help="Head and body in two writes.")
@click.option(
    "--keep-alive",
    type=click.Choice(get_args(KeepAlive)),
    help="Whether connections outlive an answer; asked: by the request's header only (on).",
)
@click.option("--max-requests", type=click.IntRange(min=0), help="Of a connection (0: no limit).")
@click.option("--body", type=click.IntRange(0, 1 << 40), help="Bytes of an answer's body (128).")
@click.option("--sleep-us", type=click.IntRange(0, 60_000_000), help="For each request (0).")
@click.option("--work-us", type=click.IntRange(0, 60_000_000), help="CPU time for each (0).")
@click.option("--idle", type=click.IntRange(1, 86400), help="Seconds of silence allowed (60).")
def command(name: str, port: int | None, bind: str, program: Path | None, **given: Any) -> None:
    """Run a server until it is told to end: a reference server, or another's by its recipe.

    epoll, threads (one for each connection) and pool are nettax's own, which print the port that
    they listen on. The options below --program are for them. sink takes datagrams, and tells the
    sender of load stream --udp --tool nettax which came.
    """
    options = {key: value for key, value in given.items() if value is not None}
    if name in MODELS:
        if program:
            raise UsageError("--program is for others' servers")
        renamed = {"body": "body_bytes", "idle": "idle_s"}
        options = {renamed.get(key, key): value for key, value in options.items()}
        words = arguments(name, port=port or 0, bind=bind, **options)
        _become(words, None)
    if options:
        raise UsageError(f"--{next(iter(options)).replace('_', '-')} is for reference servers")
    if name == SINK:
        if program:
            raise UsageError("--program is for others' servers")
        from nettax.load import udp

        _become(udp.sink(bind, port or 0), None)
    sys.exit(_other(name, bind, port, program))


def _other(name: str, bind: str, port: int | None, program: Path | None) -> int:
    """Run another's server, and return its exit code."""
    chosen = recipe(name)
    if port not in (None, chosen.port) and not chosen.any_port:
        raise UsageError(f"{name} listens on port {chosen.port}, and cannot be told otherwise.")
    path = chosen.find(program)
    home = path.parent if chosen.at_home else None
    click.echo(f"{name}: {chosen.note}", err=True)
    if not chosen.writes:
        _become(chosen.command(path, bind, port or chosen.port, Path()), home)
    with tempfile.TemporaryDirectory(prefix="nettax-") as scratch, ending() as ended:
        os.chmod(scratch, 0o755)  # noqa: PTH101, S103 (its workers may be another user)
        words = chosen.command(path, bind, port or chosen.port, Path(scratch))
        child = spawn(words, cwd=home)
        while child.poll() is None:
            if within(ended, LOOK_S):
                child.terminate()
                child.wait()
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _become(words: list[str], home: Path | None) -> NoReturn:
    """Go on as a server: nothing of nettax stays beside it."""
    try:
        if home:
            os.chdir(home)
        os.execv(words[0], words)  # noqa: S606
    except OSError as error:
        raise NettaxError(f"cannot run the server {words[0]}: {error.strerror}.") from None
