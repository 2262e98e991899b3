"""netperf: one stream, or one request in flight; the server is ``netserver``.

Its human output rounds; so it is asked for ``KEY=value`` lines (-k), in which both ends' calls and
bytes are whole numbers. Of requests it tells the mean, and percentiles in whole µs, from buckets
of a tenth of a decade: they may lie a bucket beyond its own least and most, and are held within.
"""

from __future__ import annotations

import re
from pathlib import Path

from nettax.errors import UsageError
from nettax.load.histogram import Histogram
from nettax.load.tool import Job, Result, Said, Tool, histogram, not_understood, spread

__all__ = ["TOOL"]

MB = 10**6
DATAGRAM_BYTES = 1460
"""Unless told otherwise: its own is the socket's buffer, which no datagram holds."""
REQUEST_BYTES = 14  # as sockperf's
TAIL = 50
"""Places of the tail; and how bent it may be."""
SHARES = (0.0, 0.5, 0.9, 0.99, 1.0)
QUANTILES = ("MIN_LATENCY", "P50_LATENCY", "P90_LATENCY", "P99_LATENCY", "MAX_LATENCY")
KEYS = (
    "PROTOCOL",
    "ELAPSED_TIME",
    "LOCAL_SEND_CALLS",
    "LOCAL_RECV_CALLS",
    "LOCAL_BYTES_RECVD",
    "REMOTE_RECV_CALLS",
    "REMOTE_BYTES_RECVD",
    "LOCAL_TRANSPORT_RETRANS",
    "MEAN_LATENCY",
    *QUANTILES,
)


def command(job: Job, directory: Path) -> list[str]:
    if job.connections > 1:
        raise UsageError("netperf has one connection: -c takes 1 with it.")
    udp = job.protocol == "udp"
    if job.kind == "echo":
        each = job.message_bytes or REQUEST_BYTES
        test, sizes = "RR", ["-r", f"{each},{each}"]
    else:
        length = job.message_bytes or (DATAGRAM_BYTES if udp else 0)
        test, sizes = "STREAM", ["-m", str(length)] if length else []
    # -R 1: without it, datagrams are not routed.
    routed = ["-R", "1"] if udp else []
    where = ["-H", job.host, "-p", str(job.port), "-l", str(job.duration_s), "-P", "0"]
    name = f"{job.protocol.upper()}_{test}"
    return [*where, "-t", name, "--", *sizes, *routed, "-k", ",".join(KEYS)]


def parse(job: Job, said: Said) -> Result:
    told = _Told(said)
    udp = told.text("PROTOCOL", "TCP|UDP") == "UDP"
    if job.kind == "echo":
        return _answered(told, udp)
    return _datagrams(told) if udp else _stream(told)


class _Told:
    """Its ``KEY=value`` lines."""

    def __init__(self, said: Said) -> None:
        self._values: dict[str, str] = {}
        for line in said.out.splitlines():
            found = re.fullmatch(r"([A-Z0-9_]+)=(.*)", line)
            if not found:
                not_understood("netperf", line)
            self._values[found[1]] = found[2]
        if not self._values:
            not_understood("netperf", (said.err.strip().splitlines() or [""])[-1])

    def text(self, key: str, pattern: str) -> str:
        value = self._values.get(key)
        if value is None or not re.fullmatch(pattern, value):
            not_understood("netperf", f"no {key}" if value is None else f"{key}={value}")
        return value

    def count(self, key: str) -> int:
        return int(self.text(key, r"\d{1,18}"))

    def decimal(self, key: str) -> float:
        return float(self.text(key, r"\d{1,12}\.\d{1,9}"))

    @property
    def elapsed_ns(self) -> int:
        return round(self.decimal("ELAPSED_TIME") * 1e9)


def _answered(told: _Told, udp: bool) -> Result:
    sent, done = told.count("LOCAL_SEND_CALLS"), told.count("LOCAL_RECV_CALLS")
    mean_ns = told.decimal("MEAN_LATENCY") * 1000
    lost = sent - done - 1  # the last one was under way
    return Result(
        unit="message",
        done=done,
        elapsed_ns=told.elapsed_ns,
        errors={"lost": lost} if udp and lost > 0 else {},
        latency=_latency([told.count(key) for key in QUANTILES], mean_ns, done),
        mean_ns=mean_ns,
        connections=1 if udp else 2,  # one is to control it
        bytes=told.count("LOCAL_BYTES_RECVD"),
        note="latencies from five percentiles in whole µs, and their mean",
    )


def _datagrams(told: _Told) -> Result:
    sent, received = told.count("LOCAL_SEND_CALLS"), told.count("REMOTE_RECV_CALLS")
    if received > sent:
        not_understood("netperf", f"REMOTE_RECV_CALLS={received}")
    return Result(
        unit="datagram",
        done=received,
        elapsed_ns=told.elapsed_ns,
        errors={"lost": sent - received} if sent > received else {},
        latency=None,
        connections=1,
        bytes=told.count("REMOTE_BYTES_RECVD"),
        note=f"{sent} datagrams sent",
    )


def _stream(told: _Told) -> Result:
    arrived = told.count("REMOTE_BYTES_RECVD")
    again = int(told.text("LOCAL_TRANSPORT_RETRANS", r"-1|\d{1,18}"))  # -1: not known
    return Result(
        unit="MB",
        done=arrived // MB,
        elapsed_ns=told.elapsed_ns,
        errors={"retransmit": again} if again > 0 else {},
        latency=None,
        connections=2,
        bytes=arrived,
    )


def _latency(quantiles: list[int], mean_ns: float, done: int) -> Histogram:
    """Even between two percentiles; above the last, bent so that the mean is what it says."""
    least, most = quantiles[0], quantiles[-1]
    if least > most or quantiles[1:-1] != sorted(quantiles[1:-1]):
        not_understood("netperf", f"{QUANTILES[0]}={least}, {QUANTILES[-1]}={most}")
    *edges, top = (min(max(us, least), most) * 1000 for us in quantiles)
    times: dict[int, int] = {}
    told = 0
    for low, high, share in zip(edges, edges[1:], SHARES[1:-1], strict=False):
        upto = round(done * share)
        for time, count in spread([low, high], upto - told).items():
            times[time] = times.get(time, 0) + count
        told = upto
    slow, low = done - told, edges[-1]
    missing = mean_ns * done - sum(time * count for time, count in times.items()) - low * slow
    # low + (top − low) · uᵏ, u from 0 to 1, has the mean low + (top − low) / (k + 1).
    power = max(1.0, (top - low) * slow / missing - 1) if missing > 0 else TAIL
    steps = [low + round((top - low) * (step / TAIL) ** min(power, TAIL)) for step in range(TAIL)]
    for time, count in spread([*steps, top], slow).items():
        times[time] = times.get(time, 0) + count
    return histogram(times)


TOOL = Tool(
    name="netperf",
    program="netperf",
    package="netperf",
    section="non-free",
    kinds=("stream", "echo"),
    asks_version=("-V",),
    version=re.compile(r"^Netperf version (\S+)", re.M),
    command=command,
    parse=parse,
    one_thread=True,
    meets_by_tcp=True,
)
