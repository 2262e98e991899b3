"""`nettax load`: a load tool on a server, what a request cost whom, and who was the limit."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import click

from nettax.cli.load_rate import RATE, Rate
from nettax.cli.progress import progress
from nettax.errors import UsageError
from nettax.experiment.load import LoadRun, run
from nettax.experiment.load_compare import compare
from nettax.experiment.load_kmod import found_in_kernel
from nettax.experiment.load_target import Target, found, own_network, started
from nettax.host import Host
from nettax.kernel import cpus as cpu_lists
from nettax.kernel.features import require_host_pids
from nettax.lab import kmod
from nettax.load.tool import Job, Kind, Tool
from nettax.load.tools import tools
from nettax.report import load as report

EXAMPLES = """
\b
Examples:
  nettax load http http://127.0.0.1:8080/           wrk on a server that runs
  nettax load http URL --server -- ./server 8080    one that is started for it
  nettax load http URL --tool ab,wrk,h2load -r 6    interleaved, as ratios
  nettax load http URL -c 64 -t 2 -C 0 --server-cpu 1 --server -- nginx -g 'daemon off;'
  nettax load echo 127.0.0.1:7000 --burst -c 1000   connect and echo, timed apart
  nettax load echo 127.0.0.1:11111 --tool sockperf --server -- sockperf server --tcp -p 11111
  nettax load http URL --rate 2000 --poisson        an open loop: what queues is seen
  nettax load stream 127.0.0.1:5201 --server -- iperf3 -s
  nettax load stream 127.0.0.1:9000 --udp --tool nettax --bytes 64 --rate 200kpps
                                                    datagrams to nettax serve sink --port 9000
  nettax load http 127.0.0.1:8081 --server-kmod     a server in the kernel, nettax kmod
