"""What the slices of a Chrome trace come to, beside what the replay of the same recording does."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from nettax.events.model import Recording
from nettax.experiment.replay import Replayed, replayed
from nettax.report import chrome_trace

__all__ = ["Tracks", "counted", "of_ledger", "of_trace", "traced"]

Tracks = dict[str, Counter[str]]
"""By a track's name, ns that each name had, without what is inside it."""


def traced(recording: Recording, path: Path) -> tuple[list[dict[str, Any]], Replayed]:
    """The events of its trace, written to a path; and its ledger."""
    chrome_trace.write(recording, path)
    return json.loads(path.read_text())["traceEvents"], replayed(recording)


def of_trace(events: list[dict[str, Any]]) -> Tracks:
    """By the rules of the format, as the file has them: slices of a thread nest, and times grow."""
    found: Tracks = {}
    for cpu in {event["pid"] for event in events}:
        for tid, thread in enumerate(chrome_trace.THREADS):
            mine = [e for e in events if e["ph"] in "BE" and (e["pid"], e["tid"]) == (cpu, tid)]
            if mine:
                found[f"CPU {cpu} (pid {cpu}), {thread} (tid {tid})"] = _self_times(mine)
    return found


def _self_times(edges: list[dict[str, Any]]) -> Counter[str]:
    times: Counter[str] = Counter()
    around: list[str] = []
    last = 0
    for edge in edges:
        now = round(1000 * edge["ts"])
        assert now >= last
        if around:
            times[around[-1]] += now - last
        if edge["ph"] == "B":
            around.append(edge["name"])
        else:
            assert around.pop() == edge["name"]
        last = now
    assert not around
    return times


def of_ledger(tracks: Tracks, accounts: Replayed, sliced: bool = True) -> None:
    """Assert that the tracks come to what the ledger has, to the nanosecond."""
    for cpu in accounts.cpus:
        task, soft, hard = (
            tracks.get(f"CPU {cpu.cpu} (pid {cpu.cpu}), {thread} (tid {tid})", Counter())
            for tid, thread in enumerate(chrome_trace.THREADS[:3])
        )
        if sliced:
            assert task.total() == cpu.wall_ns - cpu.residual_ns
        assert hard.total() == cpu.hardirq_ns
        assert {name.upper(): ns for name, ns in cpu.softirq_ns.items() if ns} == {
            name: ns for name, ns in soft.items() if ns and name != "interrupted"
        }


def counted(events: list[dict[str, Any]], accounts: Replayed) -> None:
    """Assert that packets and polls are those of the ledger."""
    for cpu in accounts.cpus:
        mine = [event for event in events if event["pid"] == cpu.cpu]
        packets = sum(event["args"]["packets"] for event in mine if event["ph"] == "C")
        polls = [e for e in mine if e["ph"] in "Bi" and e["tid"] == chrome_trace.POLLS]
        assert packets == cpu.softirq_packets
        assert len(polls) == cpu.polls
        works = [poll["name"].split()[-1].split("/")[0] for poll in polls]
        assert sum(map(int, works)) == cpu.packets
