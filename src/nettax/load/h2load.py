"""h2load, of nghttp2: threads with an event loop each, here with HTTP/1.1 (--h1).

Its log (--log-file) has a line for each request: start in µs since the epoch, status, µs. Writing
it is a part of what it costs.

Where the server closes connections, 1.52 seldom ends: a client whose connection was closed as the
time ran out connects and asks again, without end, and counts nothing of it. By then it has said
that all clients are stopped, and its log is whole: so it is killed, and that is read.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from nettax.load.histogram import Histogram
from nettax.load.tool import Job, Result, Said, Tool, histogram, not_understood, number

__all__ = ["TOOL"]

LOG = "requests.log"
NOTE = "what its log of requests costs is in its CPU time"
STOPPED = "Stopped all clients for thread #"
_LINE = re.compile(r"\d{1,19}\t(-1|\d{1,3})\t(\d{1,15})")
_UNITS = {"us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}


def command(job: Job, directory: Path) -> list[str]:
    threads = min(job.threads, job.connections)
    size = [f"-D{job.duration_s}", f"-c{job.connections}", f"-t{threads}"]
    close = [] if job.keep_alive else ["-H", "connection: close"]
    return ["--h1", *size, *close, f"--log-file={directory / LOG}", job.url]


def parse(job: Job, said: Said) -> Result:
    requests = _requests(said.files.get(LOG, ""))
    if STOPPED in said.out and "finished in" not in said.out:
        return _never_ended(job, requests)
    finished = re.search(r"^finished in (\d{1,9}(?:\.\d{1,9})?)(us|ms|s|m|h)?\b", said.out, re.M)
    if not finished or finished[2] not in _UNITS:
        not_understood("h2load", finished[0] if finished else _last(said))
    counts = number("h2load", r"^requests: (.*)$", said.out)
    found = dict((kind, int(count)) for count, kind in re.findall(r"(\d{1,15}) (\w+)", counts))
    status = number("h2load", r"^status codes: (.*)$", said.out)
    codes = dict((kind, int(count)) for count, kind in re.findall(r"(\d{1,15}) (\dxx)", status))
    try:
        errors = {kind: found[kind] for kind in ("errored", "timeout")}
        errors["status"] = codes["4xx"] + codes["5xx"]
        done = found["succeeded"] + found["failed"] - found["errored"]
        if done < 0:
            raise KeyError
    except KeyError:
        not_understood("h2load", counts)
    received = int(number("h2load", r"^traffic: \S+ \((\d{1,18})\) total,", said.out))
    return Result(
        unit="request",
        done=done,
        elapsed_ns=round(float(finished[1]) * _UNITS[finished[2]]),
        errors={kind: count for kind, count in errors.items() if count},
        latency=_latency(requests),
        connections=None,
        bytes=received,
        note=NOTE,
    )


def _never_ended(job: Job, requests: list[tuple[int, int]]) -> Result:
    errors = {
        "errored": sum(status < 0 for status, _ in requests),
        "status": sum(status >= 400 for status, _ in requests),
    }
    return Result(
        unit="request",
        done=len(requests) - errors["errored"],
        elapsed_ns=job.duration_s * 10**9,
        errors={kind: count for kind, count in errors.items() if count},
        latency=_latency(requests),
        connections=None,
        bytes=None,
        note=f"{NOTE}; it did not end by itself, as a connection was closed in its last moment",
    )


def _last(said: Said) -> str:
    lines = (said.out + said.err).strip().splitlines()
    return lines[-1] if lines else ""


def _requests(log: str) -> list[tuple[int, int]]:
    """Status, −1 for none, and µs of each."""
    requests = []
    for line in log.splitlines():
        match = _LINE.fullmatch(line)
        if not match:
            not_understood("h2load", line)
        requests.append((int(match[1]), int(match[2])))
    return requests


def _latency(requests: list[tuple[int, int]]) -> Histogram:
    return histogram(Counter(us * 1000 for _, us in requests))


TOOL = Tool(
    name="h2load",
    program="h2load",
    package="nghttp2-client",
    kinds=("http",),
    asks_version=("--version",),
    version=re.compile(r"h2load nghttp2/(\S+)"),
    command=command,
    parse=parse,
    files=(LOG,),
    over=STOPPED,
    over_by_thread=True,
    ends_within_s=1.0,
    fine=(0, -9),
)
