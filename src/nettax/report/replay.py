"""The ledger of a recording, as the tables and documents of `nettax stat`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from nettax.events.model import Recording
from nettax.experiment.replay import Replayed
from nettax.ledger import CpuShare, TaskShare
from nettax.report import interval
from nettax.report.interval import cpus_table, histogram_text, payers_table
from nettax.report.table import count, signed_percent

__all__ = ["document", "tasks_csv", "text", "untraced_text"]

SCHEMA = "nettax.replay/1"


def _marked(replayed: Replayed, tasks: Sequence[TaskShare]) -> tuple[Replayed, list[TaskShare]]:
    """With None for what is not known, as tables and documents show it."""

    def mark(row: Any) -> Any:
        absent = {f.name: None for f in fields(row) if f.name in replayed.unknown}
        if isinstance(row, TaskShare) and (row.pid, row.start_ns) in replayed.unbilled:
            absent["billed_ns"] = None
        return replace(row, **absent)

    cpus: tuple[CpuShare, ...] = tuple(map(mark, replayed.cpus))
    return replace(replayed, cpus=cpus), list(map(mark, tasks))


def document(
    replayed: Replayed, tasks: Sequence[TaskShare], recording: Recording
) -> dict[str, Any]:
    """The JSON document `nettax.replay/1`: rows as in `nettax.stat/1`, null where not known."""
    marked, rows = _marked(replayed, tasks)
    return {
        "schema": SCHEMA,
        "recording": {
            "format": recording.format,
            "clock": recording.clock,
            "machine": asdict(recording.machine),
            "events": replayed.recorded,
            "untraced": recording.untraced,
            "damage": [asdict(part) for part in recording.damage],
        },
        "interval": {"start_ns": replayed.start_ns, "wall_ns": replayed.wall_ns},
        "cpus": [asdict(cpu) for cpu in marked.cpus],
        "total": asdict(CpuShare.total(marked.cpus)) if marked.cpus else None,
        "tasks": [asdict(task) for task in rows],
        "histograms": {name: list(slots) for name, slots in replayed.histograms.items()},
        "events": asdict(replayed.events),
    }


def tasks_csv(replayed: Replayed, tasks: Sequence[TaskShare]) -> str:
    """One line per task, as `nettax stat --csv` prints them; empty where not known."""
    return interval.payers_csv(replayed, _marked(replayed, tasks)[1])


def text(
    replayed: Replayed,
    tasks: Sequence[TaskShare],
    recording: Recording,
    rows: int,
    histograms: bool = False,
) -> str:
    """Tables for people: tasks, CPUs, and what could not be accounted for."""
    marked, shown = _marked(replayed, tasks[:rows])
    parts = [_heading(replayed, recording)]
    if not replayed.cpus:
        return "\n\n".join([*parts, "It holds no events."])
    parts += [payers_table(marked, shown)]
    if len(tasks) > rows:
        parts.append(f"({len(tasks) - rows} more tasks; -n sets how many are shown)")
    parts.append(cpus_table(marked))
    if histograms:
        parts += [histogram_text(name, slots) for name, slots in replayed.histograms.items()]
    parts.append(_footer(marked, recording))
    return "\n\n".join(parts)


def _heading(replayed: Replayed, recording: Recording) -> str:
    machine = recording.machine
    where = ", ".join(
        part for part in (machine.hostname, machine.release, machine.arch) if part is not None
    )
    return (
        f"{replayed.wall_ns / 1e9:.3f} s on {len(replayed.cpus)} CPUs; "
        "shares in % of one CPU; ? is not in the recording\n"
        f"{recording.format}, {count(replayed.recorded)} events"
        + (f", of {where}" if where else "")
        + (f"; {recording.clock}" if recording.clock else "")
    )


def untraced_text(untraced: Mapping[str, int] | None) -> str:
    """`untraced: softirqs 3, packets 128`; nothing, if there are none or nobody knows."""
    parts = [f"{what} {number}" for what, number in (untraced or {}).items() if number]
    return f"untraced: {', '.join(parts)}" if parts else ""


def _footer(marked: Replayed, recording: Recording) -> str:
    wall = sum(cpu.wall_ns for cpu in marked.cpus)
    total = CpuShare.total(marked.cpus).residual_ns
    events = marked.events
    lines = [
        f"residual {signed_percent(total, wall)} % · lost {events.lost} · "
        f"unmatched {events.unmatched} · inferred {100 * events.inferred_ns / (wall or 1):.1f} %"
    ]
    if hidden := untraced_text(recording.untraced):
        lines.append(f"{hidden} (hidden by the host that recorded)")
    lines += [f"byte {part.offset}: {part.what}" for part in recording.damage[:5]]
    if len(recording.damage) > 5:
        lines.append(f"and {len(recording.damage) - 5} more parts that could not be read")
    return "\n".join(lines)
