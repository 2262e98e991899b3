"""Names met in events: numbers for devices' names, and who each pid was."""

from __future__ import annotations

import numpy as np

from nettax.events.model import Array, Task, Tasks
from nettax.events.words import Words

__all__ = ["Names", "TaskNames"]

_FEW = 16
_SLOTS = 1 << 14
_MOST_PIDS = 1 << 22  # PID_MAX_LIMIT: include/linux/threads.h
_MIX = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5], np.uint64
)


class Names:
    """Gives each name a number, from 1 on, in the order in which they are met."""

    def __init__(self, names: dict[int, str]) -> None:
        """`names`: where name by number is kept; those in it already keep theirs."""
        self._names = names
        self._numbers = {name: number for number, name in names.items()}

    def number(self, name: str) -> int:
        """Its number, a new one if need be."""
        found = self._numbers.get(name)
        if found is None:
            found = self._numbers[name] = len(self._numbers) + 1
            self._names[found] = name
        return found

    def numbers(self, keys: Array) -> Array:
        """The number of each row of `Words.text_keys`."""
        out = np.zeros(len(keys), np.int32)
        left = np.arange(len(keys))
        rounds = 0
        while len(left) and rounds < _FEW:  # few names: compare with one after the other
            first = keys[left[0]]
            same = (keys[left] == first).all(axis=1)
            out[left[same]] = self.number(Words.text(first))
            left = left[~same]
            rounds += 1
        if len(left):
            unique, inverse = np.unique(keys[left], axis=0, return_inverse=True)
            numbers = np.array([self.number(Words.text(key)) for key in unique], np.int32)
            out[left] = numbers[inverse.reshape(-1)]
        return out


class TaskNames:
    """Notes tasks' names from columns of pids and names, most of which say nothing new."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._seen = np.zeros(_SLOTS, np.uint64)
        self._named = np.zeros(_MOST_PIDS, bool)

    def unnamed(self, pids: Array) -> Array:
        """Places of those that have no name yet."""
        pids = np.minimum(pids.view(np.uint32), _MOST_PIDS - 1)
        new = np.flatnonzero(~self._named[pids])
        if len(new):
            self._named[[0, *(t.pid for t in self._tasks if 0 <= t.pid < _MOST_PIDS)]] = True
            new = new[~self._named[pids[new]]]
        return new

    def note(self, pids: Array, keys: Array | None, times: Array) -> None:
        """Note who these pids were. `keys`: rows of `Words.text_keys`, of four words."""
        if keys is None:
            return
        mixed = (pids.astype(np.uint64) + np.uint64(1)) * _MIX[0]
        pairs = keys.astype(np.uint64)
        for i in range(keys.shape[1] // 2):
            mixed = (mixed ^ (pairs[:, 2 * i] | pairs[:, 2 * i + 1] << np.uint64(32))) * _MIX[1 + i]
            mixed ^= mixed >> np.uint64(29)
        slots = mixed & np.uint64(_SLOTS - 1)
        new = np.flatnonzero(self._seen[slots] != mixed)
        if not len(new):
            return
        _, first = np.unique(mixed[new], return_index=True)
        for i in np.sort(new[first]).tolist():
            pid = int(pids[i])
            if pid > 0:
                self._tasks.add(Task(pid, int(times[i]), Words.text(keys[i])))
        self._seen[slots[new]] = mixed[new]
