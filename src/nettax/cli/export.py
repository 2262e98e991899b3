"""`nettax export`: the ledger as metrics for Prometheus."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from ipaddress import ip_address
from pathlib import Path

import click

from nettax.errors import NettaxError, UsageError
from nettax.export.exporter import Exporter
from nettax.export.guard import Gate
from nettax.export.notify import notify
from nettax.export.privileges import account, drop
from nettax.export.server import BACKLOG, Server
from nettax.export.snapshot import Source
from nettax.export.webconfig import WebConfig
from nettax.export.webconfig import read as read_webconfig
from nettax.kernel import cpus as cpu_lists
from nettax.ledger import Ledger, Toll

# Prometheus' own range of exporters' ports, 9100 to 9999, is full; its list goes on from 10000.
PORT = 10924
REAP_S = 1.0
EXAMPLES = """
\b
Examples:
  nettax export                            http://127.0.0.1:10924/metrics
  nettax export --user nobody              as root, but only to load
  nettax export --listen '[::]:10924' --web.config.file web.yml
  nettax export --tasks 20 --max-groups 50
"""


@click.command(epilog=EXAMPLES)
@click.option(
    "--listen",
    "addresses",
    metavar="ADDR:PORT",
    multiple=True,
    default=[f"127.0.0.1:{PORT}"],
    show_default=True,
    help="Answer here; may be given several times. An IPv6 address stands in brackets.",
)
@click.option(
    "--web.config.file",
    "web_config",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TLS and passwords, in the format that Prometheus' exporters share.",
)
@click.option("-C", "--cpu", metavar="CPUS", help="These CPUs only: 0,2-5.")
@click.option(
    "--max-groups",
    metavar="N",
    type=click.IntRange(0, 100_000),
    default=200,
    show_default=True,
    help="Containers, units and cgroups with series of their own; the rest are one, other.",
)
@click.option(
    "--tasks",
    metavar="N",
    type=click.IntRange(0, 1000),
    default=0,
    help="Also so many tasks, those from which most was taken lately (none).",
)
@click.option("--histograms/--no-histograms", default=True, help="Run times, log2 (on).")
@click.option("--time-programs", is_flag=True, help="Have the kernel time nettax's own programs.")
@click.option("--user", metavar="NAME", help="Become this user once all is loaded.")
def command(
    addresses: Sequence[str],
    web_config: Path | None,
    cpu: str | None,
    max_groups: int,
    tasks: int,
    histograms: bool,
    time_programs: bool,
    user: str | None,
) -> None:
    """The ledger, always on, as metrics for Prometheus at /metrics.

    The kernel counts, a scrape reads, and between scrapes nothing happens (with --tasks, room is
    made for new ones once a second). When all is loaded, every privilege is dropped that reading
    does not take. Ends at Ctrl-C or SIGTERM.
    """
    config = read_webconfig(web_config) if web_config else WebConfig()
    gate = Gate(config, _say)
    who = account(user) if user else None
    chosen = None if cpu is None else cpu_lists.select(cpu)
    with ExitStack() as stack:
        sockets = [stack.enter_context(_listening(address)) for address in addresses]
        ledger = stack.enter_context(
            Ledger(
                cpus=chosen,
                histograms=histograms,
                time_programs=time_programs,
                toll=Toll.load(),
                by_cgroup=True,
                keep_tasks=bool(tasks),
            )
        )
        source = Source(ledger, max_groups, tasks)
        standing = drop(who, source.snapshot)
        for each in sockets:
            _warn(each, config)
        refused: Counter[str] = Counter()
        exporter = Exporter(source.snapshot, refused, _say)
        server = Server(sockets, exporter.answer, gate, refused)
        urls = " and ".join(_url(each, config) for each in sockets)
        held = ", ".join(standing.capabilities) or "none"
        ready = f"metrics at {urls}; running as uid {standing.uid}, capabilities: {held}"
        asyncio.run(_serve(server, ledger if tasks else None, ready))


async def _serve(server: Server, reaped: Ledger | None, ready: str) -> None:
    """Say that it is ready, and answer until a signal comes."""
    serving = asyncio.create_task(server.serve())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, serving.cancel)
    reaping = loop.create_task(_reap(reaped)) if reaped else None
    _say(ready)
    notify("READY=1")
    try:
        with suppress(asyncio.CancelledError):
            await serving
    finally:
        if reaping:
            reaping.cancel()
        notify("STOPPING=1")


async def _reap(ledger: Ledger) -> None:
    """Make room for new tasks: those that ended keep their accounts until they are read."""
    while True:
        await asyncio.sleep(REAP_S)
        ledger.reap()


def _listening(text: str) -> socket.socket:
    """A socket that listens.

    :raises UsageError: it is no address with a port
    :raises NettaxError: it cannot be had
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ip_address(host[1:-1] if bracketed else host)
        number = int(port) if port.isascii() and port.isdigit() else -1
    except ValueError:
        number = -1
    if not colon or not 0 <= number <= 65535 or (address.version == 6) != bracketed:
        raise UsageError(
            f"--listen takes an address and a port, such as 127.0.0.1:{PORT} or [::1]:{PORT}; "
            f"not {text!r}"
        )
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((str(address), number))
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise NettaxError(f"cannot listen on {text}: {error.strerror}") from error
    return listening


def _warn(listening: socket.socket, config: WebConfig) -> None:
    address = ip_address(listening.getsockname()[0])
    certified = config.tls is not None and config.tls.client_auth == ssl.CERT_REQUIRED
    if not (address.is_loopback or config.users or certified):
        _say(
            f"warning: anybody who reaches {address} may read these metrics, names of\n"
            "containers and tasks among them: set passwords by --web.config.file"
        )


def _url(listening: socket.socket, config: WebConfig) -> str:
    host, port = listening.getsockname()[:2]
    host = f"[{host}]" if ":" in host else host
    return f"http{'s' if config.tls else ''}://{host}:{port}/metrics"


def _say(text: str) -> None:
    click.echo(f"nettax: {text}", err=True)
