"""A recording as a timeline: one line for each interrupt and what it led to."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from nettax.events.groups import Groups, groups
from nettax.events.model import VECTOR_NAMES, Kind, Recording, Tables
from nettax.events.spans import NET_RX, spans
from nettax.ledger.rows import VECTORS
from nettax.report.interval import time_text
from nettax.report.table import safe

__all__ = ["SCHEMA", "line", "timeline"]

SCHEMA = "nettax.timeline/1"
MOST_HELD = 1 << 18  # groups; so many wait at most for a CPU that is silent

HEAD = f"{'time, s':>16}  CPU  {'task':<16} "


def timeline(recording: Recording) -> Iterator[dict[str, Any]]:
    """The groups of all CPUs by the time they began, as `nettax.timeline/1` has them."""
    held: list[tuple[int, int, int, Groups]] = []
    until: dict[int, int] = {}
    for found in groups(spans(recording.chunks())):
        until[found.cpu] = found.until_ns
        starts = found.spans["start_ns"][found.first[:-1]].tolist()
        for i, start in enumerate(starts):
            heapq.heappush(held, (start, found.cpu, i, found))
        known = min(until.values())
        while held and (held[0][0] < known or len(held) > MOST_HELD):
            _, _, i, found = heapq.heappop(held)
            yield _row(found, i, recording.tables)


def _row(found: Groups, i: int, tables: Tables) -> dict[str, Any]:
    items = found.spans[found.first[i] : found.first[i + 1]]
    polls = found.polls[found.poll_first[i] : found.poll_first[i + 1]]
    start, pid = int(items["start_ns"][0]), int(items["pid"][0])
    gap = int(found.gap_ns[i])
    return {
        "time_ns": start,
        "cpu": found.cpu,
        "pid": pid,
        "task": tables.tasks.comm(pid, start),
        "hardirqs": [_hardirq(item, tables) for item in items if _is_hard(item)],
        "softirqs": [_softirq(item) for item in items if not _is_hard(item)],
        "polls": [
            {"device": tables.devices.get(device), "work": work, "budget": budget}
            for device, work, budget in polls[["id", "a", "b"]].tolist()
        ],
        "interrupted": int(found.inside[i]),
        "end_ns": int(items["end_ns"][-1]),
        "gap_ns": None if gap < 0 else gap,
    }


def _is_hard(item: Any) -> bool:
    return bool(item["kind"] != Kind.SOFTIRQ_ENTRY)


def _hardirq(item: Any, tables: Tables) -> dict[str, Any]:
    number = int(item["id"])
    if item["kind"] == Kind.VECTOR_ENTRY:
        name: str | None = VECTOR_NAMES[item["name"]]
    else:
        name = tables.irqs.get(number)
    return {"irq": number, "name": name, "ns": int(item["end_ns"] - item["start_ns"])}


def _softirq(item: Any) -> dict[str, Any]:
    vector = int(item["id"])
    return {
        "vector": VECTORS[vector] if vector < len(VECTORS) else str(vector),
        "ns": int(item["end_ns"] - item["start_ns"] - item["hard_ns"]),
    }


def line(row: dict[str, Any]) -> str:
    """One group for people."""
    hard = [irq["name"] or f"IRQ {irq['irq']}" for irq in row["hardirqs"]]
    steps = [_repeated(hard)] if hard else []
    for vector, rounds in itertools.groupby(row["softirqs"], key=lambda soft: soft["vector"]):
        times = [soft["ns"] for soft in rounds]
        many = f" ×{len(times)}" if len(times) > 1 else ""
        polls = _polls(row["polls"]) if vector == VECTORS[NET_RX] else ""
        steps.append(f"{vector.upper()}{many}{polls} {_sum(times)}")
    if row["interrupted"]:
        steps[-1] += f" (interrupted ×{row['interrupted']})"
    if row["gap_ns"] is not None:
        steps.append(f"gap {time_text(row['gap_ns'])}")
    when = f"{row['time_ns'] / 1e9:16.6f}  {row['cpu']:3}"
    return f"{when}  {safe(row['task']):<16} {' → '.join(steps)}"


def _repeated(names: Iterable[str]) -> str:
    counts = [(name, len(list(same))) for name, same in itertools.groupby(names)]
    return " + ".join(safe(name) + (f" ×{many}" if many > 1 else "") for name, many in counts)


def _polls(polls: list[dict[str, Any]]) -> str:
    works = [f"{poll['work']}/{poll['budget']}" for poll in polls]
    if not works:
        return ""
    runs = [(work, len(list(same))) for work, same in itertools.groupby(works)]
    shown = [work + (f" ×{many}" if many > 1 else "") for work, many in runs[:8]]
    return f" ({', '.join(shown)}{', …' if len(runs) > 8 else ''})"


def _sum(times: list[int]) -> str:
    """Times of a few rounds one by one, of many their sum."""
    if len(times) <= 4:
        return " + ".join(map(time_text, times))
    return f"{time_text(sum(times))} in all"
