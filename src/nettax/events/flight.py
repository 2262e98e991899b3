"""The flight recorder: the last seconds in bounded memory, written down when something happens."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from nettax.errors import UsageError
from nettax.events.model import EVENT, NO_PID, Array, EventArray, Kind
from nettax.events.native_file import NOTE, NOTE_TASK, Writer, records
from nettax.events.recorder import Batch, Recorder
from nettax.events.ring import HEADER
from nettax.events.saving import CgroupNames, Finished
from nettax.events.spans import spans

__all__ = ["Flight", "Theft", "threshold"]

MOST_NOTES: Final = 1 << 16  # tasks whose names are kept; the oldest go first
STEP_S: Final = 1.0  # over which theft is told
KIND_AT: Final = HEADER + dict(EVENT.fields or {})["kind"][1]
_THRESHOLD = re.compile(r"\s*theft\s*>\s*(\d+(?:\.\d*)?)\s*%\s*")


def threshold(text: str) -> float:
    """The share of a CPU's time in `theft > 30%`.

    :raises UsageError: it is not of this form, or no share can be more than that
    """
    match = _THRESHOLD.fullmatch(text)
    if not match or float(match[1]) >= 100:
        raise UsageError(f"--when takes a threshold such as 'theft > 30%'; not {text!r}")
    return float(match[1]) / 100


class Theft:
    """How much of tasks' time on each CPU went to hard IRQs and softirqs, whatever their cause.

    What a batch begins or ends in the middle of is not counted.
    """

    def __init__(self) -> None:
        """Nothing was taken yet."""
        self._taken_ns: dict[int, int] = {}
        self._began_ns = time.monotonic_ns()

    def add(self, cpu: int, events: EventArray) -> None:
        """Count the events of one batch."""
        for part in spans([events]):
            outer = part.spans[(part.spans["level"] == 0) & (part.spans["pid"] > 0)]
            taken = int((outer["end_ns"] - outer["start_ns"]).sum())
            self._taken_ns[cpu] = self._taken_ns.get(cpu, 0) + taken

    def worst(self) -> tuple[int, float] | None:
        """After each second: the CPU from which most was taken in it, and its share."""
        now = time.monotonic_ns()
        wall = now - self._began_ns
        if wall < STEP_S * 1e9 or not self._taken_ns:
            return None
        cpu, taken = max(self._taken_ns.items(), key=lambda item: item[1])
        self._taken_ns.clear()
        self._began_ns = now
        return cpu, taken / wall


@dataclass(slots=True)
class _Kept:
    """A batch, copied."""

    cpu: int
    rows: Array
    last_ns: int


@dataclass(slots=True)
class Flight:
    """A sink that keeps the newest batches, and writes them into a file when told to."""

    recorder: Recorder
    path: Path
    last_s: float
    memory: int
    """Bytes of events."""
    overwrite: bool = False
    when: float | None = None
    """Write when so large a share of a CPU's time was taken within a second."""
    written: list[Path] = field(default_factory=list)
    _number: int = 0
    _wanted: bool = False
    _kept: deque[_Kept] = field(default_factory=deque)
    _held: int = 0
    _notes: dict[tuple[int, int, bytes], Array] = field(default_factory=dict)
    _theft: Theft = field(default_factory=Theft)
    _quiet_until: float = 0.0

    def take(self, batch: Batch) -> None:
        """Copy a batch, and let go of what is too old or too much."""
        if batch.cpu is None:
            self._note(batch.rows)
            return
        rows = batch.rows.copy()
        self._kept.append(_Kept(batch.cpu, rows, int(rows.view("<u8")[-1, 1])))
        self._held += rows.nbytes
        if self.when is not None:
            self._theft.add(batch.cpu, records(rows.data, EVENT))

    def _note(self, rows: Array) -> None:
        for row, note in zip(rows, records(rows.data, NOTE), strict=True):
            key = (int(note["kind"]), int(note["id"]), bytes(note["name"]))
            self._notes.pop(key, None)
            self._notes[key] = row.copy()
        while len(self._notes) > MOST_NOTES:
            del self._notes[next(iter(self._notes))]

    def ask(self, *_: object) -> None:
        """Have the next round write: a signal's handler."""
        self._wanted = True

    def round(self) -> None:
        """Write if something asks for it; forget what is too old."""
        worst = self._theft.worst() if self.when is not None else None
        if worst and self.when is not None and worst[1] > self.when:
            # One file for one bout: the next only when all in it would be new.
            if time.monotonic() >= self._quiet_until:
                self._wanted = True
            self._quiet_until = time.monotonic() + self.last_s
        if self._wanted:
            self._wanted = False
            self.dump({"theft": {"cpu": worst[0], "share": worst[1]}} if worst else {})
        horizon = time.monotonic_ns() - int(self.last_s * 1e9)
        while self._kept and (self._held > self.memory or self._kept[0].last_ns < horizon):
            self._held -= self._kept.popleft().rows.nbytes

    def finish(self) -> Finished:
        """Write once more."""
        self.dump({})
        return Finished(self.recorder.last_facts(), self.written)

    def dump(self, why: Mapping[str, Any]) -> Path:
        """Write what is kept into a file of its own: PATH, PATH.2, PATH.3 …, the next that is free.

        Until all is on the disk it is called PATH.part.

        :raises OSError: it cannot be written; nothing is left of it then
        """
        path = self._next_path()
        part = self.path.with_name(self.path.name + ".part")
        part.unlink(missing_ok=True)  # of a killed one
        try:
            with Writer(part, self._facts()) as out:
                self._write(out)
                out.facts({**_since_start(self.recorder.last_facts()), **why})
                out.sync()
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        self.written.append(path)
        return path

    def _next_path(self) -> Path:
        while True:
            self._number += 1
            name = self.path.name if self._number == 1 else f"{self.path.name}.{self._number}"
            path = self.path.with_name(name)
            if self.overwrite or not path.exists():
                return path

    def _facts(self) -> dict[str, Any]:
        facts = {**self.recorder.facts(), "last_s": self.last_s}
        del facts["squeezed"]  # how many there were as the first event kept came, nobody knows
        return facts

    def _write(self, out: Writer) -> None:
        begun: set[int] = set()
        for kept in self._kept:
            if kept.cpu not in begun:
                begun.add(kept.cpu)
                if kept.rows[0, KIND_AT] != Kind.BEGIN:
                    out.events(kept.cpu, _begin(kept.rows))
            out.events(kept.cpu, kept.rows)
        if self._notes:
            rows = np.stack(list(self._notes.values()))
            out.notes(rows)
            notes = records(rows.data, NOTE)
            if (notes["kind"] == NOTE_TASK).any():
                out.facts({"cgroups": CgroupNames().new(rows)})


def _since_start(facts: dict[str, Any]) -> dict[str, Any]:
    """What is known at the end of a file that holds only the last part of a recording.

    Losses are counted since the recorder began: each hole in the part kept is a LOST of its own.
    """
    return {name: facts[name] for name in facts if name not in ("events", "squeezed_end")}


def _begin(rows: Array) -> Array:
    """A BEGIN in front of a CPU's first batch: what is kept of it begins in the middle."""
    first = records(rows[:1].data, EVENT)
    begin = np.zeros(1, EVENT)
    begin["time_ns"], begin["cpu"], begin["kind"] = first["time_ns"], first["cpu"], Kind.BEGIN
    begin["pid"] = first["pid"] if first["pid"][0] >= 0 else NO_PID
    row = np.zeros((1, rows.shape[1]), np.uint8)
    row[0, HEADER:] = begin.view(np.uint8)
    return row
