"""h2load, of nghttp2: threads with an event loop each, here with HTTP/1.1 (--h1).

Where the server closes its connections, it never ends (1.52). Its log (--log-file) has a line for
each request: start in µs since the epoch, status, µs. Writing it is a part of what it costs.
"""

from __future__ import annotations

import re
from pathlib import Path

from nettax.load.tool import Job, Result, Said, Tool, histogram, not_understood, number

__all__ = ["TOOL"]

LOG = "requests.log"
_LINE = re.compile(r"\d{1,19}\t-?\d{1,3}\t(\d{1,15})")
_UNITS = {"us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}


def command(job: Job, directory: Path) -> list[str]:
    threads = min(job.threads, job.connections)
    size = [f"-D{job.duration_s}", f"-c{job.connections}", f"-t{threads}"]
    close = [] if job.keep_alive else ["-H", "connection: close"]
    return ["--h1", *size, *close, f"--log-file={directory / LOG}", job.url]


def parse(job: Job, said: Said) -> Result:
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
        latency=histogram(_times(said.files.get(LOG, ""))),
        connections=None,
        bytes=received,
        note="what its log of requests costs is in its CPU time",
    )


def _last(said: Said) -> str:
    lines = (said.out + said.err).strip().splitlines()
    return lines[-1] if lines else ""


def _times(log: str) -> dict[int, int]:
    times: dict[int, int] = {}
    for line in log.splitlines():
        match = _LINE.fullmatch(line)
        if not match:
            not_understood("h2load", line)
        ns = int(match[1]) * 1000
        times[ns] = times.get(ns, 0) + 1
    return times


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
)
