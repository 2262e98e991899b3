"""What the replay adds up: per CPU, and per task."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from nettax.events.model import Array
from nettax.events.replay.levels import NR_VECTORS
from nettax.events.replay.slices import Cpu, Rows, Stolen
from nettax.events.replay.waits import NR_KTHREADS, Waits

__all__ = [
    "COLUMNS",
    "IDLE",
    "KTHREADS",
    "TASK",
    "CpuAccount",
    "TaskAccount",
    "TaskSums",
    "kthread_of",
]

KTHREADS: Final = ("ksoftirqd", "napi", "irq")
TASK, IDLE = NR_KTHREADS, NR_KTHREADS + 1  # kinds, beside the three of kernel threads

# Of a task's sums, in the order of struct charges (bpf/ledger.h), which replay must give too.
ONCPU, OWN, BILLED, HARD = range(4)
SOFT = slice(4, 4 + NR_VECTORS)
TRIGGER = slice(SOFT.stop, SOFT.stop + 3)
DISPLACED = slice(TRIGGER.stop, TRIGGER.stop + NR_KTHREADS)
WAIT, INTERRUPTS, SWITCHES = range(DISPLACED.stop, DISPLACED.stop + 3)
COLUMNS: Final = SWITCHES + 1
_GENERATIONS = 1 << 31


def kthread_of(comm: str) -> int:
    """The kind of a task by its name, as the kernel names its threads."""
    if comm.startswith("ksoftirqd/"):
        return 0
    if comm.startswith(("napi/", "backlog_napi/")):
        return 1
    return 2 if comm.startswith("irq/") else TASK


@dataclass(slots=True)
class CpuAccount:
    """One CPU's totals, ns and numbers; the names are those of nettax.ledger's CpuShare."""

    cpu: int
    start_ns: int = 0
    end_ns: int = 0
    idle_ns: int = 0
    idle_interrupted_ns: int = 0
    own_ns: int = 0
    stolen_hardirq_ns: int = 0
    stolen_softirq_ns: Array = field(default_factory=lambda: np.zeros(NR_VECTORS, np.int64))
    kthread_ns: Array = field(default_factory=lambda: np.zeros(NR_KTHREADS, np.int64))
    lost: int = 0
    """Events."""

    def add(self, rows: Rows, kinds: Array, stolen: Stolen) -> None:
        """Charge slices, given of what kind each one's task is."""
        own, hard, soft = (
            np.bincount(kinds + 1, values, IDLE + 2).astype(np.int64)[1:].tolist()
            for values in (
                rows.oncpu_ns - rows.hard_ns - rows.soft_ns,
                rows.hard_ns,
                rows.soft_ns,
            )
        )
        self.idle_ns += own[IDLE]
        self.idle_interrupted_ns += hard[IDLE] + soft[IDLE]
        self.own_ns += own[TASK]
        self.stolen_hardirq_ns += sum(hard[:IDLE])
        for kind in range(NR_KTHREADS):
            self.kthread_ns[kind] += own[kind] + soft[kind]
        of_tasks = kinds[stolen.row] == TASK
        self.stolen_softirq_ns += np.bincount(
            stolen.vector[of_tasks], stolen.ns[of_tasks], NR_VECTORS
        ).astype(np.int64)


@dataclass(frozen=True, slots=True)
class TaskAccount:
    """One task's sums."""

    pid: int
    life: int
    """0: the first that had this pid in the recording, and so on."""
    sums: tuple[int, ...]
    billed: bool
    """Whether what it was billed is known."""
    cpu: int
    last_ns: int
    """When it was last seen on a CPU, or waiting for one."""
    exited: bool


class Pids:
    """Finds the different ones among many pids, by a table instead of by sorting."""

    SIZE = 1 << 22  # PID_MAX_LIMIT: include/linux/threads.h

    def __init__(self) -> None:
        self._place = np.zeros(self.SIZE, np.int32)  # memory only for the pages in use

    def unique(self, pids: Array) -> tuple[Array, Array]:
        """The different pids, in no order, and where among them each one is."""
        if len(pids) and (int(pids.max()) >= self.SIZE or int(pids.min()) < 0):
            unique, inverse = np.unique(pids, return_inverse=True)
            return unique, inverse.reshape(-1)
        self._place[pids] = np.arange(len(pids), dtype=np.int32)  # of equal ones, the last stays
        unique = pids[self._place[pids] == np.arange(len(pids))]
        self._place[unique] = np.arange(len(unique), dtype=np.int32)
        return unique, self._place[pids]


