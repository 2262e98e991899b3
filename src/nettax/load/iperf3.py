"""iperf3: TCP and UDP streams; the server is ``iperf3 -s``.

Of its JSON (-J) the sums are not all to be trusted: 3.12 marks ``sum_received`` of TCP as the
sender's, and gives a stream's receiver the sender's seconds. What was received is taken from the
streams, and the time from where the receiver's sum ends.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from nettax.load.tool import Job, Result, Said, Tool, not_understood

__all__ = ["TOOL"]

MB = 10**6


def command(job: Job, directory: Path) -> list[str]:
    size = ["-t", str(job.duration_s), "-P", str(job.connections)]
    udp = ["-u", "-b", str(job.rate or 0)] if job.protocol == "udp" else []
    length = ["-l", str(job.message_bytes)] if job.message_bytes else []
    return ["-c", job.host, "-p", str(job.port), "-J", *size, *udp, *length]


def parse(job: Job, said: Said) -> Result:
    try:
        told = json.loads(said.out)
        if "error" in told:
            not_understood("iperf3", f"{told['error']}")
        end, protocol = told["end"], told["start"]["test_start"]["protocol"]
        return _udp(end) if protocol == "UDP" else _tcp(end)
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError) as error:
        lines = said.out.strip().splitlines() or said.err.strip().splitlines() or [""]
        missing = f"no {error}" if isinstance(error, KeyError) else lines[-1]
        not_understood("iperf3", missing)


def _tcp(end: Any) -> Result:
    received = sum(_count(stream["receiver"]["bytes"]) for stream in end["streams"])
    retransmits = end["sum_sent"].get("retransmits")  # of Linux alone
    return Result(
        unit="MB",
        done=received // MB,
        elapsed_ns=_ns(end["sum_received"]["end"]),
        errors={"retransmit": _count(retransmits)} if retransmits else {},
        latency=None,
        connections=len(end["streams"]) + 1,  # and the one that controls
        bytes=received,
        note="",
    )


def _udp(end: Any) -> Result:
    streams = [stream["udp"] for stream in end["streams"]]
    sent = sum(_count(stream["packets"]) for stream in streams)
    lost = sum(_count(stream["lost_packets"]) for stream in streams)
    size = _count(streams[0]["bytes"]) // sent if sent else 0
    return Result(
        unit="datagram",
        done=sent - lost,
        elapsed_ns=_ns(end["sum"]["end"]),
        errors={"lost": lost} if lost else {},
        latency=None,
        connections=1,  # the one that controls
        bytes=sum(_count(s["bytes"]) for s in streams) - lost * size,
        note=f"{sent} datagrams sent",
    )


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError(value)
    return value


def _ns(seconds: Any) -> int:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 1e9:
        raise ValueError(seconds)
    return round(seconds * 1e9)


TOOL = Tool(
    name="iperf3",
    program="iperf3",
    package="iperf3",
    kinds=("stream",),
    asks_version=("--version",),
    version=re.compile(r"^iperf (\S+)", re.M),
    command=command,
    parse=parse,
    meets_by_tcp=True,
)
