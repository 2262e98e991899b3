"""From the rings into a file, for as long as it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from nettax.errors import MissingFeature
from nettax.events.model import Array
from nettax.events.native_file import NOTE, NOTE_TASK, Writer, records
from nettax.events.recorder import Batch, Recorder
from nettax.kernel.cgroup import Cgroups

__all__ = ["CgroupNames", "Finished", "Saving", "Sink", "keep_up"]

LONGEST_PAUSE_S, SHORTEST_PAUSE_S = 0.2, 0.001
LONGEST_WAIT_S = 5.0
ROOMY, CROWDED = 0.05, 0.25  # of a ring


class Finished(NamedTuple):
    """What there is when all is written."""

    facts: Mapping[str, Any]
    """What is known only at the end."""
    written: Sequence[Path]


class Sink(Protocol):
    """Where batches go."""

    def take(self, batch: Batch) -> None:
        """Write or copy a batch; its memory is gone afterwards."""

    def round(self) -> None:
        """All that the rings held was taken."""

    def finish(self) -> Finished:
        """Write the rest."""


def keep_up(recorder: Recorder, sink: Sink, ended: Callable[[float], bool]) -> None:
    """Empty the rings again and again, until `ended`, given how long it may wait, says so.

    Emptying them costs next to nothing when they hold little, so the pauses are long then; the
    fuller they get between two rounds, the shorter the next pause.
    """
    pause = SHORTEST_PAUSE_S
    over = False
    while not over:
        over = ended(pause)
        filled = recorder.filled
        _drain(recorder, sink)
        if over:  # there is room now for what is told at the end
            recorder.end()
            _drain(recorder, sink)
        if filled > CROWDED:
            pause = max(pause / 2, SHORTEST_PAUSE_S)
        elif filled < ROOMY:
            pause = min(pause * 1.5, LONGEST_PAUSE_S)
    # An event that was being written kept those after it back. It is done in no time, unless a
    # hypervisor has just stopped that CPU; what stays in a ring for ever is told as missed.
    deadline = time.monotonic() + LONGEST_WAIT_S
    while recorder.filled and time.monotonic() < deadline:
        time.sleep(SHORTEST_PAUSE_S)
        _drain(recorder, sink)


def _drain(recorder: Recorder, sink: Sink) -> None:
    for batch in recorder.batches():
        sink.take(batch)
    sink.round()


class CgroupNames:
    """Paths of the cgroups that notes speak of, each told once."""

    def __init__(self) -> None:
        """Walk the hierarchy, if there is one."""
        self._told: set[int] = set()
        try:
            self._cgroups: Cgroups | None = Cgroups()
        except MissingFeature:
            self._cgroups = None

    def new(self, rows: Array) -> dict[int, str]:
        """The paths of those that no notes spoke of before."""
        notes = records(rows.data, NOTE)
        groups = np.unique(notes["group"][notes["kind"] == NOTE_TASK]).tolist()
        unknown = [group for group in groups if group not in self._told]
        if not unknown or self._cgroups is None:
            return {}
        self._told.update(unknown)
        return {id: path for id, path in self._cgroups.paths(unknown).items() if path}


class Saving:
    """A sink that writes each batch at once."""

    def __init__(self, path: Path, recorder: Recorder, overwrite: bool = False) -> None:
        """Make the file.

        :raises NettaxError: it is there already, and not to be overwritten
        :raises OSError: it cannot be written
        """
        self._recorder = recorder
        self._path = path
        self._names = CgroupNames()
        self.writer = Writer(path, recorder.facts(), overwrite)

    def take(self, batch: Batch) -> None:
        """Write a batch from where it lies."""
        if batch.cpu is not None:
            self.writer.events(batch.cpu, batch.rows)
            return
        self.writer.notes(batch.rows)
        if names := self._names.new(batch.rows):
            self.writer.facts({"cgroups": names})

    def round(self) -> None:
        """Nothing: it is written."""

    def finish(self) -> Finished:
        """Write what is known only at the end, and close."""
        facts = self._recorder.last_facts()
        self.writer.facts(facts)
        self.writer.close()
        return Finished(facts, [self._path])