class TaskSums:
    """Sums by task: a pid, and which of those that had it."""

    def __init__(self) -> None:
        self.pids = Pids()
        self._index: dict[int, int] = {}
        self._sums = np.zeros((64, COLUMNS), np.int64)
        self._unbilled = np.zeros(64, bool)
        self._cpu = np.zeros(64, np.int64)
        self._last = np.zeros(64, np.int64)
        self._exited = np.zeros(64, bool)
        self._lives: dict[int, int] = {}
        self._deaths = np.empty(0, np.int64)
        self._place_bits = 1

    def deaths(self, pids: Array, places: Array, length: int) -> None:
        """The ends of tasks in a chunk of so many events: what follows with such a pid is new."""
        self._place_bits = length + 2
        self._deaths = np.sort(pids.astype(np.int64) * self._place_bits + places)

    def buried(self) -> None:
        """The chunk is over."""
        pids, numbers = np.unique(self._deaths // self._place_bits, return_counts=True)
        for pid, number in zip(pids.tolist(), numbers.tolist(), strict=True):
            self._lives[pid] = self._lives.get(pid, 0) + number
        self._deaths = self._deaths[:0]

    def _keys(self, pids: Array, places: Array) -> Array:
        """Which task each pid is at its place in the chunk."""
        pids = pids.astype(np.int64)
        life = np.searchsorted(self._deaths, pids * self._place_bits + places) - np.searchsorted(
            self._deaths, pids * self._place_bits
        )
        unique, inverse = np.unique(pids, return_inverse=True)
        before = np.array([self._lives.get(pid, 0) for pid in unique.tolist()], np.int64)
        keys: Array = pids + (life + before[inverse]) * _GENERATIONS
        return keys

    def rows(self, pids: Array, places: Array) -> Array:
        """Where each task's sums are."""
        if self._lives or len(self._deaths):
            unique, inverse = np.unique(self._keys(pids, places), return_inverse=True)
        else:
            unique, inverse = self.pids.unique(pids)
        index = self._index
        found = np.array([index.setdefault(key, len(index)) for key in unique.tolist()], np.int64)
        while len(index) > len(self._sums):
            self._grow()
        return found[inverse]

    def _grow(self) -> None:
        for name in ("_sums", "_unbilled", "_cpu", "_last", "_exited"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate([old, np.zeros_like(old)]))

    def add(self, cpu: Cpu, rows: Rows, kinds: Array, stolen: Stolen) -> None:
        """Charge slices on one CPU, given of what kind each one's task is."""
        mine = np.flatnonzero((kinds != IDLE) & (rows.pid >= 0))
        if len(mine):
            at = np.full(len(rows.pid), -1)
            at[mine] = self.rows(rows.pid[mine], rows.place[mine])
            self._slices(cpu, rows, kinds, at, mine)
            victim = (kinds == TASK) & (at >= 0)
            some = victim[stolen.row]
            task = at[stolen.row[some]]
            size = len(self._sums)
            for columns, which in ((SOFT, stolen.vector[some]), (TRIGGER, stolen.trigger[some])):
                width = columns.stop - columns.start
                sums = np.bincount(task * width + which, stolen.ns[some], size * width)
                self._sums[:, columns] += sums.astype(np.int64).reshape(size, width)

    def _slices(self, cpu: Cpu, rows: Rows, kinds: Array, at: Array, mine: Array) -> None:
        place = at[mine]
        soft = np.where(kinds < NR_KTHREADS, 0, rows.soft_ns)  # its own work, of such a thread
        billed = rows.billed_ns
        columns = (
            (ONCPU, rows.oncpu_ns),
            (OWN, rows.oncpu_ns - rows.hard_ns - soft),
            (BILLED, np.maximum(billed, 0)),
            (HARD, rows.hard_ns),
            (INTERRUPTS, rows.interrupts),
            (SWITCHES, rows.switched),
        )
        size = len(self._sums)
        for column, values in columns:
            if values.any():
                self._sums[:, column] += np.bincount(place, values[mine], size).astype(np.int64)
        if not (billed >= 0).all():
            self._unbilled[place[(billed[mine] < 0) & (rows.oncpu_ns[mine] > 0)]] = True
        before = self._last.copy()
        self._last[place] = rows.end[mine]
        newer = self._last > before
        self._cpu[newer] = cpu.number
        np.maximum(self._last, before, out=self._last)
        self._exited[place[rows.dead[mine]]] = True

    def wait(self, pieces: Waits) -> None:
        """Charge waits."""
        if not len(pieces.pid):
            return
        at = self.rows(pieces.pid, pieces.place)
        size = len(self._sums)
        for column, values in ((WAIT, pieces.ns), *zip(
            range(DISPLACED.start, DISPLACED.stop), pieces.displaced_ns, strict=True
        )):  # fmt: skip
            self._sums[:, column] += np.bincount(at, values, size).astype(np.int64)

    def __iter__(self) -> Iterator[TaskAccount]:
        for key, at in self._index.items():
            yield TaskAccount(
                pid=key % _GENERATIONS,
                life=key // _GENERATIONS,
                sums=tuple(self._sums[at].tolist()),
                billed=not self._unbilled[at],
                cpu=int(self._cpu[at]),
                last_ns=int(self._last[at]),
                exited=bool(self._exited[at]),
            )

    def __len__(self) -> int:
        return len(self._index)
