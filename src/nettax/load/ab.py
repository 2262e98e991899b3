"""ab, ApacheBench: one thread, closed loop, HTTP/1.0 with or without keep-alive.

Latencies come from its CSV (-e): percentiles 0 to 100 in ms with three decimals, between two of
which a hundredth of the requests lie; its table and its -g file have whole ms only. "Non-2xx
responses" are not among its "Failed requests".
"""

from __future__ import annotations

import re
from pathlib import Path

from nettax.load.tool import Job, Result, Said, Tool, histogram, not_understood, number, spread

__all__ = ["TOOL"]

CSV = "percentiles.csv"
HEAD = "Percentage served,Time in ms"
MOST_PER_SECOND = 100_000
"""Requests that it makes room for, 40 bytes each, before it starts; it ends when they are done."""


def command(job: Job, directory: Path) -> list[str]:
    # -t sets -n to 50,000, so -n comes after it. -r: count errors of sockets, do not end by them.
    most = ["-n", str(job.duration_s * MOST_PER_SECOND)]
    keep = ["-k"] if job.keep_alive else []
    size = ["-t", str(job.duration_s), *most, "-c", str(job.connections)]
    return [*size, *keep, "-q", "-r", "-l", "-e", str(directory / CSV), job.url]


def parse(job: Job, said: Said) -> Result:
    ended = int(number("ab", r"^Complete requests:\s+(\d{1,15})$", said.out))
    seconds = float(number("ab", r"^Time taken for tests:\s+(\d{1,9}\.\d{1,9}) seconds$", said.out))
    received = int(number("ab", r"^Total transferred:\s+(\d{1,18}) bytes$", said.out))
    failed = int(number("ab", r"^Failed requests:\s+(\d{1,15})$", said.out))
    kinds = re.search(r"^ +\(((?:\w+: \d{1,15}(?:, )?)+)\)$", said.out, re.M)
    errors = dict(_pairs(kinds[1])) if kinds else {"failed": failed}
    for kind, label in (("status", "Non-2xx responses"), ("write", "Write errors")):
        if found := re.search(rf"^{label}:\s+(\d{{1,15}})$", said.out, re.M):
            errors[kind] = int(found[1])
    # Those that found no server, or lost it, are complete, too.
    done = max(0, ended - errors.get("connect", 0) - errors.get("receive", 0))
    return Result(
        unit="request",
        done=done,
        elapsed_ns=round(seconds * 1e9),
        errors={kind: count for kind, count in errors.items() if count},
        latency=histogram(_times(said.files.get(CSV, ""), ended)) if done else None,
        connections=None,
        bytes=received,
        note="latencies from a hundred percentiles",
    )


def _pairs(text: str) -> list[tuple[str, int]]:
    """``Connect: 0, Receive: 0, Length: 3, Exceptions: 0``."""
    words = (pair.split(": ") for pair in text.split(", "))
    return [(kind.lower(), int(count)) for kind, count in words]


def _times(csv: str, ended: int) -> dict[int, int]:
    """Requests by ns."""
    head, *lines = csv.splitlines() or [""]
    if head != HEAD:
        not_understood("ab", head)
    edges: list[int] = []
    for expected, line in enumerate(lines):
        percent, _, ms = line.partition(",")
        if percent != str(expected) or not re.fullmatch(r"\d{1,12}\.\d{3}", ms):
            not_understood("ab", line)
        edges.append(round(float(ms) * 1e6))
    if len(edges) != 101:
        not_understood("ab", lines[-1] if lines else head)
    if ended < 100:  # of few, ab looks for the highest percentiles beyond its array, and finds 0
        known = edges.index(0) if 0 in edges else 100
        edges[known:100] = [edges[100]] * (100 - known)
    for low, high, line in zip(edges, edges[1:], lines[1:], strict=False):
        if low > high:
            not_understood("ab", line)
    return spread(edges, ended)


TOOL = Tool(
    name="ab",
    program="ab",
    package="apache2-utils",
    kinds=("http",),
    asks_version=("-V",),
    version=re.compile(r"ApacheBench, Version (\S+)"),
    command=command,
    parse=parse,
    files=(CSV,),
    one_thread=True,
)
