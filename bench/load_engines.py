"""The load engines beside the tools that they are measured by: requests a second of client CPU.

Interleaved pairs of short runs, client and server each on a CPU of its own: echo against
sockperf's ping-pong on sockperf's own server, which takes our messages too, and its `under-load`
against a deep open loop; datagrams against iperf3's. The burst's echo time on one connection is
compared with half of what `sockperf --full-rtt` tells of its own, in time, not in rate.
"""

from __future__ import annotations

import json
import math
import os
import re
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.text import ratio
from nettax.errors import NettaxError
from nettax.experiment.estimate import Estimate, paired_ratio
from nettax.host import spawn
from nettax.kernel import cpus
from nettax.load.burst import burst
from nettax.load.open_loop import OpenLoop
from nettax.load.udp import udp
from nettax.report.table import table
from nettax.servers import serve

__all__ = ["Comparison", "load_engines", "text"]

ROUNDS = 8
WINDOW_S = 1.0
MESSAGE = 14
DATAGRAM = 64
# sockperf's header: number, flags (a client's message, which asks for a pong), length.
PING = struct.pack("!QHI", 1, 0b11, MESSAGE)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Ours over theirs: of rates a second of client CPU (or times), pair by pair."""

    name: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    unit: str

    @property
    def ratio(self) -> Estimate:
        """Above 1 where ours is more."""
        return paired_ratio(self.ours, self.theirs)


def _measured(command: list[str], cpu: int) -> tuple[str, float]:
    """What a command printed, and its CPU time in seconds."""
    process = spawn(command, cpus=[cpu], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout
    out = process.stdout.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    if process.returncode:
        raise NettaxError(f"{command[0]} failed: {out[-300:]}")
    return out, usage.ru_utime + usage.ru_stime


@contextmanager
def _listening(command: list[str], port: int, cpu: int) -> Iterator[None]:
    """A tool's server, once it takes TCP connections."""
    process = spawn(command, cpus=[cpu], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 5
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _sockperf(port: int, cpu: int, how: list[str]) -> tuple[float, float]:
    """Messages a second of its CPU, and its median round trip in µs."""
    command = ["sockperf", *how, "--tcp", "-i", "127.0.0.1", "-p", str(port)]
    out, cpu_s = _measured([*command, "-t", f"{WINDOW_S:.0f}", "-m", str(MESSAGE)], cpu)
    out = re.sub(r"\x1b\[[0-9;]*m", "", out)
    received = re.search(r"\[Total Run\].*ReceivedMessages=(\d+)", out)
    middle = re.search(r"percentile 50\.000 *= *([\d.]+)", out)
    if not received:
        raise NettaxError(f"sockperf printed no result: {out[-300:]}")
    # Where it sends all that it can, few answers are back in time for it to tell of theirs.
    return int(received[1]) / cpu_s, float(middle[1]) if middle else math.nan


def _ours(port: int, cpu: int, depth: int, rate: float) -> float:
    loop = OpenLoop(
        "127.0.0.1", port, PING, protocol="echo", rate=rate, depth=depth, duration_s=WINDOW_S,
        cpus=[cpu],
    )  # fmt: skip
    with loop as running:
        read = running.finish()
    return read.answered * 1e9 / read.cpu_ns


def _iperf3(port: int, cpu: int) -> float:
    command = ["iperf3", "-J", "-u", "-b", "0", "-l", str(DATAGRAM), "-c", "127.0.0.1"]
    out, cpu_s = _measured([*command, "-t", f"{WINDOW_S:.0f}", "-p", str(port)], cpu)
    return float(json.loads(out)["end"]["sum"]["packets"]) / cpu_s


def load_engines(
    repeats: int = ROUNDS, progress: Callable[[str], None] = lambda what: None
) -> tuple[Comparison, ...]:
    """Measure each pair so many times, in turns."""
    client, server = cpus.online()[-2:]
    ping: list[tuple[float, float]] = []
    flood: list[tuple[float, float]] = []
    middle: list[tuple[float, float]] = []
    datagrams: list[tuple[float, float]] = []
    port = _free_port()
    their_server = ["sockperf", "server", "--tcp", "-i", "127.0.0.1", "-p", str(port)]
    with (
        _listening(their_server, port, server),
        serve("epoll", protocol="echo", cpus=[server]) as echo,
    ):
        for done in range(repeats):
            progress(f"echo: {done + 1} of {repeats}")
            rate, round_trip = _sockperf(port, client, ["ping-pong", "--full-rtt"])
            here = burst(
                "127.0.0.1", echo.port, 1, rounds=10_000, message_bytes=MESSAGE, cpus=[client]
            )
            middle.append(((here.echo.quantile(0.5) or 0) / 1000, round_trip))
            ping.append((_ours(port, client, 1, 0), rate))
            rate, _ = _sockperf(port, client, ["under-load", "--mps=max", "--reply-every=1"])
            flood.append((_ours(port, client, 1024, 0), rate))
    port = _free_port()
    with _listening(["iperf3", "-s", "-p", str(port)], port, server):
        time.sleep(0.2)  # it takes the test connection as a test that failed
        for done in range(repeats):
            progress(f"datagrams: {done + 1} of {repeats}")
            run = udp(
                rate=0, duration_s=WINDOW_S, payload_bytes=DATAGRAM, sender_cpus=[client],
                receiver_cpus=[server],
            )  # fmt: skip
            datagrams.append((run.sent * 1e9 / run.sender_cpu_ns, _iperf3(port, client)))
    return (
        _comparison("echo, ping-pong", ping, "/s of CPU"),
        _comparison("echo, as many as go", flood, "/s of CPU"),
        _comparison("burst of 1, median", middle, "µs"),
        _comparison(f"UDP, {DATAGRAM} bytes", datagrams, "/s of CPU"),
    )


def _comparison(name: str, pairs: list[tuple[float, float]], unit: str) -> Comparison:
    return Comparison(name, tuple(a for a, _ in pairs), tuple(b for _, b in pairs), unit)


def text(found: tuple[Comparison, ...]) -> str:
    """A line for each comparison."""

    def middle(values: tuple[float, ...]) -> str:
        return f"{sorted(values)[len(values) // 2]:.4g}"

    rows = [(c.name, c.unit, middle(c.ours), middle(c.theirs), ratio(c.ratio)) for c in found]
    head = ("engine", "unit", "ours", "sockperf, iperf3", "ours / theirs")
    return table(head, rows, left=2)
