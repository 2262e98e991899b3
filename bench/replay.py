"""What reading a recording of perf's takes: nettax's table, beside perf's printing of the events.

Both are single processes, timed whole, from start to end, in turns. Other figures are the rates at
which events are decoded and accounted for, once Python has started. Python's modules are compiled
beforehand, as they are where nettax is installed.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.text import ratio
from nettax.errors import MissingFeature
from nettax.experiment.estimate import Estimate, median
from nettax.host import Host
from nettax.kernel import cpus
from nettax.lab import Testbed
from nettax.report.table import table

__all__ = ["ReplayCost", "replay_cost", "text"]

EVENTS = 2_000_000
RUNS = 7
SECONDS = 2.0  # of recording at a time
RECORD = (
    *("perf", "record", "-q", "-a", "-m", "64M"),
    *("-e", "irq:irq_handler_entry,irq:irq_handler_exit,irq:softirq_entry,irq:softirq_exit"),
    *("-e", "irq:softirq_raise,napi:napi_poll,net:netif_receive_skb"),
    *("-e", "sched:sched_switch,sched:sched_wakeup"),
)
MOUNTED = 'mount -t tracefs none /sys/kernel/tracing 2>/dev/null; exec "$@"'
TABLE = (sys.executable, "-m", "nettax", "report", "--victims")
BOTH = (sys.executable, "-m", "nettax", "report")
RATES = """
import resource, sys, time
from nettax.events.replay import Replay
from nettax.events.sniff import open_recording
def replayed(parts):
    replay = Replay(recording.tables)
    for rows in parts:
        replay.feed(rows)
    replay.finish()
with open_recording(sys.argv[1]) as recording:
    next(recording.rows())
    times = [time.process_time()]
    decoded = sum(len(rows) // 40 for rows in recording.rows())
    times.append(time.process_time())
    replayed(recording.rows())
    times.append(time.process_time())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kept = [memoryview(bytearray(rows)) for rows in recording.rows()]
    times.append(time.process_time())
    replayed(kept)
    times.append(time.process_time())
print(decoded, times[1] - times[0], times[2] - times[1], times[4] - times[3], peak)
"""


FIGURES = ("wall", "cpu", "both", "start", "decoded", "replayed", "accounted")


@dataclass(frozen=True, slots=True)
class ReplayCost:
    """Medians over the runs."""

    events: int
    file_bytes: int
    wall: Estimate
    """perf's wall time over nettax's."""
    cpu: Estimate
    """perf's CPU time over nettax's."""
    both: Estimate
    """perf's CPU time over nettax's, when it also tells of bursts."""
    start: Estimate
    """Seconds of CPU time that nettax's table of 10 ms takes."""
    decoded: Estimate
    """Million events per second of CPU time, decoded."""
    replayed: Estimate
    """Million events per second of CPU time, decoded and accounted for."""
    accounted: Estimate
    """Million events per second of CPU time, accounted for, out of memory."""
    peak_mib: float
    """Resident at most, with Python."""


def replay_cost(
    repeats: int = RUNS, progress: Callable[[str], None] = lambda _: None
) -> ReplayCost:
    """Record real traffic until there are enough events, then read it in turns.

    :raises MissingFeature: perf is not installed
    """
    if shutil.which("perf") is None:
        raise MissingFeature("bench replay compares with perf: apt install linux-perf")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "perf.data"
        progress("replay: recording")
        _record(path)
        return measure(path, repeats, progress)


def measure(path: Path, repeats: int, progress: Callable[[str], None]) -> ReplayCost:
    """Read one recording in turns."""
    found: dict[str, list[float]] = {name: [] for name in FIGURES}
    events = peak = 0
    short = path.with_name("short.data")
    _perf_record(short, 0.01)
    for command in (TABLE, BOTH):  # compiles what it imports
        _timed([*command, str(path)])
    for i in range(repeats):
        progress(f"replay: {i + 1} of {repeats}")
        theirs = _timed(["perf", "script", "-i", str(path)])
        ours = _timed([*TABLE, str(path)])
        rates = subprocess.run(
            [sys.executable, "-c", RATES, str(path)], capture_output=True, text=True, check=True
        ).stdout.split()
        events, peak = int(rates[0]), max(peak, int(rates[4]))
        decoded, replayed, accounted = (events / float(rate) / 1e6 for rate in rates[1:4])
        now = {
            "wall": theirs[0] / ours[0],
            "cpu": theirs[1] / ours[1],
            "both": theirs[1] / _timed([*BOTH, str(path)])[1],
            "start": _timed([*TABLE, str(short)])[1],
            "decoded": decoded,
            "replayed": replayed,
            "accounted": accounted,
        }
        for name in FIGURES:
            found[name].append(now[name])
    return ReplayCost(
        events=events,
        file_bytes=path.stat().st_size,
        peak_mib=peak / 1024,
        **{name: median(values) for name, values in found.items()},
    )


def _record(path: Path) -> None:
    """A flow that the receiver's CPU handles packet by packet; longer if that gave too little."""
    seconds = SECONDS
    with (
        Host() as host,
        Testbed(host, steer=cpus.online()[-1]) as bed,
        bed.udp(None, cpu=cpus.online()[0], batch=1) as flow,
    ):
        while not flow.received():
            time.sleep(0.01)
        while True:
            _perf_record(path, seconds)
            # a sample of these events takes 80 bytes and more
            if path.stat().st_size > 85 * EVENTS or seconds > 30:
                return
            seconds *= max(1.2, min(10.0, 95 * EVENTS / path.stat().st_size))


def _perf_record(path: Path, seconds: float) -> None:
    command = [*RECORD, "-o", str(path), "--", "sleep", str(seconds)]
    subprocess.run(
        ["unshare", "--mount", "sh", "-c", MOUNTED, "sh", *command],
        check=True,
        stderr=subprocess.DEVNULL,
    )


def _timed(command: list[str]) -> tuple[float, float]:
    """Wall time and CPU time of a process, s."""
    compiled = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, env=compiled
    )
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def text(cost: ReplayCost) -> str:
    """A table."""
    rows = [
        ["wall time, perf script ÷ nettax's table", ratio(cost.wall, 1)],
        ["CPU time, perf script ÷ nettax's table", ratio(cost.cpu, 1)],
        ["CPU time, perf script ÷ nettax's tables of victims and bursts", ratio(cost.both, 1)],
        ["CPU time of nettax's table of 10 ms, s", ratio(cost.start, 2)],
        ["decoded, M events per s of CPU", ratio(cost.decoded, 2)],
        ["decoded and accounted for, M events per s of CPU", ratio(cost.replayed, 2)],
        ["accounted for, out of memory, M events per s of CPU", ratio(cost.accounted, 1)],
    ]
    head = f"Replay: {cost.events / 1e6:.2f} M events, {cost.file_bytes / 1e6:.0f} MB of perf.data"
    return "\n\n".join(
        (
            f"{head}; median of {cost.wall.n} [95 % interval]:",
            table(["what", "figure"], rows),
            f"resident at most {cost.peak_mib:.0f} MiB",
        )
    )
