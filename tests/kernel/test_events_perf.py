"""The founding experiment: perf's recording of packets' interrupts, read without perf."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from nettax.events.model import EVERY_CPU, EventArray, Kind
from nettax.events.sniff import open_recording
from nettax.experiment.replay import replayed
from nettax.host import Host
from nettax.kernel import cpus
from nettax.lab import Testbed

PERF = shutil.which("perf")
# As in David Ahern's "The CPU cost of networking on a host".
EVENTS = (
    *("-e", "irq:irq_handler_entry,irq:irq_handler_exit"),
    *("-e", "irq:softirq_entry", "--filter", "vec == 3"),
    *("-e", "irq:softirq_exit", "--filter", "vec == 3"),
    *("-e", "napi:napi_poll"),
)
MOUNTED = 'mount -t tracefs none /sys/kernel/tracing 2>/dev/null; exec "$@"'

pytestmark = pytest.mark.skipif(PERF is None, reason="needs perf: apt install linux-perf")


def record(path: Path, *options: str) -> None:
    """Under traffic; tracefs is mounted for perf alone."""
    command = ["perf", "record", "-q", "-a", "-o", str(path), *options, "--", "sleep", "0.3"]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", MOUNTED, "sh", *command], capture_output=True, text=True
    )
    if done.returncode and "ermi" in done.stderr:
        pytest.skip(f"perf may not: {done.stderr.strip()[:200]}")
    assert done.returncode == 0, done.stderr


def printed(path: Path) -> Path:
    """What perf script prints of it."""
    target = path.with_suffix(".txt")
    with target.open("w") as out:
        command = ["perf", "script", "--ns", "-F", "comm,pid,tid,cpu,time,event,trace"]
        subprocess.run(
            [*command, "-i", str(path)], stdout=out, stderr=subprocess.DEVNULL, check=True
        )
    return target


def runs(events: EventArray) -> int:
    """Softirqs with both ends: perf turns one event on after the other, and may lose some."""
    kinds = (Kind.SOFTIRQ_ENTRY, Kind.SOFTIRQ_EXIT, Kind.SWITCH, Kind.LOST)
    order = events["kind"][np.isin(events["kind"], kinds)]
    whole = (order[:-1] == Kind.SOFTIRQ_ENTRY) & (order[1:] == Kind.SOFTIRQ_EXIT)
    return int(whole.sum())


@pytest.mark.parametrize(
    "more",
    [(), ("-z",), ("-k", "CLOCK_MONOTONIC", "-e", "sched:sched_switch,sched:sched_wakeup")],
    ids=["founding", "compressed", "switches"],
)
def test_the_file_holds_what_perf_script_prints(
    host: Host, tmp_path: Path, more: tuple[str, ...]
) -> None:
    path = tmp_path / "perf.data"
    victim = cpus.online()[-1]
    with Testbed(host, steer=victim, gro=True) as bed, bed.udp(20_000, burst=4, batch=8) as flow:
        while not flow.received():
            time.sleep(0.005)
        record(path, *EVENTS, *more)
    with open_recording(path) as recording:
        events = np.concatenate(list(recording.chunks()))
        accounts = replayed(recording)
    assert recording.damage == []
    assert recording.vectors == frozenset({3})
    numbers = sorted(set(events["cpu"].tolist()) - {EVERY_CPU})
    whole = [runs(events[np.isin(events["cpu"], (cpu, EVERY_CPU))]) for cpu in numbers]
    events = events[events["kind"] != Kind.LOST]
    with open_recording(printed(path)) as text:
        expected = np.concatenate(list(text.chunks()))
    assert len(events)
    assert events.tolist() == expected.tolist()
    assert recording.tables.irqs == text.tables.irqs
    assert recording.tables.devices == text.tables.devices

    # On all CPUs: this host may hide all of what comes over one task of its supervisor's.
    assert [row.cpu for row in accounts.cpus] == numbers
    assert [row.softirq_count["net_rx"] for row in accounts.cpus] == whole
    polls = events[events["kind"] == Kind.NAPI_POLL]
    packets = [int(polls["a"][polls["cpu"] == cpu].sum()) for cpu in numbers]
    assert [row.packets for row in accounts.cpus] == packets
    assert sum(whole) > 0
    assert sum(packets) > 0
    assert ("own_ns" in accounts.unknown) == ("sched:sched_switch" not in " ".join(more))
