"""What a scrape of `nettax export` costs, by the host's CPUs and cgroups.

End to end: CPU time of the exporter's process for each scrape over a connection that is kept, as
Prometheus keeps it, seconds apart, when caches have gone cold. This host's CPUs are what it has;
the cost for 64 is that of making the page from readings of 64, beside this host's own count.
"""

from __future__ import annotations

import http.client
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.text import ratio
from nettax.experiment.estimate import Estimate, median
from nettax.export.exposition import Exposition
from nettax.export.metrics import families
from nettax.export.snapshot import Snapshot, Source
from nettax.host import Host
from nettax.kernel import cpus
from nettax.ledger import Ledger
from nettax.report.table import table

__all__ = ["ExportCost", "export_cost", "text"]

RUNS = 12
PAUSE_S = 0.5
CGROUPS = (10, 500)
CPUS = (2, 64)
EXPORT = (sys.executable, "-m", "nettax", "export", "--listen", "127.0.0.1:0", "--max-groups")
ACCEPT = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


@dataclass(frozen=True, slots=True)
class Scrape:
    """Of one set-up, medians."""

    cgroups: int
    options: str
    cpu_ms: Estimate
    """CPU time of the exporter."""
    wall_ms: Estimate
    """As the client sees it."""
    page_bytes: int
    rss_bytes: int


@dataclass(frozen=True, slots=True)
class Page:
    """Making a page of so many CPUs, in ms of CPU time."""

    cpus: int
    cpu_ms: Estimate


@dataclass(frozen=True, slots=True)
class ExportCost:
    """The result."""

    start_s: Estimate
    """From starting the command to its first answer."""
    scrapes: tuple[Scrape, ...]
    pages: tuple[Page, ...]


def export_cost(
    repeats: int = RUNS, progress: Callable[[str], None] = lambda _: None
) -> ExportCost:
    """Measure."""
    scrapes, starts = [], []
    for cgroups in CGROUPS:
        for options in ((), ("--no-histograms",)):
            progress(f"export: {cgroups} cgroups {' '.join(options)}")
            with _tickers(cgroups) as tick:
                scrape, started = _scrape(cgroups, options, repeats, tick)
            scrapes.append(scrape)
            starts.append(started)
    for _ in range(repeats - len(starts)):
        with _exporter(10) as (_, _, started):
            starts.append(started)
    progress("export: pages")
    return ExportCost(median(starts), tuple(scrapes), tuple(_pages(repeats)))


@contextmanager
def _exporter(most: int, *options: str) -> Iterator[tuple[int, http.client.HTTPConnection, float]]:
    """A running exporter: its pid, a connection, and how long it took to answer."""
    start = time.monotonic()
    command = (*EXPORT, str(most), *options)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            found = re.search(r"http://([\d.:]+)/", process.stderr.readline())
            assert found
            connection = http.client.HTTPConnection(found[1])
            _get(connection)
            yield process.pid, connection, time.monotonic() - start
        finally:
            process.terminate()


def _get(connection: http.client.HTTPConnection) -> bytes:
    connection.request("GET", "/metrics", headers={"Accept": ACCEPT})
    return connection.getresponse().read()


def _scrape(
    cgroups: int, options: tuple[str, ...], runs: int, tick: Callable[[], None]
) -> tuple[Scrape, float]:
    cpu, wall = [], []
    with _exporter(2 * cgroups, *options) as (pid, connection, started):
        for _ in range(runs + 1):  # the first one names the cgroups
            tick()
            time.sleep(PAUSE_S)
            before, begin = _cpu_ns(pid), time.monotonic()
            page = _get(connection)
            wall.append(1e3 * (time.monotonic() - begin))
            cpu.append((_cpu_ns(pid) - before) / 1e6)
        status = Path(f"/proc/{pid}/status").read_text()
    rss = int(status.partition("VmRSS:")[2].split(None, 1)[0]) * 1024
    made = Scrape(cgroups, " ".join(options), median(cpu[1:]), median(wall[1:]), len(page), rss)
    return made, started


def _cpu_ns(pid: int) -> int:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


@contextmanager
def _tickers(number: int) -> Iterator[Callable[[], None]]:
    """So many cgroups, and a function that makes something run in each."""
    with Host() as host:
        top = host.cgroup("scrape")
        places = [top / f"unit-{i}.service" for i in range(number)]
        for place in places:
            place.mkdir()
        # One process goes round: a task counts for the cgroup that it is switched out in.
        script = "while read -r line; do for f in */cgroup.procs; do echo 0 > $f; done; echo; done"
        with subprocess.Popen(
            ["sh", "-c", script], cwd=top, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            asking, answers = process.stdin, process.stdout
            assert asking
            assert answers

            def tick() -> None:
                asking.write("\n")
                asking.flush()
                answers.readline()

            try:
                yield tick
            finally:
                process.kill()


def _pages(runs: int) -> Iterator[Page]:
    """Of this host's own reading, with its CPUs repeated until there are so many."""
    with Ledger(by_cgroup=True, keep_tasks=False, histograms=True) as ledger:
        snapshot = Source(ledger, 200).snapshot()
    for number in CPUS:
        wide = _widened(snapshot, number)
        exposition = Exposition()
        exposition.render(families(wide))
        times = []
        for _ in range(runs):
            begin = time.process_time_ns()
            exposition.render(families(wide))
            times.append((time.process_time_ns() - begin) / 1e6)
        yield Page(number, median(times))


def _widened(snapshot: Snapshot, number: int) -> Snapshot:
    rows = [replace(snapshot.cpus[i % len(snapshot.cpus)], cpu=i) for i in range(number)]
    return replace(snapshot, cpus=rows, squeezes=dict.fromkeys(range(number), 0))


def text(result: ExportCost) -> str:
    """Two tables."""
    scrapes = [
        [
            str(scrape.cgroups),
            scrape.options or "·",
            ratio(scrape.cpu_ms, 2),
            ratio(scrape.wall_ms, 1),
            f"{scrape.page_bytes / 1e3:.0f}",
            f"{scrape.rss_bytes / 1e6:.0f}",
        ]
        for scrape in result.scrapes
    ]
    pages = [[str(page.cpus), ratio(page.cpu_ms, 2)] for page in result.pages]
    n = result.scrapes[0].cpu_ms.n
    head = ["cgroups", "options", "CPU ms", "wall ms", "page kB", "RSS MB"]
    return "\n\n".join(
        (
            f"A scrape on {len(cpus.online())} CPUs: median of {n}, {PAUSE_S} s apart "
            "[95 % interval]:",
            table(head, scrapes, left=2),
            "Making the page alone, by CPUs:",
            table(["CPUs", "CPU ms"], pages),
            f"From starting to the first answer: {ratio(result.start_s)} s",
        )
    )
