"""htstress: threads with an event loop each, HTTP/1.0, a connection for each request.

It runs for a number of requests, not a time, ``-c`` is of each thread, and it tells no latency.
"""

from __future__ import annotations

import re
from pathlib import Path

from nettax.load.tool import Job, Result, Said, Tool, number

__all__ = ["TOOL"]

ASSUMED_RATE = 10_000
"""Requests a second: what makes a number of them out of a duration."""


def command(job: Job, directory: Path) -> list[str]:
    threads = min(job.threads, job.connections)
    each = max(1, job.connections // threads)
    requests = job.duration_s * ASSUMED_RATE
    return ["-n", str(requests), "-c", str(each), "-t", str(threads), job.url]


def parse(job: Job, said: Said) -> Result:
    def count(label: str) -> int:
        return int(number("htstress", rf"^{label}:\s+(\d{{1,15}})\b", said.out))

    seconds = float(number("htstress", r"^seconds:\s+(\d{1,9}(?:\.\d{1,9})?)$", said.out))
    good = count("good requests")
    errors = {"bad": count("bad requests"), "socket": count(r"socke[rt] errors")}
    return Result(
        unit="request",
        done=good + errors["bad"],
        elapsed_ns=round(seconds * 1e9),
        errors={kind: number for kind, number in errors.items() if number},
        latency=None,
        connections=None,
        bytes=None,
        note="a connection for each request, of HTTP/1.0; it tells no latency",
    )


TOOL = Tool(
    name="htstress",
    program="htstress",
    package=None,
    kinds=("http",),
    asks_version=(),
    version=re.compile("(?!)"),
    command=command,
    parse=parse,
    keeps=False,
)
