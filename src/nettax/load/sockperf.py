"""sockperf, one thread; the server is ``sockperf server``.

Echo is its ping-pong, one message in flight, or at a rate its under-load; a stream its throughput
mode, which tells what it sent, and nothing of what arrived.

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
MESSAGE_BYTES = 14  # its own least
HEAD = "packet, txTime(sec), rxTime(sec), latency(usec)"
_ROW = re.compile(r"\d{1,12}, (\d{1,9})\.(\d{9}), (\d{1,9})\.(\d{9}), \d{1,12}\.\d{3}")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def command(job: Job, directory: Path) -> list[str]:
    if job.connections > 1:
        raise UsageError("sockperf has one connection: -c takes 1 with it.")
    size = job.message_bytes or MESSAGE_BYTES
    where = ["-i", job.host, "-p", str(job.port), "-t", str(job.duration_s), "-m", str(size)]
    tcp = ["--tcp"] if job.protocol == "tcp" else []
    log = [f"--full-log={directory / LOG}"]
    if job.kind == "stream":
        a_second = max(1, round(job.rate / 8 / size)) if job.rate else "max"
        return ["throughput", *tcp, *where, f"--mps={a_second}"]
    if job.rate:
        return ["under-load", *tcp, *where, f"--mps={job.rate}", "--reply-every=1", *log]
    return ["ping-pong", *tcp, *where, *log]


def parse(job: Job, said: Said) -> Result:
    out = _COLOUR.sub("", said.out)
    return _sent(job, out) if job.kind == "stream" else _answered(job, out, said)


def _sent(job: Job, out: str) -> Result:
    line = number("sockperf", r"^sockperf: Total of (.*)$", out)
    run = re.fullmatch(r"(\d{1,15}) messages sent in (\d{1,9}\.\d{1,9}) sec", line)
    if not run:
        not_understood("sockperf", line)
    sent = int(run[1])
    return Result(
        unit="message",
        done=sent,
        elapsed_ns=round(float(run[2]) * 1e9),
        errors={},
        latency=None,
        connections=1 if job.protocol == "tcp" else None,
        bytes=sent * (job.message_bytes or MESSAGE_BYTES),
        note="sent: sockperf tells nothing of what arrived",
    )


def _answered(job: Job, out: str, said: Said) -> Result:
    line = number("sockperf", r"^sockperf: \[Total Run\] RunTime=(.*)$", out)
    run = re.fullmatch(
        r"(\d{1,9}\.\d{1,9}) sec; Warm up time=\d{1,9} msec; "
        r"SentMessages=(\d{1,15}); ReceivedMessages=(\d{1,15})",
        line,
    )
    if not run:
        not_understood("sockperf", line)
    sent, done = int(run[2]), int(run[3])
    faults = r"# (dropped|duplicated|out-of-order) messages = (\d{1,15})"
    errors = {kind: int(count) for kind, count in re.findall(faults, out)}
    # Those are of its valid duration; under load, others of the whole run were never answered.
    if job.rate and sent > done + errors.get("dropped", 0):
        errors["not answered"] = sent - done - errors.get("dropped", 0)
    return Result(
        unit="message",
        done=done,
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
    kinds=("echo", "stream"),
    asks_version=("--version",),
    version=re.compile(r"sockperf, version (\S+)"),
    command=command,
    parse=parse,
    files=(LOG,),
    one_thread=True,
)
