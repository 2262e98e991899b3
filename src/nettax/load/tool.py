"""Load tools that exist: what to ask of one, how it is found, and what it told, typed alike."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NoReturn

from nettax.errors import NettaxError, UsageError
from nettax.load.histogram import Histogram, bucket

__all__ = [
    "Job",
    "Kind",
    "Result",
    "Said",
    "Tool",
    "histogram",
    "not_understood",
    "number",
    "several",
    "spread",
]

Kind = Literal["http", "echo", "stream"]


@dataclass(frozen=True, slots=True)
class Job:
    """What a tool is asked to do."""

    kind: Kind
    host: str
    port: int
    path: str = "/"
    """Of the URL, with its query."""
    connections: int = 1
    threads: int = 1
    duration_s: int = 5
    keep_alive: bool = True
    """HTTP: several requests on a connection, where the tool can choose."""
    protocol: Literal["tcp", "udp"] = "tcp"
    message_bytes: int | None = None
    rate: int | None = None
    """Of a UDP stream bits of payload per second, else requests; None: all it can."""
    poisson: bool = False
    """Of requests at a rate: due as independent users come, not evenly."""

    @property
    def url(self) -> str:
        """The URL of an HTTP job."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{self.path}"


@dataclass(frozen=True, slots=True)
class Said:
    """What a tool that has ended left: its two streams, and the files that it was told to write."""

    out: str
    err: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool tells of a run, and no more: None is what it does not tell."""

    unit: str
    """What `done` counts: request, message, datagram, or MB (10^6 bytes) of a TCP stream."""
    done: int
    """Those that were answered (streams: received, or sent where the note says so)."""
    elapsed_ns: int
    """By the tool's own clock."""
    errors: Mapping[str, int]
    """By kind, in the tool's words; kinds without any are left out."""
    latency: Histogram | None
    connections: int | None
    """How many it opened."""
    bytes: int | None
    """Received, with headers where there are any."""
    note: str = ""
    """What to know of its figures."""
    made_up: bool = False
    """Whether there are latencies among them of requests that were never made."""
    mean_ns: float | None = None
    """The mean latency, where the tool tells it apart and its histogram is coarse."""

    @property
    def rate(self) -> float:
        """Done per second."""
        return self.done * 1e9 / self.elapsed_ns if self.elapsed_ns else 0.0


@dataclass(frozen=True)
class Tool:
    """One load tool."""

    name: str
    program: str
    package: str | None
    """Debian's; None: it has none."""
    kinds: tuple[Kind, ...]
    asks_version: tuple[str, ...]
    version: re.Pattern[str]
    command: Callable[[Job, Path], list[str]]
    """The arguments for a job; files that it needs or writes are in the directory."""
    parse: Callable[[Job, Said], Result]
    files: tuple[str, ...] = ()
    """That it writes."""
    keeps: bool = True
    """Whether it can put several requests on a connection."""
    section: str = ""
    """Of Debian, where the package is, if not in main."""
    meets_by_tcp: bool = False
    """Whether its server is met at a TCP port, whatever the load goes by."""
    one_thread: bool = False
    """Whether it never uses more than one CPU."""
    over: str = ""
    """A line by which it says that the load is over; it may read a line before it goes on."""
    over_by_thread: bool = False
    """Whether each of its threads says so."""
    ends_within_s: float | None = None
    """After that line: it is killed then, and what it has left is its result."""
    fine: tuple[int, ...] = (0,)
    """Exit codes with which there is a result."""

    def find(self) -> str:
        """Its path.

        :raises UsageError: it is not on PATH; the message names the package.
        """
        if found := shutil.which(self.program):
            return found
        if not self.package:
            how = "it is not in Debian: put it on PATH yourself"
        elif self.section:
            how = f"apt install {self.package}, which is in Debian's {self.section}"
        else:
            how = f"apt install {self.package}"
        raise UsageError(f"{self.program} is not installed: {how}.")

    def tell_version(self) -> str:
        """Its version in its own words; ``unknown`` where it tells none."""
        if not self.asks_version:
            return "unknown"
        command = [self.find(), *self.asks_version]
        try:
            ran = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return "unknown"
        found = self.version.search(ran.stdout + ran.stderr)
        return found[1] if found else "unknown"


def several(unit: str) -> str:
    """A result's unit for a number of them: requests, MB."""
    return unit if unit.isupper() else f"{unit}s"


def not_understood(tool: str, line: str) -> NoReturn:
    """Say which line of a tool's output is in no known format.

    :raises NettaxError: always.
    """
    shown = line if len(line) <= 200 else f"{line[:200]}…"
    raise NettaxError(
        f"cannot read what {tool} printed: {shown!r}.\n"
        "nettax knows its format from other versions: tell us, with `nettax --version`."
    )


def number(tool: str, pattern: str, text: str) -> str:
    """What a pattern, anchored to lines, finds in a tool's output.

    :raises NettaxError: it is not there; the message has the nearest line.
    """
    if found := re.search(pattern, text, re.M):
        return found[1]
    from difflib import get_close_matches

    lines = [line for line in text.splitlines() if line.strip()]
    words = re.sub(r"[\\^$()\[\]{}.*+?|]", " ", pattern)
    near = get_close_matches(words, lines, n=1, cutoff=0.2)
    not_understood(tool, near[0] if near else (lines[-1] if lines else ""))


def spread(quantiles: Sequence[int], count: int) -> dict[int, int]:
    """How many of so many times there are of each length, from quantiles at equal distances.

    The first is the least, the last the greatest; between two, the times are taken as even, at
    eight places.
    """
    times: dict[int, int] = {}
    told, places, steps = 0, 8, len(quantiles) - 1
    for step in range(steps):
        low, high = quantiles[step], quantiles[step + 1]
        for place in range(places):
            upto = count * (step * places + place + 1) // (steps * places)
            time = low + (high - low) * (2 * place + 1) // (2 * places)
            times[time] = times.get(time, 0) + upto - told
            told = upto
    return {time: count for time, count in times.items() if count}


def histogram(times: Mapping[int, int]) -> Histogram:
    """A histogram of times in ns with how often each came."""
    counts: dict[int, int] = {}
    for time_ns, count in times.items():
        index = bucket(time_ns)
        counts[index] = counts.get(index, 0) + count
    return Histogram(counts)
