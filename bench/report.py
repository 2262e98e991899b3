"""What the faces of a recording take: events a second of CPU time, decoding included.

Each face is a process of its own, `nettax report` as people call it; what a process takes that
reads an empty recording is taken off.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.text import ratio
from nettax.events.sniff import open_recording
from nettax.experiment.estimate import Estimate, median
from nettax.host import Host
from nettax.kernel import cpus
from nettax.lab import Testbed
from nettax.report.table import count, table

__all__ = ["FaceCost", "report_cost", "text"]

RUNS = 7
SECONDS = "3"
NETTAX = [sys.executable, "-m", "nettax"]
FACES = {
    "victims": ("--victims",),
    "bursts": ("--bursts",),
    "timeline": ("--timeline",),
    "timeline, one vector's last 10 lines": ("--timeline", "--vector", "timer", "--tail", "10"),
    "timeline --json": ("--timeline", "--json"),
    "timeline --csv": ("--timeline", "--csv"),
    "Chrome trace": ("--chrome", "/dev/null"),
}


@dataclass(frozen=True, slots=True)
class FaceCost:
    """One face of one recording; medians over the runs."""

    face: str
    events: int
    rate: Estimate
    """Million events per second of CPU time."""
    peak_mib: float
    """Resident at most."""


def report_cost(
    repeats: int = RUNS, progress: Callable[[str], None] = lambda _: None
) -> tuple[FaceCost, ...]:
    """Record traffic for some seconds, then show it in turns."""
    with tempfile.TemporaryDirectory() as directory:
        path, empty = Path(directory, "events"), Path(directory, "empty")
        progress("report: recording")
        _record(path)
        empty.write_bytes(path.read_bytes()[: path.read_bytes().index(b"\n") + 1])
        return measure(path, empty, repeats, progress)


def measure(
    path: Path, empty: Path, repeats: int, progress: Callable[[str], None]
) -> tuple[FaceCost, ...]:
    """Show one recording in turns."""
    with open_recording(path) as recording:
        events = sum(map(len, recording.chunks()))
    rates: dict[str, list[float]] = {face: [] for face in FACES}
    peaks = dict.fromkeys(FACES, 0.0)
    for i in range(repeats):
        progress(f"report: {i + 1} of {repeats}")
        for face, options in FACES.items():
            start, _ = _shown(options, empty)
            whole, peak = _shown(options, path)
            rates[face].append(events / (whole - start) / 1e6)
            peaks[face] = max(peaks[face], peak)
    return tuple(FaceCost(face, events, median(rates[face]), peaks[face]) for face in FACES)


def _record(path: Path) -> None:
    with (
        Host() as host,
        Testbed(host, steer=cpus.online()[-1]) as bed,
        bed.udp(None, cpu=cpus.online()[0], batch=1) as flow,
    ):
        while not flow.received():
            time.sleep(0.01)
        command = [*NETTAX, "record", "-d", SECONDS, "-o", str(path)]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def _shown(options: tuple[str, ...], path: Path) -> tuple[float, float]:
    """CPU time of a process, s, and what it held at most, MiB."""
    command = [*NETTAX, "report", *options, str(path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
    assert status == 0, command
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def text(costs: tuple[FaceCost, ...]) -> str:
    """A table."""
    rows = [[cost.face, ratio(cost.rate, 2), f"{cost.peak_mib:.0f}"] for cost in costs]
    return "\n\n".join(
        (
            f"Report: {count(costs[0].events)} events; "
            f"median of {costs[0].rate.n} [95 % interval]:",
            table(["face", "M events per s of CPU", "MiB at most"], rows),
        )
    )
