"""A recording's events as a Parquet table, by DuckDB; the schema is in docs/recording.md."""

from __future__ import annotations

import glob
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nettax.errors import MissingFeature, NettaxError
from nettax.events.model import VECTOR_NAMES, EventArray, Flag, Kind, Recording, Tables
from nettax.ledger.rows import VECTORS

__all__ = ["SCHEMA", "write"]

SCHEMA = "nettax.events/1"
_MEMORY = "256MiB"  # of DuckDB; what does not fit goes to disk, beside the file to be

COLUMNS = (
    ("time_ns", "UBIGINT"),
    ("cpu", "USMALLINT"),
    ("kind", "VARCHAR"),
    ("pid", "INTEGER"),
    ("task", "VARCHAR"),
    ("id", "INTEGER"),
    ("name", "VARCHAR"),
    ("a", "INTEGER"),
    ("b", "INTEGER"),
    ("c", "INTEGER"),
    ("value", "UBIGINT"),
    ("flags", "VARCHAR"),
)
_COLUMNS = ", ".join(f"{name}::{kind} AS {name}" for name, kind in COLUMNS)
_NULLS = ", ".join(f"NULL::{kind} AS {name}" for name, kind in COLUMNS)
_NOTHING = f"FROM (VALUES (1)) SELECT {_NULLS} LIMIT 0"
_SOFTIRQS = (Kind.SOFTIRQ_RAISE, Kind.SOFTIRQ_ENTRY, Kind.SOFTIRQ_EXIT)
_TASKS = (Kind.SWITCH, Kind.WAKEUP, Kind.MIGRATE, Kind.FORK, Kind.EXIT)


def write(recording: Recording, path: Path) -> int:
    """Write all events, and return how many; memory stays bounded.

    :raises MissingFeature: DuckDB is not installed
    :raises NettaxError: the file cannot be written
    """
    try:
        import duckdb
    except ModuleNotFoundError as error:
        raise MissingFeature(
            "duckdb is missing, which writes Parquet: pip install 'nettax[data]'"
        ) from error
    count = 0
    with (
        tempfile.TemporaryDirectory(dir=path.parent, prefix=".nettax-") as scratch,
        duckdb.connect(config=_config(scratch)) as database,
    ):
        metadata = f"schema: '{SCHEMA}', clock: {_quoted(recording.clock or '')}"

        def copy(query: str, to: str) -> None:
            options = f"FORMAT parquet, COMPRESSION zstd, KV_METADATA {{{metadata}}}"
            database.execute(f"COPY ({query}) TO {_quoted(to)} ({options})")

        try:
            for number, part in enumerate(_parts(recording)):
                count += len(part["time_ns"])
                database.register("part", part)
                copy(f"FROM part SELECT {_COLUMNS}", f"{scratch}/{number:09}.part")
                database.unregister("part")
            parts = f"FROM read_parquet({_quoted(glob.escape(scratch) + '/*.part')})"
            copy(parts if count else _NOTHING, str(path))
        except duckdb.Error as error:
            raise NettaxError(f"cannot write {path}: {error}") from error
    return count


def _config(scratch: str) -> dict[str, str | bool | int | float | list[str]]:
    """So that memory is bounded: each thread holds a row group of its own."""
    return {"memory_limit": _MEMORY, "threads": 1, "temp_directory": f"{scratch}/spilled"}


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _parts(recording: Recording) -> Iterator[dict[str, Any]]:
    names = _Names(recording.tables)
    for events in recording.chunks():
        columns: dict[str, Any] = {
            field: np.ascontiguousarray(events[field])
            for field in ("time_ns", "cpu", "pid", "id", "a", "b", "c", "value")
        }
        columns["kind"] = KINDS[events["kind"]]
        columns["flags"] = FLAGS[events["flags"] & (len(FLAGS) - 1)]
        columns["task"] = names.tasks(events["pid"], events)
        columns["name"] = names.of(events)
        yield columns


def _words(count: int, word: Any) -> Any:
    table = np.empty(count, object)
    table[:] = [word(number) for number in range(count)]
    return table


KINDS = _words(256, lambda number: Kind(number).name if number in set(Kind) else str(number))
FLAGS = _words(
    1 << len(Flag), lambda bits: " ".join(flag.name or "" for flag in Flag if bits & flag)
)


class _Names:
    """What the numbers in events stand for, as columns of text."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def tasks(self, pids: Any, events: EventArray) -> Any:
        """The task of each pid, by who it was in the middle of these events."""
        time = int(events["time_ns"][len(events) // 2]) if len(events) else 0
        unique, places = np.unique(pids, return_inverse=True)
        words = [None if pid < 0 else self._tables.tasks.comm(pid, time) for pid in unique.tolist()]
        return np.array([*words, None], object)[places]

    def of(self, events: EventArray) -> Any:
        """The name of `id`: a softirq's vector, an IRQ's handler, a device, a task."""
        kinds, ids = events["kind"], events["id"]
        names = np.full(len(events), None, object)
        hard = np.isin(kinds, (Kind.HARDIRQ_ENTRY, Kind.HARDIRQ_EXIT))
        tables: list[tuple[Any, Any, Any]] = [
            (np.isin(kinds, _SOFTIRQS), ids, dict(enumerate(map(str.upper, VECTORS))).get),
            (hard, ids, self._tables.irqs.get),
            (
                np.isin(kinds, (Kind.VECTOR_ENTRY, Kind.VECTOR_EXIT)),
                events["a"],
                dict(enumerate(VECTOR_NAMES)).get,
            ),
            (np.isin(kinds, (Kind.NAPI_POLL, Kind.PACKET)), ids, self._tables.devices.get),
        ]
        for chosen, numbers, name in tables:
            unique, places = np.unique(numbers[chosen], return_inverse=True)
            words = [name(number) for number in unique.tolist()]
            names[chosen] = np.array([*words, None], object)[places]
        of_tasks = np.isin(kinds, _TASKS)
        names[of_tasks] = self.tasks(ids[of_tasks], events)
        return names
