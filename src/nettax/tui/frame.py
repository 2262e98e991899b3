"""A frame: the whole screen as lines, for any size, and what a click on it means."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from nettax.ledger import TaskCharges
from nettax.report.table import count, safe, signed_percent
from nettax.tui.accounts import cpu_parts
from nettax.tui.help import help_lines
from nettax.tui.model import Model
from nettax.tui.moment import VIEWS, Moment
from nettax.tui.paint import Line, Span, bar, cells, sparkline
from nettax.tui.tables import Table
from nettax.tui.zoom import zoom_lines

__all__ = ["LABELS", "Frame", "draw", "footer", "summary"]

LABELS: Final = dict(zip(VIEWS, VIEWS, strict=True)) | {"machines": "VMs", "cpus": "CPUs"}
KEYS: Final = (
    ("↑↓", "select"),
    ("⏎", "zoom"),
    ("/", "filter"),
    ("< >", "sort"),
    ("r", "reverse"),
    ("space", "pause"),
    ("?", "help"),
    ("q", "quit"),
)
LEAST_TABLE: Final = 3  # lines: its heading and two rows go before all else


@dataclass(slots=True)
class Frame:
    """A drawn screen."""

    lines: list[Line] = field(default_factory=list)
    clicks: dict[int, list[tuple[int, int, Callable[[], None]]]] = field(default_factory=dict)
    """By line: first cell, one past the last, and what a click there does."""

    def click(self, line: int, cell: int) -> None:
        """Do what a click there means, if anything."""
        for first, end, action in self.clicks.get(line, ()):
            if first <= cell < end:
                action()
                return


def draw(model: Model, width: int, height: int, letters: bool = False) -> Frame:
    """The screen in exactly `height` lines, none wider than `width`; `letters` in its bars."""
    frame = Frame()
    above, below = _surroundings(model, width, height, letters)
    for line, clicks in above:
        _add(frame, line, clicks)
    room = max(height - len(above) - len(below), 0)
    _body(frame, model, width, room, letters)
    del frame.lines[len(above) + room :]
    blank = len(above) + room - len(frame.lines)
    frame.lines += [(Span(""),)] * blank
    for line, clicks in below:
        _add(frame, line, clicks)
    frame.lines = [clip(line, width) for line in frame.lines[:height]]
    return frame


Clicks = list[tuple[int, int, Callable[[], None]]]
Drawn = tuple[Line, Clicks]


def _add(frame: Frame, line: Line, clicks: Clicks) -> None:
    if clicks:
        frame.clicks[len(frame.lines)] = clicks
    frame.lines.append(line)


def clip(line: Line, width: int) -> Line:
    """As much of a line as so many cells take; neighbours of one style in one span."""
    kept: list[Span] = []
    left = width
    for text, style in line:
        if (size := cells(text)) > left:
            while cells(text) > left:
                text = text[:-1]
            size = left
        if kept and kept[-1].style == style:
            kept[-1] = Span(kept[-1].text + text, style)
        else:
            kept.append(Span(text, style))
        left -= size
        if left <= 0:
            break
    return tuple(kept)


def _surroundings(
    model: Model, width: int, height: int, letters: bool
) -> tuple[list[Drawn], list[Drawn]]:
    """What stands above and below the table; where there is little room, the least goes first."""
    now = model.now
    room = height - LEAST_TABLE
    wanted = ["footer", "title", "keys", "summary", "status"]
    kept = set(wanted[: max(room, 0)])
    if model.typing is not None:
        kept.add("keys")
    above = [
        _title(model, width) if "title" in kept else None,
        (summary(model, now, width, letters), []) if now and "summary" in kept else None,
        (_status(model), []) if "status" in kept else None,
    ]
    below = [
        (footer(now, width), []) if now and "footer" in kept else None,
        _prompt(model) if "keys" in kept else None,
    ]
    return [line for line in above if line], [line for line in below if line]


def _title(model: Model, width: int) -> Drawn:
    """The views, the one on the screen marked, and the time."""
    spans, clicks, at = [Span("nettax", "head"), Span(" ")], list[Any](), 7
    for i, view in enumerate(VIEWS, 1):
        label = f" {i} {LABELS[view]} "
        spans.append(Span(label, "tab on" if view == model.view else "tab"))
        clicks.append((at, at + len(label), partial(model.go, view)))
        at += len(label)
    if model.now and at + 9 <= width:
        clock = time.strftime("%H:%M:%S", time.localtime(model.now.clock))
        spans.append(Span(clock.rjust(width - at), "dim"))
    return tuple(spans), clicks


def summary(model: Model, now: Moment, width: int, letters: bool) -> Line:
    """All CPUs' time as a bar; what was taken of it, now and before."""
    total = now.total
    before = model.history.taken()
    taken = now.taken_ns / total.wall_ns if total.wall_ns else 0.0
    most = max(before, default=0.0)
    name = f"{len(now.interval.cpus)} CPUs "
    words = f"  taken {100 * taken:4.1f} % "
    scale = f" max {100 * most:.1f}"
    room = max(width - len(name) - len(words) - len(scale), 0)
    drawn = bar(cpu_parts(total), total.wall_ns, room // 2, letters)
    line = sparkline(before, room - room // 2, most)
    return (
        Span(name, "head"),
        *drawn,
        Span(words, "hot" if taken >= 0.1 else ""),
        Span(line, "spark"),
        Span(scale, "dim"),
    )


def _status(model: Model) -> Line:
    """How the rows came about."""
    now, how = model.now, model.sorting[model.view]
    if now is None:
        return (Span("counting …", "dim"),)
    parts = [f"{now.wall_ns / 1e9:.2f} s"]
    if not model.task:
        parts.append(f"{len(model.rows)} {LABELS[model.view]}")
        parts.append(f"by {how.column}" + (", reversed" if how.reverse else ""))
    spans = [Span(" · ".join(parts), "dim")]
    if model.scope:
        spans.append(Span(f" · of {safe(model.scope.name)}", "name"))
    if model.pattern:
        spans.append(Span(f" · filter: {safe(model.pattern)}", "name"))
    if model.paused:
        spans += [Span("  "), Span(" PAUSED ", "tab on")]
    return tuple(spans)


def footer(now: Moment, width: int) -> Line:
    """What could not be accounted for, and what the measurement cost; all of it at any width."""
    total, events = now.total, now.interval.events
    wall = total.wall_ns or 1
    own = now.interval.own_cost.cpu_ns / (now.wall_ns or 1)
    figures = (
        ("residual", signed_percent(total.residual_ns, wall) + "%", False),
        ("lost", count(events.lost), events.lost > 0),
        ("unmatched", count(events.unmatched), False),
        ("inferred", f"{100 * events.inferred_ns / wall:.1f}%", events.inferred_ns > 0.05 * wall),
        ("unkept", f"{100 * events.unkept_ns / wall:.1f}%", events.unkept_ns > 0),
        ("nettax", f"{100 * own:.1f}%", False),
    )
    for gap, letters in (("  ", 9), (" ", 9), (" ", 3)):
        spans = []
        for i, (name, value, bad) in enumerate(figures):
            spans.append(Span(gap * (i > 0) + name[:letters] + " ", "dim"))
            spans.append(Span(value, "hot" if bad else ""))
        if sum(len(span.text) for span in spans) <= width:
            break
    return tuple(spans)


def _prompt(model: Model) -> Drawn:
    """The line in which a filter is typed, or what keys there are."""
    if model.typing is not None:
        return (Span("filter: ", "key"), Span(safe(model.typing)), Span(" ", "select")), []
    spans = []
    for i, (name, meaning) in enumerate(KEYS):
        spans += [Span("  " * (i > 0)), Span(name, "key"), Span(f" {meaning}", "dim")]
    return tuple(spans), []


def _body(frame: Frame, model: Model, width: int, room: int, letters: bool) -> None:
    """The part between: help, one task, or a table as far as it fits."""
    if model.help:
        lines = help_lines(width)
        model.page = room
        model.top = min(model.top, max(len(lines) - room, 0))
        frame.lines += lines[model.top : model.top + room]
    elif model.now is None:
        return
    elif isinstance(model.task_row, TaskCharges):
        frame.lines += zoom_lines(model, model.now, model.task_row, width, room, letters)
    else:
        _table(frame, model, model.now, width, room, letters)


def _table(frame: Frame, model: Model, now: Moment, width: int, room: int, letters: bool) -> None:
    shown = Table(model, width, letters)
    clicks: Clicks = [
        (first, end, partial(model.sort_by, name)) for first, end, name in shown.places()
    ]
    _add(frame, shown.heading, clicks)
    room -= 1
    if shown.of_cpus and len(now.interval.cpus) > 1 and room > 2 * shown.height:
        frame.lines += next(shown.rows(now, [now.total]))
        room -= shown.height
    start = model.in_sight(max(room // shown.height, 1))
    rows = shown.rows(now, model.rows[start : start + model.page])
    for i, lines in enumerate(rows, start):
        for line in lines:
            _add(frame, line, [(0, width, partial(model.click, i))])
