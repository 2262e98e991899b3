"""What the screen shows: which view, sorted how, filtered by what, and where one is in it.

Nothing here draws, and nothing reads the kernel: intervals are fed in, keys call methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nettax.ledger import CpuShare, TaskCharges
from nettax.ledger.groups import Group
from nettax.tui.columns import COLUMNS, Column
from nettax.tui.history import History
from nettax.tui.moment import VIEWS, Moment, Row

__all__ = ["Model", "Scope"]

DEFAULT_SORT = dict.fromkeys(VIEWS, "taken") | {"cpus": "CPU"}
RISING = {"task", "pid", "CPU", "process", "workload", "kind", "cgroup", "machine", "of"}


@dataclass(frozen=True, slots=True)
class Scope:
    """One row of a view, whose tasks are shown."""

    view: str
    key: object
    name: str


@dataclass(slots=True)
class Sorting:
    """By which column, and whether upside down."""

    column: str
    reverse: bool = False


class Model:
    """The state of the screen."""

    def __init__(self, view: str = "tasks", sort: str | None = None, pattern: str = "") -> None:
        """`sort`: a column of that view; `pattern`: what to filter by."""
        self.history = History()
        self.now: Moment | None = None
        """What is shown: the last interval, or the one at which it was paused."""
        self._latest: Moment | None = None
        self.paused = False
        self.view = view
        self.sorting = {name: Sorting(column) for name, column in DEFAULT_SORT.items()}
        if sort:
            self.sorting[view].column = sort
        self.pattern = pattern
        self.typing: str | None = None
        """The filter as it is being typed; None when nobody does."""
        self.scope: Scope | None = None
        self.task: bytes | None = None
        """The key of the task that is zoomed on."""
        self.task_row: TaskCharges | None = None
        """What was last seen of it."""
        self.help = False
        self.top = 0
        """The first row, or line of help, that is on the screen."""
        self.cursor: object = None
        """The key of the selected row; None until one is selected."""
        self.page = 1
        """How many rows, or lines of help, the screen had room for."""
        self._index = 0
        self._cached: tuple[Any, list[Any]] | None = None

    # --- intervals -------------------------------------------------------------------------------

    def feed(self, moment: Moment) -> None:
        """Take the next interval; while paused it only enters the history."""
        self.history.add(moment)
        self._latest = moment
        if not self.paused:
            self._show(moment)

    def _show(self, moment: Moment) -> None:
        self.now = moment
        if self.task:
            self.task_row = next((t for t in moment.tasks if t.key == self.task), self.task_row)

    def pause(self) -> None:
        """Let the screen stand still, or follow again. Counting and history go on."""
        self.paused = not self.paused
        if not self.paused and self._latest:
            self._show(self._latest)

    # --- rows ------------------------------------------------------------------------------------

    @property
    def columns(self) -> list[Column]:
        """Of the view, as far as there is something to show in them."""
        toll = self.now is not None and self.now.interval.toll is not None
        return [column for column in COLUMNS[self.view] if toll or column.name != "≈toll"]

    @property
    def rows(self) -> list[Any]:
        """What is in the view: filtered, and sorted."""
        if self.now is None:
            return []
        how = self.sorting[self.view]
        pattern = self.pattern if self.typing is None else self.typing
        state = (self.now, self.view, self.scope, how.column, how.reverse, pattern)
        if self._cached is None or self._cached[0] != state:
            self._cached = (state, self._sorted(self.now, pattern.lower(), how))
        return self._cached[1]

    def _filtered(self, now: Moment, pattern: str) -> Sequence[Any]:
        if self.view == "cpus":
            return now.interval.cpus
        if self.scope:
            rows: Sequence[Row] = now.within(self.scope.view, self.scope.key)
        else:
            rows = now.rows(self.view)
        return [row for row in rows if _matches(row, pattern)] if pattern else rows

    def _sorted(self, now: Moment, pattern: str, how: Sorting) -> list[Any]:
        rows = self._filtered(now, pattern)
        column = next(column for column in COLUMNS[self.view] if column.name == how.column)
        falling = (how.column not in RISING) != how.reverse
        if self.view == "cpus":
            return sorted(rows, key=lambda cpu: column.value(now, cpu), reverse=falling)
        # What is billed decides among equals: most tasks have nothing taken from them.
        value = column.value
        return sorted(
            rows, key=lambda row: (value(now, row), row.charges.billed_ns), reverse=falling
        )

    def sort_by(self, name: str) -> None:
        """Sort by a column; by the one it is sorted by already, the other way round."""
        how = self.sorting[self.view]
        if how.column == name:
            how.reverse = not how.reverse
        else:
            self.sorting[self.view] = Sorting(name)

    def sort_beside(self, step: int) -> None:
        """Sort by the next column to the right (1) or to the left (−1)."""
        names = [column.name for column in self.columns]
        by = self.sorting[self.view].column
        here = names.index(by) if by in names else 0  # one that is not shown for want of a toll
        self.sorting[self.view] = Sorting(names[(here + step) % len(names)])

    def reverse(self) -> None:
        """Sort the other way round."""
        self.sorting[self.view].reverse = not self.sorting[self.view].reverse

    # --- moving about ----------------------------------------------------------------------------

    def go(self, view: str) -> None:
        """Show a view from its top, all of it."""
        self.view, self.scope, self.help = view, None, False
        self._leave_task()
        self._home()

    def go_beside(self, step: int) -> None:
        """Show the next view, or the one before."""
        self.go(VIEWS[(VIEWS.index(self.view) + step) % len(VIEWS)])

    def _home(self) -> None:
        self.top, self.cursor, self._index = 0, None, 0

    def select(self, index: int) -> None:
        """Put the cursor on a row, by its place."""
        rows = self.rows
        if rows:
            self._index = min(max(index, 0), len(rows) - 1)
            self.cursor = key_of(rows[self._index])

    def move(self, step: int) -> None:
        """Move the cursor; the first step only shows it."""
        if self.cursor is None:
            self.select(self.top)
        else:
            self.select(self.selected() + step)

    def selected(self) -> int:
        """The place of the cursor now: it stays on its row while that is there."""
        keys = (key_of(row) for row in self.rows)
        found = next((i for i, key in enumerate(keys) if key == self.cursor), None)
        if found is None and self.cursor is not None and self.rows:
            self.select(self._index)  # its row has gone: the one in its place
        elif found is not None:
            self._index = found
        return self._index

    def in_sight(self, page: int) -> int:
        """The first row to show, of so many that there is room for: the cursor's is among them."""
        self.page = page
        if self.cursor is not None:
            here = self.selected()
            self.top = min(max(self.top, here - page + 1), here)
        self.top = min(self.top, max(len(self.rows) - page, 0))
        return self.top

    def scroll(self, step: int) -> None:
        """Move what is shown; the cursor, if there is one, by as much."""
        if self.task:
            return
        if self.help or self.cursor is None:
            self.top = max(self.top + step, 0)
        else:
            self.move(step)

    def click(self, index: int) -> None:
        """On a row: select it; on the selected one: zoom."""
        rows = self.rows
        if index < len(rows) and self.cursor is not None and key_of(rows[index]) == self.cursor:
            self.zoom()
        else:
            self.select(index)

    def zoom(self) -> None:
        """Into the selected row: of a group or a CPU, its tasks; of a task, its history."""
        if self.cursor is None or not self.rows:
            return
        row = self.rows[self.selected()]
        if isinstance(row, Group | CpuShare):
            name = f"CPU {row.cpu}" if isinstance(row, CpuShare) else row.name
            scope = Scope(self.view, key_of(row), name)
            self.go("tasks")
            self.scope = scope
        else:
            self.task, self.task_row = row.key, row
            self.history.watched = row.key

    def back(self) -> bool:
        """Out of the innermost: help, task, group, filter, cursor; False if there is nothing."""
        if self.help:
            self.help, self.top = False, 0
        elif self.task:
            self._leave_task()
        elif self.scope:
            scope = self.scope
            self.go(scope.view)
            self.cursor = scope.key
        elif self.pattern:
            self.pattern = ""
        elif self.cursor is not None:
            self._home()
        else:
            return False
        return True

    def begin_typing(self) -> None:
        """Ask for a filter; the rows follow as it is typed."""
        self.help = False
        self._leave_task()
        self.typing = self.pattern

    def _leave_task(self) -> None:
        self.task = self.task_row = self.history.watched = None

    def toggle_help(self) -> None:
        """Show the help, or leave it."""
        self.help, self.top = not self.help, 0


def key_of(row: Any) -> object:
    """What identifies a row from one interval to the next."""
    return row.cpu if isinstance(row, CpuShare) else row.key


def _matches(row: Row, pattern: str) -> bool:
    """Whether a pattern in small letters is in its name, its cgroup, or is its pid."""
    if isinstance(row, Group):
        return pattern in row.name.lower() or pattern in row.kind or pattern == str(row.key)
    if pattern in row.comm.lower() or pattern in (str(row.pid), str(row.tgid)):
        return True
    return pattern in (row.cgroup or "").lower()
