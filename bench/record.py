"""What a recording takes: events a second with none lost, and the recorder's own CPU time.

The load is real: unpaced senders, one on each of the last CPUs, whose packets are handled in their
own system calls, each with a raise, the entry and the exit of a softirq, a poll and a packet. The
recorder shares these CPUs with the load, so the scheduler gives it only its part: what it can keep
up with here, it can where it has a CPU for itself.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.text import ratio
from nettax.events.recorder import Recorder
from nettax.events.saving import Saving, keep_up
from nettax.events.sniff import open_recording
from nettax.experiment.estimate import Estimate, median
from nettax.experiment.replay import replayed
from nettax.host import Host
from nettax.kernel import cpus
from nettax.lab import Testbed

__all__ = ["RecordCost", "record_cost", "text"]

RUNS = 6
WINDOW_S = 3.0


@dataclass(frozen=True, slots=True)
class RecordCost:
    """Of all windows; ratios where nothing else is said."""

    events_per_s: Estimate
    lost: int
    billed: Estimate
    """CPU time that the kernel billed to the recorder, over wall time; thefts included."""
    own: Estimate
    """The same without what interrupts took from it, by the replay of what it recorded."""
    own_at_a_million: Estimate
    """`own`, had the events come at a million a second."""
    fullest: float
    """The most that a ring held, of its size."""
    replayed_per_s: Estimate
    """Events a second through the reader and the replay, in one process."""


def record_cost(
    repeats: int = RUNS, progress: Callable[[str], None] = lambda _: None
) -> RecordCost:
    """Record `repeats` windows, each into a file of its own, and replay each."""
    windows = []
    with Host() as host, Testbed(host) as bed:
        for number in range(repeats):
            progress(f"record: {number + 1}/{repeats}")
            windows.append(_window(bed))
    rates, lost, billed, own, fullest, replays = zip(*windows, strict=True)
    shares = [share * 1e6 / rate for share, rate in zip(own, rates, strict=True)]
    return RecordCost(
        median(rates),
        sum(lost),
        median(billed),
        median(own),
        median(shares),
        max(fullest),
        median(replays),
    )


def _window(bed: Testbed) -> tuple[float, int, float, float, float, float]:
    fullest = 0.0
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "events")
        with ExitStack() as stack:
            for cpu in cpus.online()[-2:]:
                stack.enter_context(bed.udp(None, cpu=cpu))
            recorder = stack.enter_context(Recorder(packets=True))
            saving = Saving(path, recorder)
            start, billed = time.monotonic(), time.process_time()

            def ended(pause: float) -> bool:
                nonlocal fullest
                time.sleep(pause)
                fullest = max(fullest, recorder.filled)
                return time.monotonic() > start + WINDOW_S

            keep_up(recorder, saving, ended)
            wall, billed = time.monotonic() - start, time.process_time() - billed
            facts = saving.finish().facts
        lost = sum(lost[0] for lost in facts["lost"].values()) + facts["missed"]
        began = time.perf_counter()
        with open_recording(path) as recording:
            found = replayed(recording)
        replay_s = time.perf_counter() - began
        own = sum(task.own_ns for task in found.tasks if task.pid == os.getpid()) / found.wall_ns
    rate = facts["events"] / wall
    return rate, lost, billed / wall, own, fullest, facts["events"] / replay_s


def text(cost: RecordCost) -> str:
    """In a few lines."""
    return "\n".join(
        [
            f"recorded: {cost.events_per_s.median / 1e6:.2f} M events/s, {cost.lost} lost; "
            f"a ring held {100 * cost.fullest:.0f} % at most",
            f"the recorder's own CPU time: {ratio(cost.own)} of a CPU; "
            f"at a million events/s {ratio(cost.own_at_a_million)}; billed {ratio(cost.billed)}",
            f"read and replayed: {cost.replayed_per_s.median / 1e6:.2f} M events/s",
        ]
    )
