"""One task in full: what it is charged now, and what it was in the last minutes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from nettax.kernel.workload import workload
from nettax.ledger import Charges, TaskCharges
from nettax.report.table import count, percent, safe
from nettax.tui.accounts import PARTS
from nettax.tui.history import SHARES
from nettax.tui.model import Model
from nettax.tui.moment import Moment
from nettax.tui.paint import ACCOUNTS, BLOCK, Line, Span, fit, sparkline

__all__ = ["zoom_lines"]

LEAST_CHART: Final = 4  # lines
FIGURES_WIDTH: Final = 21  # now, mean and max


def zoom_lines(
    model: Model, now: Moment, task: TaskCharges, width: int, height: int, letters: bool
) -> list[Line]:
    """One task as it is now, and as the model's history knows it; in so many lines or fewer.

    `task` is what was last seen of it.
    """
    running = next((row for row in now.tasks if row.key == task.key), None)
    lines = [*_who(task, running, now), (Span(""),), *_figures(model, task, running, now, width)]
    lines += [(Span(""),), *_sources(running, now)]
    room = height - len(lines) - 2
    if room >= LEAST_CHART:
        lines += [(Span(""),), *_chart(model, task, width, room, letters)]
    return lines


def _who(task: TaskCharges, running: TaskCharges | None, now: Moment) -> Iterator[Line]:
    age = (now.interval.start_ns + now.wall_ns - task.start_ns) / 1e9
    state = ""
    if task.exited:
        state = "has ended"
    elif running is None:
        state = "did not run in this interval"
    yield (
        Span(safe(task.comm), "name head"),
        Span(f"  task {task.pid} of process {task.tgid}, last on CPU {task.cpu}"),
        Span(f", {_age(age)} old" if age >= 0 else ""),
        Span(f"  {state}" if state else "", "hot"),
    )
    if task.cgroup:
        work = workload(task.cgroup)
        yield (Span(f"{work.kind} {safe(work.name)}  "), Span(safe(task.cgroup), "dim"))


def _age(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _figures(
    model: Model, task: TaskCharges, running: TaskCharges | None, now: Moment, width: int
) -> Iterator[Line]:
    """A line for each figure: its history, now, on average, and at most."""
    past = model.history.task(task.key)
    charted = max(width - 10 - FIGURES_WIDTH, 0)
    title = fit("", 10) + fit(
        f"% of one CPU, {len(past)} intervals, each line up to its max", charted
    )
    yield (Span(title + f"{'now':>7}{'mean':>7}{'max':>7}", "head"),)
    for i, name in enumerate(SHARES):
        values = [0.0 if each is None else each[i] for each in past]
        last = values[-1] if running and values else 0.0
        mean = sum(values) / len(values) if values else 0.0
        figures = "".join(f"{percent(v, 1):>7}" for v in (last, mean, max(values, default=0.0)))
        style = {"billed": "", "taken": "spark"}.get(name, name)
        line = sparkline(values, charted - 1, max(values, default=0.0))
        yield (
            Span(fit(name, 10), f"head {style}" if name in ACCOUNTS else "head"),
            Span(fit(line, charted), style),
            Span(figures),
        )


def _sources(running: TaskCharges | None, now: Moment) -> Iterator[Line]:
    """What took from it, to the vector; and what else there is to know of this interval."""
    charges = running.charges if running else Charges()
    wall = now.wall_ns or 1
    yield (Span("stolen by   ", "dim"), Span(_named(charges.stolen_ns, wall)))
    yield (Span("softirqs of ", "dim"), Span(_named(charges.stolen_by_trigger_ns, wall)))
    yield (Span("displaced by ", "dim"), Span(_named(charges.displaced_ns, wall)))
    toll = f", ≈toll {percent(now.toll_ns(running), wall)} %" if running else ""
    yield (
        Span("also        ", "dim"),
        Span(
            f"waited {percent(charges.wait_ns, wall)} %, "
            f"{count(charges.interrupts * 1e9 / wall)} interrupts/s, "
            f"{count(charges.switches * 1e9 / wall)} switches/s" + toll
        ),
    )


def _named(times: Mapping[str, int], wall: int) -> str:
    found = sorted(((ns, name) for name, ns in times.items() if ns >= 0.0005 * wall), reverse=True)
    return "  ".join(f"{name} {percent(ns, wall)}" for ns, name in found) or "nothing to speak of"


def _chart(
    model: Model, task: TaskCharges, width: int, height: int, letters: bool
) -> Iterator[Line]:
    """Time upon time, one interval a column: what it got, and upon it what was taken."""
    past = model.history.task(task.key, max(width - 6, 0))
    blank = ("",) * height
    columns = [_stack(each, height, letters) if each else blank for each in past]
    columns = [blank] * (max(width - 6, 0) - len(columns)) + columns
    for level in reversed(range(height)):
        label = {height - 1: " 100 %", 0: "   0 %"}.get(level, "")
        yield (Span(fit(label, 6), "dim"), *_merged([column[level] for column in columns], letters))


def _stack(each: tuple[float, ...], height: int, letters: bool) -> tuple[str, ...]:
    """The account of each cell of a column, from the bottom up; none where nothing is."""
    cells: list[str] = []
    reached = 0.0
    for name in PARTS:
        reached += each[SHARES.index(name)]
        cells += [name] * (min(round(reached * height), height) - len(cells))
    return (*cells, *("",) * (height - len(cells)))


def _merged(names: list[str], letters: bool) -> Iterator[Span]:
    """A line of the chart, neighbours of one account in one span."""
    start = 0
    for i in range(1, len(names) + 1):
        if i == len(names) or names[i] != names[start]:
            name = names[start]
            glyph = (ACCOUNTS[name] if letters else BLOCK) if name else " "
            yield Span(glyph * (i - start), name)
            start = i
