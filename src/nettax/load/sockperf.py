"""sockperf: ping-pong, one message in flight; the server is ``sockperf server``.

It prints one-way times, half of a round trip; the full log (--full-log) has when each message was
sent and came back, and the whole of that is what is taken. Its server marks what it sends back:
it does not work with a plain echo server.
"""

from __future__ import annotations

import re
from pathlib import Path

from nettax.errors import UsageError
from nettax.load.tool import Job, Result, Said, Tool, histogram, not_understood, number

__all__ = ["TOOL"]

LOG = "messages.csv"
HEAD = "packet, txTime(sec), rxTime(sec), latency(usec)"
_ROW = re.compile(r"\d{1,12}, (\d{1,9})\.(\d{9}), (\d{1,9})\.(\d{9}), \d{1,12}\.\d{3}")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def command(job: Job, directory: Path) -> list[str]:
    if job.connections > 1:
        raise UsageError("sockperf has one message in flight: -c takes 1 with it.")
    tcp = ["--tcp"] if job.protocol == "tcp" else []
    size = ["-m", str(job.message_bytes)] if job.message_bytes else []
    where = ["-i", job.host, "-p", str(job.port), "-t", str(job.duration_s)]
    return ["ping-pong", *tcp, *where, *size, f"--full-log={directory / LOG}"]


def parse(job: Job, said: Said) -> Result:
    out = _COLOUR.sub("", said.out)
    total = r"^sockperf: \[Total Run\] RunTime=(.*)$"
    line = number("sockperf", total, out)
    run = re.fullmatch(
        r"(\d{1,9}\.\d{1,9}) sec; Warm up time=\d{1,9} msec; "
        r"SentMessages=(\d{1,15}); ReceivedMessages=(\d{1,15})",
        line,
    )
    if not run:
        not_understood("sockperf", line)
    faults = r"# (dropped|duplicated|out-of-order) messages = (\d{1,15})"
    errors = {kind: int(count) for kind, count in re.findall(faults, out)}
    return Result(
        unit="message",
        done=int(run[3]),
        elapsed_ns=round(float(run[1]) * 1e9),
        errors={kind: count for kind, count in errors.items() if count},
        latency=histogram(_times(said.files.get(LOG, ""))),
        connections=1 if job.protocol == "tcp" else None,
        bytes=None,
        note="round trips, without those of its warm-up and its last 50 ms",
    )


def _times(log: str) -> dict[int, int]:
    lines = log.splitlines()
    if HEAD not in lines:
        not_understood("sockperf", lines[-1] if lines else "")
    times: dict[int, int] = {}
    for line in lines[lines.index(HEAD) + 1 :]:
        row = _ROW.fullmatch(line)
        if not row:
            if line.startswith("---") or not line.strip():
                continue
            not_understood("sockperf", line)
        sent, back = int(row[1] + row[2]), int(row[3] + row[4])
        if back < sent:
            not_understood("sockperf", line)
        times[back - sent] = times.get(back - sent, 0) + 1
    return times


TOOL = Tool(
    name="sockperf",
    program="sockperf",
    package="sockperf",
    kinds=("echo",),
    asks_version=("--version",),
    version=re.compile(r"sockperf, version (\S+)"),
    command=command,
    parse=parse,
    files=(LOG,),
    one_thread=True,
)
