"""One interval of the ledger, as text, JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from nettax.kernel.cpus import format_list
from nettax.ledger import CpuShare, GroupShare, IrqShare, TaskShare
from nettax.report.table import count, percent, safe, signed_percent, table

if TYPE_CHECKING:
    from nettax.ledger import Interval

__all__ = [
    "Payers",
    "by_taken",
    "cpus_table",
    "document",
    "histogram_text",
    "irqs_table",
    "payers_csv",
    "payers_table",
    "text",
    "time_text",
]

SCHEMA = "nettax.stat/1"
Payer = TypeVar("Payer", TaskShare, GroupShare)
Payers = Sequence[TaskShare] | Sequence[GroupShare]


def by_taken(payers: Iterable[Payer]) -> list[Payer]:
    """Tasks or groups by what was taken from them, most first; then by what they were billed."""
    return sorted(payers, key=lambda p: (-p.taken_ns, -p.billed_ns))


def document(interval: Interval, payers: Payers, by: str | None = None) -> dict[str, Any]:
    """The interval as the JSON document `nettax.stat/1`.

    The payers are those selected: under `tasks` or, added up `by` something, under `groups`.
    """
    return {
        "schema": SCHEMA,
        "interval": {"start_ns": interval.start_ns, "wall_ns": interval.wall_ns},
        "accounting": asdict(interval.accounting),
        "cpus": [asdict(cpu) for cpu in interval.cpus],
        "total": asdict(CpuShare.total(interval.cpus)),
        "irqs": [asdict(irq) for irq in sorted(interval.irqs, key=_line)],
        "groups" if by else "tasks": [asdict(payer) for payer in payers],
        "histograms": {name: list(slots) for name, slots in interval.histograms.items()},
        "toll": asdict(interval.toll) if interval.toll else None,
        "events": asdict(interval.events),
        "self": asdict(interval.own_cost),
    }


def payers_csv(interval: Accounts, payers: Payers, header: bool = True) -> str:
    """One line per task or group, nested fields as `outer.inner`, with a header if there are any.

    Each line begins with the interval, so that those of several make one table.
    """
    when = {"interval.start_ns": interval.start_ns, "interval.wall_ns": interval.wall_ns}
    rows = [{**when, **dict(_flat(asdict(payer)))} for payer in payers]
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, rows[0], lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(rows)
    return out.getvalue()


def _flat(row: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, safe(value) if isinstance(value, str) else value


def text(interval: Interval, payers: Payers, rows: int, irqs: bool = False) -> str:
    """The interval as tables for people: payers, CPUs, and what could not be accounted for.

    With `irqs`, interrupts by what raised them, too.
    """
    parts = [_heading(interval), payers_table(interval, payers[:rows]), cpus_table(interval)]
    if len(payers) > rows:
        what = "tasks" if isinstance(payers[0], TaskShare) else "groups"
        parts.insert(2, f"({len(payers) - rows} more {what}; -n sets how many are shown)")
    if irqs:
        parts.append(irqs_table(interval, rows))
    if interval.histograms:
        parts += [histogram_text(name, slots) for name, slots in interval.histograms.items()]
    parts.append(_footer(interval))
    return "\n\n".join(parts)


# What the kernel does with the time of interrupts, by `Accounting.interrupts_apart`.
BILLS = {
    True: "tasks are not billed for interrupts",
    False: "the kernel bills interrupts to the task that they interrupt",
    None: "who pays for interrupts is not known",
}


def _heading(interval: Interval) -> str:
    return (
        f"{interval.wall_ns / 1e9:.3f} s on {len(interval.cpus)} CPUs; "
        "shares in % of one CPU; ≈toll lies inside the other columns\n"
        f"accounting: {interval.accounting.mode}: {BILLS[interval.accounting.interrupts_apart]}"
    )


class Accounts(Protocol):
    """What the tables need of an interval, live or replayed."""

    @property
    def start_ns(self) -> int: ...
    @property
    def wall_ns(self) -> int: ...
    @property
    def cpus(self) -> tuple[CpuShare, ...]: ...
    @property
    def toll(self) -> object | None: ...


def payers_table(interval: Accounts, payers: Payers) -> str:
    """Tasks or groups, one a line: what they were billed, had, and what was taken from them."""
    wall = interval.wall_ns
    toll = interval.toll is not None

    def row(payer: TaskShare | GroupShare) -> list[str]:
        stolen = payer.stolen_ns
        net = stolen["net_rx"] + stolen["net_tx"]
        other = sum(stolen.values()) - net - stolen["hardirq"]
        cells = [
            *_who(payer),
            percent(payer.billed_ns, wall),
            percent(payer.own_ns, wall),
            percent(stolen["hardirq"], wall),
            percent(net, wall),
            percent(other, wall),
            percent(sum(payer.displaced_ns.values()) if payer.displaced_ns else None, wall),
        ]
        return [*cells, percent(payer.toll_ns.estimate, wall)] if payer.toll_ns else cells

    first = payers[0] if payers else None
    if isinstance(first, GroupShare):
        who = ["process", "pid", "tasks"] if first.pid is not None else ["group", "kind", "tasks"]
    else:
        who = ["task", "pid"]
    head = [*who, "billed", "own", "hardirq", "net", "softirq", "displaced"]
    rows = [row(payer) for payer in payers]
    return table([*head, "≈toll"] if toll else head, rows, left=2 if who[1] == "kind" else 1)


def _who(payer: TaskShare | GroupShare) -> list[str]:
    ended = "†" if payer.exited else ""
    if isinstance(payer, TaskShare):
        return [payer.comm + ended, str(payer.pid)]
    second = payer.kind if payer.pid is None else str(payer.pid)
    return [payer.name + ended, second, str(payer.tasks)]


def cpus_table(interval: Accounts) -> str:
    """CPUs, one a line: where their time went; and below, what work they did."""
    toll = interval.toll is not None

    def row(name: str, cpu: CpuShare) -> list[str]:
        wall = cpu.wall_ns
        net = cpu.stolen_ns["net_rx"] + cpu.stolen_ns["net_tx"]
        other = sum(cpu.stolen_ns.values()) - net - cpu.stolen_ns["hardirq"]
        cells = [
            name,
            percent(cpu.idle_ns, wall),
            percent(cpu.idle_interrupted_ns, wall),
            percent(cpu.own_ns, wall),
            percent(cpu.stolen_ns["hardirq"], wall),
            percent(net, wall),
            percent(other, wall),
            percent(sum(cpu.kthread_ns.values()), wall),
            signed_percent(cpu.residual_ns, wall),
            *([percent(cpu.toll_ns.estimate, wall)] if cpu.toll_ns else []),
        ]
        return [*cells, percent(cpu.steal_ns, wall)]

    head = ["CPU", "idle", "idle-irq", "own", "hardirq", "net", "softirq", "kthread", "residual"]
    rows = [row(*named) for named in _named(interval)]
    shares = table([*head, *(["≈toll"] if toll else []), "steal"], rows)
    return shares + "\n\n" + _work(interval)


def _named(interval: Accounts) -> Iterator[tuple[str, CpuShare]]:
    """Each CPU with its name, and all together, whose shares are of all their time."""
    for cpu in interval.cpus:
        yield (str(cpu.cpu) if cpu.online else f"{cpu.cpu} offline"), cpu
    if len(interval.cpus) > 1:
        yield "all", CpuShare.total(interval.cpus)


def _work(interval: Accounts) -> str:
    def row(name: str, cpu: CpuShare) -> list[str]:
        rates = (
            *(cpu.hardirq_count, cpu.ipi_count, cpu.softirq_count["net_rx"]),
            *(cpu.polls, cpu.packets),
        )
        each = cpu.ns_per_packet
        return [
            name,
            *(_rate(number, interval.wall_ns) for number in rates),
            "·" if each is None else f"{each:.0f}",
            _rate(cpu.squeezed, interval.wall_ns),
        ]

    head = ["CPU", "irq/s", "ipi/s", "net_rx/s", "polls/s", "packets/s", "ns/packet", "squeezed/s"]
    return table(head, [row(*named) for named in _named(interval)])


def irqs_table(interval: Interval, rows: int) -> str:
    """Interrupts, one line of /proc/interrupts a line, those that took most time first."""
    lines: dict[tuple[str, str], list[IrqShare]] = {}
    for share in interval.irqs:
        lines.setdefault((share.irq, share.name), []).append(share)
    times = {line: sum(share.time_ns for share in shares) for line, shares in lines.items()}

    def row(line: tuple[str, str]) -> list[str]:
        number = sum(share.count for share in lines[line])
        return [
            *line,
            format_list(share.cpu for share in lines[line]),
            _rate(number, interval.wall_ns),
            f"{times[line] / number:.0f}",
            percent(times[line], interval.wall_ns),
        ]

    first = sorted(lines, key=lambda line: (-times[line], line))[:rows]
    shown = table(["irq", "name", "CPUs", "irq/s", "ns/irq", "%"], map(row, first), left=2)
    more = len(lines) - len(first)
    return f"{shown}\n\n({more} more lines; -n sets how many are shown)" if more else shown


def _line(share: IrqShare) -> tuple[bool, int, str, int]:
    """Numbers first, in their order, as in /proc/interrupts."""
    numbered = share.irq.isdecimal()
    return not numbered, int(share.irq) if numbered else 0, share.irq, share.cpu


def _rate(number: int | None, wall_ns: int) -> str:
    return "?" if number is None else count(number * 1e9 / (wall_ns or 1))


def _footer(interval: Interval) -> str:
    wall = sum(cpu.wall_ns for cpu in interval.cpus)
    residual = sum(cpu.residual_ns for cpu in interval.cpus)
    events, cost = interval.events, interval.own_cost
    lines = [
        f"residual {signed_percent(residual, wall)} % · lost {events.lost} · "
        f"unmatched {events.unmatched} · inferred {100 * events.inferred_ns / (wall or 1):.1f} % · "
        f"unkept {100 * events.unkept_ns / (wall or 1):.1f} %",
        f"nettax itself: {cost.cpu_ns / 1e6:.1f} ms of CPU in user space"
        + (
            f",\n{cost.bpf_ns / 1e6:.1f} ms in its {count(cost.bpf_runs)} program runs"
            f" ({cost.bpf_ns / cost.bpf_runs:.0f} ns each)"
            if cost.bpf_ns is not None and cost.bpf_runs
            else "; in the kernel: --time-programs"
        ),
    ]
    if interval.toll:
        busiest = max(interval.cpus, key=lambda cpu: cpu.hardirq_count)
        point = interval.toll.at(busiest.hardirq_count * 1e9 / (busiest.wall_ns or 1))
        lines.append(
            f"toll: {point.ns / 1e3:.2f} µs an interrupt [{point.low / 1e3:.2f}, "
            f"{point.high / 1e3:.2f}] at CPU {busiest.cpu}'s rate (calibrated)"
        )
    else:
        lines.append("toll: not calibrated on this host (nettax canary --calibrate)")
    return "\n".join(lines)


def histogram_text(name: str, slots: Sequence[int], width: int = 40) -> str:
    """A log2 histogram of run times, one line per slot between the first and last in use."""
    used = [i for i, number in enumerate(slots) if number]
    first, last, most = used[0], used[-1], max(slots)
    rows = (
        [
            f"{time_text(1 << i)} …",
            count(slots[i]),
            "█" * max(round(width * slots[i] / most), slots[i] > 0),
        ]
        for i in range(first, last + 1)
    )
    body = "\n".join(f"{low:>12}  {number:>6}  {bar}".rstrip() for low, number, bar in rows)
    return f"{name} run time, {count(sum(slots))} runs\n{body}"


def time_text(ns: int) -> str:
    """A time with its unit, to three digits."""
    scale: tuple[tuple[int, str], ...] = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"))
    form: Callable[[float], str] = "{:.3g}".format
    for size, unit in scale:
        if ns >= size:
            return f"{form(ns / size)} {unit}"
    return f"{ns} ns"
