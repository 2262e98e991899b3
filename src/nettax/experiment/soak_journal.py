"""A soak's journal: a plan and a sample every few seconds, as JSON lines that survive a kill.

What is reported is computed from the journal alone, so a run that was killed is reported as far as
it went, and one that is resumed is one run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from nettax.errors import NettaxError, UsageError

__all__ = ["SCHEMA", "Journal", "Plan", "Record", "Sample", "read"]

SCHEMA = "nettax.soak/1"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is soaked, and how."""

    target: str
    """A URL (http://host:port/path, echo://host:port), or a reference server's model."""
    protocol: str
    duration_s: float
    interval_s: float
    rate: float
    connections: int
    rude: dict[str, float]
    """Rude clients a second, by kind."""
    stall_s: float
    server: list[str] = field(default_factory=list)
    """The command that was started; none: it ran already, or is a reference server."""
    pid: int | None = None
    message_bytes: int = 256
    """Of an echo."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of a reference server."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one interval saw. Counts are the interval's own; sizes are of its end."""

    segment: int
    """The run's part, from 0: each resumption begins another, and may have another server."""
    wall_ns: int
    rss_bytes: int | None
    fds: int | None
    threads: int
    server_cpu_ns: int
    time_wait: int
    """TCP sockets in TIME-WAIT in the server's network namespace."""
    opened: int
    """Connections that were opened, by all clients."""
    due: int
    answered: int
    unanswered: int
    statuses: dict[str, int]
    latency: dict[str, int]
    """By bucket of `nettax.load.histogram`."""
    rude: dict[str, int]
    client_errors: dict[str, int]
    """"operation errno", as are all errors."""
    rude_errors: dict[str, int]
    server_errors: dict[str, int]


@dataclass(frozen=True, slots=True)
class Record:
    """What a journal holds."""

    plan: Plan
    about: dict[str, Any]
    """Time and host."""
    samples: tuple[Sample, ...]
    ended: str | None
    """Why; None: it was killed, or still runs."""

    @property
    def elapsed_s(self) -> float:
        """How long it ran, gaps between its parts left out."""
        return sum(sample.wall_ns for sample in self.samples) / 1e9

    @property
    def segments(self) -> int:
        """Its parts."""
        return 1 + max((sample.segment for sample in self.samples), default=-1)


class Journal:
    """A journal that is written: each line is on disk when `write` returns."""

    def __init__(self, path: Path, plan: Plan, about: Mapping[str, Any], *, resume: bool) -> None:
        """Begin a journal, or go on with one.

        :raises UsageError: there is one already, or none to go on with.
        """
        flags = os.O_WRONLY | os.O_CLOEXEC | os.O_APPEND
        try:
            self._fd = os.open(path, flags if resume else flags | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            raise UsageError(
                f"{path} exists already: go on with it (--resume {path}), or name another file."
            ) from None
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}.") from None
        if resume:
            os.write(self._fd, b"\n")  # a line that a kill cut short ends here
            self._write({"kind": "resumed", **about})
        else:
            self._write({"schema": SCHEMA, "kind": "plan", "plan": asdict(plan), **about})

    def sample(self, sample: Sample) -> None:
        """Write a sample."""
        self._write({"kind": "sample", **asdict(sample)})

    def end(self, why: str) -> None:
        """Write why it ended, and close."""
        self._write({"kind": "end", "why": why})
        os.close(self._fd)

    def _write(self, line: Mapping[str, Any]) -> None:
        os.write(self._fd, json.dumps(line, separators=(",", ":")).encode() + b"\n")
        os.fdatasync(self._fd)


def read(path: Path) -> Record:
    """Read a journal, as far as it goes.

    :raises UsageError: there is none, or it is something else.
    """
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    lines = [line for raw in text.splitlines() if (line := _parsed(raw))]
    first = lines[0] if lines else {}
    if first.get("schema") != SCHEMA:
        raise UsageError(f"{path} is no journal of a soak: its first line has no {SCHEMA}.")
    try:
        plan = Plan(**first["plan"])
        names = [each.name for each in fields(Sample)]
        samples = tuple(
            Sample(**{name: line[name] for name in names})
            for line in lines
            if line.get("kind") == "sample"
        )
    except (KeyError, TypeError) as error:
        raise NettaxError(f"{path} was written by another version of nettax: {error}.") from None
    about = {key: value for key, value in first.items() if key not in ("schema", "kind", "plan")}
    last = lines[-1]
    return Record(plan, about, samples, last["why"] if last.get("kind") == "end" else None)


def _parsed(raw: str) -> dict[str, Any] | None:
    try:
        line = json.loads(raw)
    except ValueError:  # a kill cut it short
        return None
    return line if isinstance(line, dict) else None
