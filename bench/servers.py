"""What a server's habits cost, on the reference servers: delayed ACKs, connections, the queue.

Three small experiments, each condition on a server of its own, the requester in a closed loop; CPU
time is the server process's as it is billed, in ticks, over one window.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from nettax.experiment.burst import BurstRun, burst_run
from nettax.kernel import cpus, net_counters, proc_pid
from nettax.load.open_loop import OpenLoop, http_request
from nettax.report.table import count, table
from nettax.servers import serve
from nettax.servers.server import Options

__all__ = ["Row", "Servers", "servers", "text"]

WINDOW_S = 2.0
BURSTS = (1, 100, 1000)
CONNECTIONS = (1, 10, 100)
REQUEST = http_request("/", "127.0.0.1")
DELAYED_ACK: dict[str, Options] = {
    "one write": {"nodelay": False},
    "two writes": {"nodelay": False, "two_writes": True},
    "two, NODELAY": {"nodelay": True, "two_writes": True},
    "two, CORK": {"nodelay": False, "two_writes": True, "cork": True},
}
MODES: dict[str, Options] = {
    "kept": {},
    "10 each": {"max_requests": 10},
    "closed": {"keep_alive": "off"},
    "not asked for": {"keep_alive": "asked"},
}


@dataclass(frozen=True, slots=True)
class Row:
    """One condition at one number of connections."""

    name: str
    connections: int
    rate: float
    """Answers a second."""
    p50_ns: int | None
    opened: float
    """Connections for each answer."""
    server_ns: float
    """CPU time of the server for each answer."""
    delayed_acks: float
    """That the kernel sent, for each answer."""
    time_wait: int


@dataclass(frozen=True, slots=True)
class Servers:
    """All three experiments."""

    delayed_ack: tuple[Row, ...]
    modes: tuple[Row, ...]
    bursts: tuple[BurstRun, ...]


def _row(name: str, options: Options, connections: int) -> Row:
    client, server_cpu = cpus.online()[-2:]
    with serve("epoll", cpus=[server_cpu], **options) as server:
        loop = OpenLoop(
            "127.0.0.1", server.port, REQUEST, rate=0, duration_s=WINDOW_S,
            connections=connections, cpus=[client],
        )  # fmt: skip
        before = net_counters.counters()
        with loop as running:
            seen = running.finish()
        since = net_counters.difference(net_counters.counters(), before)
        stat = proc_pid.task_stat(server.pid)
        billed = stat.billed_ns if stat else 0
        waiting = net_counters.sockstat()["TCP.tw"]
    answers = max(1, seen.answered)
    return Row(
        name,
        connections,
        seen.answered * 1e9 / seen.wall_ns,
        seen.latency.quantile(0.5),
        seen.connects / answers,
        billed / answers,
        since["TcpExt.DelayedACKs"] / answers,
        waiting,
    )


def _burst(connections: int) -> BurstRun:
    client, server_cpu = cpus.online()[-2:]
    with serve("epoll", protocol="echo", backlog=128, cpus=[server_cpu]) as server:
        return burst_run("127.0.0.1", server.port, connections, cpus=[client])


def servers(repeats: int = 1, progress: Callable[[str], None] = lambda what: None) -> Servers:
    """Run all three, once; `repeats` is not for them."""
    del repeats
    rows: dict[str, list[Row]] = {"delayed-ack": [], "connection-mode": []}
    for part, conditions, numbers in (
        ("delayed-ack", DELAYED_ACK, CONNECTIONS),
        ("connection-mode", MODES, (10,)),
    ):
        for name, options in conditions.items():
            for connections in numbers:
                progress(f"{part}: {name}, {connections}")
                rows[part].append(_row(name, options, connections))
                time.sleep(0.1)  # what is closing closes
    bursts = []
    for connections in BURSTS:
        progress(f"echo-burst: {connections}")
        bursts.append(_burst(connections))
    return Servers(tuple(rows["delayed-ack"]), tuple(rows["connection-mode"]), tuple(bursts))


def _time(ns: int | None) -> str:
    if ns is None:
        return "·"
    return f"{ns / 1e6:.1f} ms" if ns >= 1_000_000 else f"{ns / 1000:.0f} µs"


def _rows(title: str, rows: tuple[Row, ...]) -> str:
    head = (
        *(title, "c", "answers/s", "p50", "connections each"),
        *("server µs each", "delayed ACKs each", "TIME-WAIT"),
    )
    return table(
        head,
        [
            (
                row.name,
                str(row.connections),
                count(row.rate),
                _time(row.p50_ns),
                f"{row.opened:.3f}",
                f"{row.server_ns / 1000:.1f}",
                f"{row.delayed_acks:.2f}",
                str(row.time_wait),
            )
            for row in rows
        ],
    )


def text(found: Servers) -> str:
    """Three tables."""
    head = ("echo-burst", "connect p50", "connect most", "echo p50", "retried", "overflows")
    bursts = [
        (
            str(len(run.burst.connections)),
            _time(run.burst.connect.quantile(0.5)),
            _time(run.burst.connect.quantile(1)),
            _time(run.burst.echo.quantile(0.5)),
            str(run.burst.retried),
            str(run.counters["TcpExt.ListenOverflows"]),
        )
        for run in found.bursts
    ]
    return "\n\n".join(
        (
            _rows("delayed-ack", found.delayed_ack),
            _rows("connection-mode", found.modes),
            table(head, bursts),
        )
    )
