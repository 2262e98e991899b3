"""What the guest of test_nic.py runs: two instruments beside the kernel's own counters.

``python counted.py PACKETS EVENTS``: says ready, takes that many datagrams or what comes of them
until it is quiet, and prints what was counted as JSON.
"""

from __future__ import annotations

import json
import re
import socket
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TypeAlias

from nettax.events.model import Kind
from nettax.events.native_file import NativeRecording
from nettax.events.recorder import Recorder
from nettax.events.saving import Saving, keep_up
from nettax.kernel.interrupts import interrupts, softirqs
from nettax.ledger import Ledger

SO_RCVBUFFORCE = 33  # include/uapi/asm-generic/socket.h
QUIET = 2.0  # seconds without a packet
QUEUE = re.compile(r"virtio\d+-(?:in|out)put\.\d+|eth0-(?:rx|tx|TxRx)-\d+")


Queues: TypeAlias = dict[str, dict[str, dict[int, int]]]
Where: TypeAlias = tuple[str, int]  # an IRQ and a CPU


def queues() -> Queues:
    """What /proc/interrupts counts for each queue's line: by IRQ, with its name."""
    return {
        name: {found[0]: dict(line.per_cpu)}
        for name, line in interrupts().items()
        if (found := QUEUE.search(line.description))
    }


def net_rx() -> dict[int, int]:
    return dict(softirqs()["NET_RX"])


def between(
    outer: Queues, inner: Queues, inner_after: Queues, outer_after: Queues, ours: Counter[Where]
) -> list[list[str | int]]:
    """For each queue and CPU: the least that it can be, what was counted, and the most."""
    found: list[list[str | int]] = []
    for irq, named in outer.items():
        for name, counts in named.items():
            for cpu in counts:
                least = inner_after[irq][name][cpu] - inner[irq][name][cpu]
                most = outer_after[irq][name][cpu] - counts[cpu]
                found.append([name, cpu, least, ours[irq, cpu], most])
    return found


def main() -> None:
    """Count."""
    wanted, path = int(sys.argv[1]), Path(sys.argv[2])
    sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
    sink.bind(("198.18.0.2", 9000))
    sink.setblocking(False)
    received, last = 0, 0.0
    lines_inner_after: Queues = {}

    def ended(pause: float) -> bool:
        nonlocal received, last, lines_inner_after
        time.sleep(min(pause, 0.05))
        try:
            while True:
                sink.recv(2048)
                received += 1
                last = time.monotonic()
        except BlockingIOError:
            lines_inner_after = queues()  # what comes after the last of these is not saved
            return bool(received) and time.monotonic() - last > QUIET

    lines_outer, outer = queues(), net_rx()
    with Recorder() as recorder:
        saving = Saving(path, recorder)
        irqs_outer = lines_inner = queues()
        with Ledger() as ledger:
            irqs_inner, inner = queues(), net_rx()
            print("ready", flush=True)
            keep_up(recorder, saving, ended)
            irqs_inner_after, inner_after = queues(), net_rx()
            interval = ledger.finish() - ledger.began
        irqs_outer_after = queues()
        facts = saving.finish().facts
    lines_outer_after, outer_after = queues(), net_rx()
    seen: Counter[Where] = Counter()
    with NativeRecording(path) as recording:
        for events in recording.chunks():
            for event in events[events["kind"] == Kind.HARDIRQ_ENTRY]:
                seen[str(event["id"]), int(event["cpu"])] += 1
    lines = between(lines_outer, lines_inner, lines_inner_after, lines_outer_after, seen)
    counts = Counter({(row.irq, row.cpu): row.count for row in interval.irqs})
    irqs = between(irqs_outer, irqs_inner, irqs_inner_after, irqs_outer_after, counts)
    names = {row.irq: row.name for row in interval.irqs}
    for irq, named in irqs_outer.items():
        assert names.get(irq, *named) in named, (irq, names)
    print(
        json.dumps(
            {
                "wanted": wanted,
                "received": received,
                "polled": sum(row.softirq_packets for row in interval.cpus),
                "net_rx": [
                    [
                        row.cpu,
                        inner_after[row.cpu] - inner[row.cpu],
                        row.softirq_count["net_rx"],
                        outer_after[row.cpu] - outer[row.cpu],
                    ]
                    for row in interval.cpus
                ],
                "lines": lines,
                "irqs": irqs,
                "residual": max(abs(row.residual_ns) / row.wall_ns for row in interval.cpus),
                "lost": [facts["lost"], facts["missed"], interval.events.lost],
            }
        )
    )


if __name__ == "__main__":
    main()
