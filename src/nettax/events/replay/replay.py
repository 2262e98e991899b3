"""Plays a recording back through the ledger's rules: the accounts of its CPUs and tasks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Self

from nettax.events.model import Kind, Recording, Tables, Task
from nettax.events.replay.accounts import TASK, Accounts, TaskAccount, kthread_of
from nettax.events.replay.machine import EXITED, UNBILLED, Machine, TaskRow

if TYPE_CHECKING:
    from nettax.events.model import EventArray

__all__ = ["Replay", "replay"]


def replay(recording: Recording) -> Accounts:
    """Play all of a recording back, reading it once.

    :raises NettaxError: no memory is left for more tasks
    """
    player = Replay.of(recording)
    for _ in player.passing(recording.rows()):
        pass
    return player.finish()


class Replay:
    """Takes chunks in order of time; `finish` gives the accounts.

    Memory grows with the number of tasks, and with nothing else.
    """

    def __init__(self, tables: Tables, *, sliced: bool | None = True) -> None:
        """`tables`: of the recording whose chunks will come.

        `sliced`: it has switches; None: as it turns out. Then both accounts are kept until the
        first of them is seen.

        :raises NettaxError: no memory is left
        """
        self._names = _Names(tables)
        wanted = (False, True) if sliced is None else (sliced,)
        self._machines = {sliced: Machine(sliced=sliced) for sliced in wanted}

    @classmethod
    def of(cls, recording: Recording) -> Self:
        """For all of a recording."""
        kinds = recording.kinds
        return cls(recording.tables, sliced=None if kinds is None else Kind.SWITCH in kinds)

    def passing(self, rows: Iterable[memoryview]) -> Iterator[memoryview]:
        """Take chunks on their way to somebody else.

        :raises NettaxError: no memory is left for more tasks
        """
        for each in rows:
            self.feed(each)
            yield each

    def feed(self, chunk: EventArray | memoryview) -> None:
        """Take the next chunk: an array of events, or their bytes.

        :raises NettaxError: no memory is left for more tasks
        """
        news = self._names.news()
        for machine in self._machines.values():
            for pid, kinds in news:
                machine.name(pid, kinds)
            machine.feed(chunk)
        if len(self._machines) > 1 and self._machines[True].totals().switches:
            del self._machines[False]

    def finish(self) -> Accounts:
        """Close what is open, at the time of the last event.

        :raises NettaxError: no memory is left
        """
        sliced, machine = min(self._machines.items())
        machine.finish()
        totals = machine.totals()
        return Accounts(
            cpus=tuple(machine.cpus()),
            tasks=tuple(map(self._task, machine.tasks())),
            start_ns=totals.start_ns,
            end_ns=totals.end_ns,
            sliced=sliced,
            events=totals.events,
            lost=totals.lost,
            histograms=totals.histograms,
        )

    def _task(self, row: TaskRow) -> TaskAccount:
        return TaskAccount(
            pid=row.pid,
            life=row.life,
            kind=self._names.kind(row.pid, row.last_ns),
            sums=row.sums,
            billed=not row.flags & UNBILLED,
            cpu=row.cpu,
            last_ns=row.last_ns,
            exited=bool(row.flags & EXITED),
        )


class _Names:
    """Of which kinds pids' tasks were, as far as those are the network's kernel threads."""

    def __init__(self, tables: Tables) -> None:
        self._tasks = tables.tasks
        self._seen = 0
        self._threads: set[int] = set()  # pids that were one, at some time

    def news(self) -> list[tuple[int, list[tuple[int, int]]]]:
        """What the recording has told of such pids since the last time: all kinds of each."""
        changed = set()
        for task in self._tasks.noted(self._seen):
            self._seen += 1
            if _kind(task) != TASK or task.pid in self._threads:
                changed.add(task.pid)
        self._threads |= changed
        return [
            (pid, [(task.since_ns, _kind(task)) for task in self._tasks.history(pid)])
            for pid in changed
        ]

    def kind(self, pid: int, time_ns: int) -> int:
        """Of a task at a time."""
        task = self._tasks.at(pid, time_ns) if pid in self._threads else None
        return TASK if task is None else _kind(task)


def _kind(task: Task) -> int:
    return TASK if task.kthread is False else kthread_of(task.comm)
