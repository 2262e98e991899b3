"""Recordings as text: `perf script`, tracefs's `trace` file, `trace-cmd report`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from nettax.errors import NettaxError
from nettax.events.lines import Printed
from nettax.events.model import (
    EVERY_CPU,
    NO_PID,
    Damage,
    Kind,
    Machine,
    Recording,
    Tables,
    Task,
)
from nettax.events.order import Fields as Row
from nettax.events.order import Sorter

__all__ = ["TextRecording", "dialect"]

_CHUNK = 1 << 15  # events
_LONGEST = 1 << 12  # bytes of a line
_LOOK = 1 << 16  # bytes in which a first event is looked for

# COMM PID[/TID] [CPU] [FLAGS] SECONDS: [PERIOD] [SYSTEM:]NAME: …
_PERF = re.compile(
    r"\s*(?P<comm>\S.{0,63}?)\s+(?P<pid>-?\d{1,10})(?:/\s*(?P<tid>-?\d{1,10}))?\s+"
    r"\[(?P<cpu>\d{1,5})\]\s+(?:[.\w+-]{4,9}\s+)?(?P<time>\d{1,11}\.\d{1,9}):\s+(?:\d+\s+)?"
    r"(?:(?P<name>[\w-]+(?::[\w-]+)?):\s?\s*(?P<text>.*)|PERF_RECORD_LOST lost (?P<lost>\d{1,18}))"
)
# COMM-PID [(TGID)] [CPU] [FLAGS] SECONDS: NAME: …
_FTRACE = re.compile(
    r"\s*(?P<comm>\S.{0,63}?|)-(?P<pid>\d{1,10})\s+(?:\(\s*(?P<tid>[\d-]+)\)\s+)?"
    r"\[(?P<cpu>\d{1,5})\]\s+(?:[.\w+]{4,9}\s+)?(?P<time>\d{1,11}\.\d{1,9}):\s+"
    r"(?P<name>\w+):\s*(?P<text>.*)(?P<lost>)"
)
_DROPPED = re.compile(r"CPU:\s*(\d{1,5}) \[(?:LOST )?(\d{1,18}|) ?EVENTS(?: DROPPED)?\]")
_OVERWRITTEN = re.compile(r"#\s*entries-in-buffer/entries-written: (\d{1,18})/(\d{1,18})")
# What stands between events and is none: comments, callchains, empty lines, cpus=N.
_ASIDE = re.compile(r"#|\s*$|\s+[0-9a-f]{4,16}\b|cpus=|version = |\s*(?:=>|\[<)")
# What `perf script --header` tells of the machine: its hostname, release and arch.
_HEADERS: Final = (r"# hostname : (\S+)", r"# os release : (\S+)", r"# arch : (\S+)")
_PATTERNS: Final = {"perf script": _PERF, "ftrace": _FTRACE}


def dialect(head: bytes) -> str | None:
    """`perf script` or `ftrace`, by the first event in the beginning of a file; None: no text."""
    if b"\0" in head:
        return None
    lines = head.decode(errors="replace").splitlines()
    for line in lines:
        for name, pattern in _PATTERNS.items():
            if pattern.match(line[:_LONGEST]):
                return name
    return "ftrace" if any(line.startswith("# tracer:") for line in lines) else None


class TextRecording(Recording):
    """One event a line; what the machine was, as far as comments tell."""

    clock = None
    kinds = None
    vectors = None

    def __init__(self, path: Path) -> None:
        """Open it.

        :raises NettaxError: no line near its beginning is an event
        :raises OSError: as open(2) gives it
        """
        self.path = path
        self._file = path.open("rb")
        try:
            head = self._file.read(_LOOK)
            found = dialect(head)
            if found is None:
                raise NettaxError(f"{path}: no line of it reads like an event")
        except BaseException:
            self._file.close()
            raise
        self.format = found
        self._pattern = _PATTERNS[found]
        text = head.decode(errors="replace")
        hostname, release, arch = (_told(pattern, text) for pattern in _HEADERS)
        self.machine = Machine(hostname, release, arch)
        self.tables = Tables()
        self.damage = []

    def rows(self) -> Iterator[memoryview]:
        self._file.seek(0)
        self.damage = []
        reader = _Lines(self._pattern, self.tables)
        sorter = Sorter()
        offset = newest = 0
        rows: list[Row] = []
        while line := self._file.readline(_LONGEST):
            rows += reader.read(line.decode(errors="backslashreplace").rstrip("\n"), offset)
            offset += len(line)
            if len(rows) >= _CHUNK:
                yield from sorter.add(rows)
                yield from sorter.until(newest)  # lines are in order, within a chunk or two
                newest = max(newest, max(row[0] for row in rows))
                rows = []
        yield from sorter.add(rows)
        yield from sorter.rest()
        if reader.unread:
            self.damage.append(
                Damage(reader.first_unread, f"{reader.unread} lines do not read like events")
            )
        self.damage += sorter.damage()

    def close(self) -> None:
        self._file.close()


def _told(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return match[1] if match else None


class _Lines:
    """Reads line after line."""

    def __init__(self, pattern: re.Pattern[str], tables: Tables) -> None:
        self._match = pattern.match
        self._ftrace = pattern is _FTRACE
        self._printed = Printed(tables)
        self._tables = tables
        self._named: dict[int, str] = {}
        self._dropped: list[tuple[int, int]] = []
        self.unread = 0
        self.first_unread = 0

    def read(self, line: str, offset: int) -> list[Row]:
        """The event of a line, after the losses that lines before it told without a time."""
        match = self._match(line)
        if match is None:
            self._aside(line, offset)
            return []
        comm, pid_text, tid, cpu_text, when, name, text, lost = match.groups()[:8]
        seconds, _, fraction = when.partition(".")
        time = int(seconds) * 10**9 + int(fraction.ljust(9, "0"))
        rows: list[Row] = []
        if self._dropped:
            rows = [_lost(time, cpu, number) for cpu, number in self._dropped]
            self._dropped.clear()
        cpu = int(cpu_text)
        pid = int(pid_text if self._ftrace else tid or pid_text)
        if lost:
            return [*rows, _lost(time, cpu, int(lost))]
        try:
            event = self._printed.fields(name.rpartition(":")[2], text, time)
        except ValueError:
            event = None
            self._miss(offset)
        if event is None or cpu > EVERY_CPU or abs(pid) >= 1 << 31:
            return rows
        self._name(pid, comm, time)
        kind, (flags, id_, a, b, c, value, who) = event
        rows.append((time, pid if who < 0 else who, cpu, kind, flags, id_, a, b, c, value))
        return rows

    def _name(self, pid: int, comm: str, time: int) -> None:
        if pid > 0 and self._named.get(pid) != comm and comm not in ("", "<...>"):
            self._named[pid] = comm
            self._tables.tasks.add(Task(pid, time, comm))

    def _aside(self, line: str, offset: int) -> None:
        if dropped := _DROPPED.match(line):
            cpu = min(int(dropped[1]), EVERY_CPU)
            self._dropped.append((cpu, int(dropped[2] or 0)))
        elif over := _OVERWRITTEN.match(line):
            missing = int(over[2]) - int(over[1])
            if missing > 0:
                self._dropped.append((EVERY_CPU, missing))
        elif not _ASIDE.match(line):
            self._miss(offset)

    def _miss(self, offset: int) -> None:
        if not self.unread:
            self.first_unread = offset
        self.unread += 1


def _lost(time: int, cpu: int, number: int) -> Row:
    return (time, NO_PID, min(cpu, EVERY_CPU), Kind.LOST, 0, 0, 0, 0, 0, number)