"""
DEFAULT: dict[Kind, str] = {"http": "wrk", "echo": "nettax", "stream": "iperf3"}
OFFERS: dict[Kind, tuple[str, ...]] = {
    "http": ("nettax",),
    "echo": ("nettax", "sockperf"),
    "stream": ("iperf3", "nettax", "sockperf"),
}
"""Which tools offer a rate."""


@click.command(epilog=EXAMPLES)
@click.argument("kind", type=click.Choice(["http", "echo", "stream"]))
@click.argument("where", metavar="URL|HOST:PORT")
@click.option(
    "--tool",
    "names",
    metavar="TOOL,…",
    help="http: wrk, ab, h2load, htstress, nettax; echo: nettax, sockperf, netperf; "
    "stream: iperf3, netperf, sockperf, nettax.",
)
@click.option("-c", "--connections", type=click.IntRange(1, 60_000), help="At once (16; else 1).")
@click.option("-t", "--threads", type=click.IntRange(1, 1024), default=1, help="Of the tool (1).")
@click.option(
    "-d", "--duration", type=click.IntRange(1, 86_400), default=5, help="Seconds a run (5)."
)
@click.option("-r", "--repeat", type=click.IntRange(1, 1000), default=1, help="Runs of a tool (1).")
@click.option("--seed", type=int, help="Repeat the order of earlier runs.")
@click.option("--close", is_flag=True, help="http: a connection for each request.")
@click.option("--udp", is_flag=True, help="echo, stream: UDP, not TCP.")
@click.option("--bytes", "size", type=click.IntRange(1, 1 << 20), help="echo, stream: a message.")
@click.option(
    "--rate",
    type=RATE,
    help="Offered, whatever comes back: 500, 20k requests/s; stream --udp: 100M bits/s, 200kpps.",
)
@click.option("--poisson", is_flag=True, help="--rate: due as independent users come.")
@click.option("--burst", is_flag=True, help="echo: all connections at once, timed apart.")
@click.option("--rounds", type=click.IntRange(0, 10_000), help="--burst: echoes on each (10).")
@click.option("-C", "--cpu", metavar="CPUS", help="Where the tool may run: 0,2-5.")
@click.option("--server-cpu", metavar="CPUS", help="Where a server that is started may run.")
@click.option("--server", is_flag=True, help="Start the command after -- as the server.")
@click.option("--alone", is_flag=True, help="--server: both in a network namespace of their own.")
@click.option("--server-kmod", is_flag=True, help="The server is in the kernel: nettax kmod's.")
@click.option("--module", metavar="NAME", help="--server-kmod: another module's.")
@click.option("-p", "--pid", type=click.IntRange(min=1), help="The process of one that runs.")
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Where the server listens, if not there."
)
@click.option("--json", "as_json", is_flag=True, help="One document, every run in it.")
@click.argument("words", nargs=-1, metavar="[-- COMMAND …]", type=click.UNPROCESSED)
def command(
    kind: Kind,
    where: str,
    names: str | None,
    connections: int | None,
    threads: int,
    duration: int,
    repeat: int,
    seed: int | None,
    close: bool,
    udp: bool,
    size: int | None,
    rate: Rate | None,
    poisson: bool,
    burst: bool,
    rounds: int | None,
    cpu: str | None,
    server_cpu: str | None,
    server: bool,
    alone: bool,
    server_kmod: bool,
    module: str | None,
    pid: int | None,
    port: int | None,
    as_json: bool,
    words: tuple[str, ...],
) -> None:
    """Load a server; tell who was the limit, and what a request cost in CPU time, and where.

    The tool and the server each run in a cgroup of their own, with the ledger beside them. Without
    a command for the server, it is what listens at the port already, --pid, or --server-kmod's
    threads and work items. Each run ends with
    a verdict: who was at the limit, or why the figures do not mean what they seem to.
    """
    job = _job(kind, where, connections, threads, duration, close, udp, size, rate, poisson)
    if server != bool(words):
        raise UsageError("a server is started by --server -- COMMAND: both or neither")
    if (server, server_kmod, pid is not None).count(True) > 1:
        raise UsageError("--server, --server-kmod and --pid exclude each other")
    if module and not server_kmod:
        raise UsageError("--module does nothing without --server-kmod: add it")
    for option, given in (("--server-cpu", server_cpu is not None), ("--alone", alone)):
        if given and not server:
            raise UsageError(f"{option} does nothing without --server -- COMMAND: add it")
    if burst and (kind != "echo" or udp or names or rate or repeat > 1):
        raise UsageError("--burst is one burst of TCP by nettax itself: load echo, and no --tool")
    if rounds is not None and not burst:
        raise UsageError("--rounds does nothing without --burst: add it")
    chosen = () if burst else _tools(job, names)
    cpus = None if cpu is None else cpu_lists.select(cpu)
    require_host_pids()
    with ExitStack() as stack:
        host = stack.enter_context(Host())
        netns = own_network(host) if alone else None
        by_tcp = any(tool.meets_by_tcp for tool in chosen)
        target = stack.enter_context(
            _in_kernel(job, port or job.port, module)
            if server_kmod
            else _server(host, job, port or job.port, words, server_cpu, netns, pid, by_tcp)
        )
        if burst:
            from nettax.cli.load_burst import show_burst

            turns = 10 if rounds is None else rounds
            place = (netns, target.pid)
            show_burst(job.host, job.port, job.connections, turns, size, cpus, as_json, *place)
            return
        step = progress("running")

        def once(tool: Tool) -> LoadRun:
            seconds = _seconds(tool, job)
            return run(host, tool, job, target, cpus=cpus, netns=netns, progress=seconds)

        if len(chosen) == 1 and repeat == 1:
            result = once(chosen[0])
            step(1, 1)
            click.echo(
                json.dumps(report.document(result), indent=1) if as_json else report.text(result)
            )
            return
        results = compare(chosen, repeat, duration, once, seed=seed, progress=step)
    if as_json:
        click.echo(json.dumps(report.comparison_document(results), indent=1))
    else:
        click.echo(report.comparison_text(results))


def _tools(job: Job, names: str | None) -> tuple[Tool, ...]:
    offered = bool(job.rate) and job.kind == "http"
    chosen = tools(job.kind, names or ("nettax" if offered else DEFAULT[job.kind]))
    if len(chosen) > 1 and job.kind != "http":
        raise UsageError(f"each tool of load {job.kind} has a server of its own: name one tool")
    if job.threads > 1 and all(tool.one_thread for tool in chosen):
        raise UsageError(f"{chosen[0].name} has one thread: -t does nothing with it, leave it out")
    for tool in chosen:
        if job.rate and tool.name not in OFFERS[job.kind]:
            able = " or ".join(OFFERS[job.kind])
            raise UsageError(f"{tool.name} takes no rate for load {job.kind}: --tool {able} for it")
        if job.poisson and tool.name != "nettax":
            raise UsageError(f"{tool.name} has its own times: --poisson is for --tool nettax")
    return chosen


def _job(
    kind: Kind,
    where: str,
    connections: int | None,
    threads: int,
    duration: int,
    close: bool,
    udp: bool,
    size: int | None,
    rate: Rate | None,
    poisson: bool,
) -> Job:
    for option, given, needed in (
        ("--close", close, ("http",)),
        ("--udp", udp, ("echo", "stream")),
        ("--bytes", size is not None, ("echo", "stream")),
    ):
        if given and kind not in needed:
            raise UsageError(f"{option} does nothing with load {kind}: leave it out")
    if rate is not None and kind == "stream" and not udp:
        raise UsageError("--rate does nothing with a TCP stream: leave it out, or add --udp")
    if rate is not None and rate.packets and kind != "stream":
        raise UsageError("--rate in pps is of a stream's datagrams: give requests a second")
    if poisson and (rate is None or kind == "stream"):
        raise UsageError("--poisson is of requests at a rate: it takes --rate, and no stream")
    host, port, path = _address(kind, where)
    offered = None
    if rate is not None:
        offered = rate.of_stream(size) if kind == "stream" else rate.value
    return Job(
        kind=kind,
        host=host,
        port=port,
        path=path,
        connections=connections or (16 if kind == "http" else 1),
        threads=threads,
        duration_s=duration,
        keep_alive=not close,
        protocol="udp" if udp else "tcp",
        message_bytes=size,
        rate=offered,
        poisson=poisson,
    )


def _address(kind: Kind, where: str) -> tuple[str, int, str]:
    """Host, port and path.

    :raises UsageError: they are not there.
    """
    text = where if "://" in where else f"//{where}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise UsageError(f"{where!r} is no address: give http://127.0.0.1:8080/.") from None
    if parts.scheme not in (("http", "") if kind == "http" else ("",)):
        scheme = "http://" if kind == "http" else ""
        raise UsageError(f"{where!r} is not for load {kind}: it takes {scheme}HOST:PORT")
    if not parts.hostname or (port is None and kind != "http"):
        raise UsageError(f"{where!r} has no port: give 127.0.0.1:8080")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.hostname, port or 80, path


@contextmanager
def _server(
    host: Host,
    job: Job,
    port: int,
    words: tuple[str, ...],
    server_cpu: str | None,
    netns: str | None,
    pid: int | None,
    by_tcp: bool,
) -> Iterator[Target]:
    protocol = "tcp" if by_tcp else job.protocol
    if not words:
        yield found(port, pid=pid, protocol=protocol)
        return
    cpus = None if server_cpu is None else cpu_lists.select(server_cpu)
    with started(host, words, port, protocol=protocol, cpus=cpus, netns=netns) as target:
        yield target


@contextmanager
def _in_kernel(job: Job, port: int, module: str | None) -> Iterator[Target]:
    if job.protocol != "tcp":
        raise UsageError("the server in the kernel speaks TCP: leave out --udp")
    yield found_in_kernel(job.kind, port, module or kmod.NAME)


def _seconds(tool: Tool, job: Job) -> Callable[[float], None]:
    """Tell the seconds of a run, where somebody watches."""
    if not sys.stderr.isatty():
        return lambda seconds: None

    def show(seconds: float) -> None:
        sys.stderr.write(f"\r\033[K{tool.name}: {seconds:.0f} of {job.duration_s} s")
        sys.stderr.flush()

    return show
