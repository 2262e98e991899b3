"""The columns of each table: how a figure is found, sorted by and written, and which give way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nettax.kernel.workload import workload
from nettax.ledger import CpuShare
from nettax.ledger.groups import Group
from nettax.report.table import count, percent, signed_percent
from nettax.tui.accounts import FIGURES, cpu_parts
from nettax.tui.moment import Moment, Row

__all__ = ["COLUMNS", "Column", "chosen"]

HOT = 0.10  # of one CPU: from here on, what was taken stands out
GAP = 1


@dataclass(frozen=True)
class Column:
    """One column."""

    name: str
    """Its heading, which `nettax.report.fields` explains."""
    width: int
    """In cells. A column that can stretch gets what is left over as well."""
    value: Callable[[Moment, Any], Any]
    """What rows are sorted by."""
    text: Callable[[Moment, Any], str]
    rank: int
    """The higher, the sooner it gives way where there is little room."""
    left: bool = False
    stretch: int = 0
    """How many cells more it may get."""
    style: Callable[[Moment, Any, str], str] = lambda moment, row, text: ""
    """By the row and its text."""


def share(ns: int, wall_ns: int) -> str:
    """A share of one CPU in five cells, whatever a group of tasks had."""
    text = percent(ns, wall_ns)
    return text if len(text) <= 5 else f"{100 * ns / wall_ns:.0f}"


def _figure(name: str, width: int, rank: int) -> Column:
    get = FIGURES[name]

    def style(moment: Moment, row: Row, text: str) -> str:
        if name == "taken" and get(row.charges) >= HOT * moment.wall_ns:
            return "hot"
        return "dim" if text == "·" else ""

    return Column(
        name,
        width,
        lambda moment, row: get(row.charges),
        lambda moment, row: share(get(row.charges), moment.wall_ns),
        rank,
        style=style,
    )


def _rate(name: str, get: Callable[[Row], int], rank: int) -> Column:
    return Column(
        name,
        len(name),
        lambda moment, row: get(row),
        lambda moment, row: count(get(row) * 1e9 / (moment.wall_ns or 1)),
        rank,
    )


def _text(
    name: str, width: int, get: Callable[[Any], str], rank: int, stretch: int = 0, **more: Any
) -> Column:
    return Column(
        name,
        width,
        lambda moment, row: get(row),
        lambda moment, row: get(row),
        rank,
        left=True,
        stretch=stretch,
        **more,
    )


def _number(name: str, width: int, get: Callable[[Any], int], rank: int) -> Column:
    return Column(
        name, width, lambda moment, row: get(row), lambda moment, row: str(get(row)), rank
    )


def _who(row: Row) -> str:
    return (row.name if isinstance(row, Group) else row.comm) + ("†" if row.exited else "")


def _whose(row: Row) -> str:
    """What a task belongs to, beside its name."""
    return workload(row.cgroup).name if row.cgroup else ""


def _style(moment: Moment, row: Row, text: str) -> str:
    if row.exited:
        return "dim"
    return "kthread" if row.kind in ("ksoftirqd", "napi", "irq") else "name"


def _members(row: Group) -> int:
    return len(row.tasks)


def _part(name: str) -> Column:
    return Column(
        name,
        max(len(name), 5),
        lambda moment, row: row.part(name).oncpu_ns,
        lambda moment, row: share(row.part(name).oncpu_ns, moment.wall_ns),
        3,
    )


_SHARES = (
    _figure("billed", 6, 4),
    _figure("own", 5, 2),
    _figure("taken", 5, 1),
    _figure("hardirq", 7, 6),
    _figure("net", 5, 5),
    _figure("softirq", 7, 7),
    _figure("displaced", 9, 3),
)
_TOLL = Column(
    "≈toll",
    5,
    lambda moment, row: moment.toll_ns(row),
    lambda moment, row: share(moment.toll_ns(row), moment.wall_ns),
    9,
    style=lambda moment, row, text: "dim",
)
_MORE = (
    _figure("waited", 6, 11),
    _rate("irq/s", lambda row: row.charges.interrupts, 13),
    _rate("switches/s", lambda row: row.charges.switches, 14),
)


def _grouped(name: str, width: int, *columns: Column, members: int = 8) -> tuple[Column, ...]:
    """The columns of a table of groups."""
    tasks = _number("tasks", 5, _members, members)
    return (
        _text(name, width, _who, 0, stretch=60, style=_style),
        *columns,
        tasks,
        *_SHARES,
        _TOLL,
        *_MORE,
    )


_TASKS = (
    _text("task", 15, _who, 0, stretch=1, style=_style),
    _number("pid", 7, lambda task: task.pid, 8),
    _number("CPU", 3, lambda task: task.cpu, 10),
    *_SHARES,
    _TOLL,
    *_MORE,
    _text("of", 16, _whose, 12, stretch=24, style=lambda moment, row, text: "dim"),
)


def _cpu_share(name: str, width: int, rank: int) -> Column:
    return Column(
        name,
        width,
        lambda moment, cpu: cpu_parts(cpu)[name],
        lambda moment, cpu: percent(cpu_parts(cpu)[name], cpu.wall_ns),
        rank,
    )


def _cpu_rate(name: str, get: Callable[[CpuShare], int], rank: int) -> Column:
    return Column(
        name,
        len(name),
        lambda moment, cpu: get(cpu),
        lambda moment, cpu: count(get(cpu) * 1e9 / (moment.wall_ns or 1)),
        rank,
    )


_CPUS = (
    Column(
        "CPU",
        3,
        lambda moment, cpu: cpu.cpu,
        lambda moment, cpu: "all" if cpu is moment.total else str(cpu.cpu),
        0,
        style=lambda moment, cpu, text: "name",
    ),
    _cpu_share("own", 5, 2),
    _cpu_share("hardirq", 7, 4),
    _cpu_share("net", 5, 1),
    _cpu_share("softirq", 7, 5),
    _cpu_share("kthread", 7, 3),
    Column(
        "residual",
        8,
        lambda moment, cpu: abs(cpu.residual_ns),
        lambda moment, cpu: signed_percent(cpu.residual_ns, cpu.wall_ns),
        6,
        style=lambda moment, cpu, text: (
            "hot" if abs(cpu.residual_ns) > 0.005 * cpu.wall_ns else "dim"
        ),
    ),
    Column(
        "steal",
        5,
        lambda moment, cpu: cpu.steal_ns,
        lambda moment, cpu: percent(cpu.steal_ns, cpu.wall_ns),
        9,
    ),
    _cpu_rate("polls/s", lambda cpu: cpu.polls, 8),
    Column(
        "ns/packet",
        9,
        lambda moment, cpu: cpu.ns_per_packet or 0,
        lambda moment, cpu: "·" if cpu.ns_per_packet is None else f"{cpu.ns_per_packet:.0f}",
        7,
    ),
    Column(
        "squeezed/s",
        10,
        lambda moment, cpu: cpu.squeezed or 0,
        lambda moment, cpu: (
            "?" if cpu.squeezed is None else count(cpu.squeezed * 1e9 / (moment.wall_ns or 1))
        ),
        7,
    ),
    _cpu_share("idle", 5, 11),
    _cpu_share("idle-irq", 8, 12),
    Column(
        "≈toll",
        5,
        lambda moment, cpu: cpu.toll_ns.estimate if cpu.toll_ns else 0,
        lambda moment, cpu: percent(cpu.toll_ns.estimate, cpu.wall_ns) if cpu.toll_ns else "?",
        13,
        style=lambda moment, cpu, text: "dim",
    ),
    _cpu_rate("packets/s", lambda cpu: cpu.packets, 10),
    _cpu_rate("irq/s", lambda cpu: cpu.hardirq_count, 14),
    _cpu_rate("ipi/s", lambda cpu: cpu.ipi_count, 15),
    _cpu_rate("net_rx/s", lambda cpu: cpu.softirq_count["net_rx"], 16),
)

COLUMNS: Final[Mapping[str, Sequence[Column]]] = {
    "tasks": _TASKS,
    "processes": _grouped("process", 15, _number("pid", 7, lambda group: group.key, 8), members=10),
    "workloads": _grouped("workload", 13, _text("kind", 10, lambda group: group.kind, 8)),
    "cgroups": _grouped("cgroup", 20),
    "machines": _grouped("machine", 10, *map(_part, ("vcpu", "emulator", "vhost")), members=12),
    "cpus": _CPUS,
}


def chosen(columns: Sequence[Column], width: int) -> list[tuple[Column, int]]:
    """The columns that fit, with their widths; the rest of the room goes to those that stretch.

    The first is always among them, if only in part.
    """
    first = min(columns[0].width, max(width // 2, 1))
    kept, left = [columns[0]], width - first
    for column in sorted(columns[1:], key=lambda column: column.rank):
        if column.width + GAP > left:
            break
        kept.append(column)
        left -= column.width + GAP
    widths = {column.name: column.width for column in kept} | {columns[0].name: first}
    for column in kept:
        more = min(column.width + column.stretch - widths[column.name], left)
        widths[column.name] += more
        left -= more
    return [(column, widths[column.name]) for column in columns if column.name in widths]
