"""One owner's journal: a file of JSON lines, each telling of one change before it is made.

::

    {"boot": "5cbf0e5e-…"}                                        the first line
    {"n": 1, "kind": "Namespace", "name": "nettax-42-0-sender"}   about to be made
    {"n": 1, "kind": null}                                        undone

A later line replaces an earlier one of the same number. A last line without its newline was being
written when the owner died, so its change was not made. The file is named for its owner, pid and
start time: a look at the directory tells whether anybody's end left something to undo.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from nettax.errors import NettaxError
from nettax.host.changes import KINDS, Change
from nettax.host.process import Process

_SUFFIX = ".jsonl"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_serials = itertools.count()


def directory() -> Path:
    """Return where this user's journals are kept; it need not exist.

    :raises NettaxError: an ordinary user's XDG_RUNTIME_DIR is not set.
    """
    if os.geteuid() == 0:
        return Path("/run/nettax/journal")
    try:
        return Path(os.environ["XDG_RUNTIME_DIR"], "nettax", "journal")
    except KeyError:
        raise NettaxError(
            "there is nowhere to keep the journal of changes: XDG_RUNTIME_DIR is not set.\n"
            "Set it to a directory of yours that a reboot empties."
        ) from None


class Contents(NamedTuple):
    """What a journal says."""

    boot: str  # the kernel's name for the boot it belongs to
    pending: dict[int, Change]  # still to be undone
    senseless: tuple[str, ...]  # whole lines that are no record


def decode(text: bytes) -> Contents:
    """Read a journal that may have been cut off anywhere."""
    boot = ""
    pending: dict[int, Change] = {}
    senseless = []
    for line in filter(None, text.split(b"\n")[:-1]):
        try:
            entry = json.loads(line)
            if "boot" in entry:
                boot = str(entry["boot"])
                continue
            number, kind = int(entry.pop("n")), entry.pop("kind")
            if kind is None:
                pending.pop(number, None)
            else:
                pending[number] = KINDS[kind](**entry)
        except (ValueError, KeyError, TypeError, AttributeError):
            senseless.append(line.decode(errors="replace"))
    return Contents(boot, pending, tuple(senseless))


def encode(number: int, change: Change | None) -> bytes:
    """Write one record: that a change is about to be made or, with None, that it is undone."""
    fields = {} if change is None else change._asdict()
    kind = None if change is None else type(change).__name__
    return _line({"n": number, "kind": kind, **fields})


def _line(entry: Mapping[str, object]) -> bytes:
    # The newline in front ends a line that was cut off, whose writer was killed.
    return b"\n" + json.dumps(entry).encode() + b"\n"


class Journal:
    """An open journal; close() keeps what is pending and removes a journal that is done."""

    def __init__(self, path: Path) -> None:
        """Open the journal at ``path``, which exists."""
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)

    @classmethod
    def create(cls) -> Journal:
        """Begin a journal for the calling process."""
        owner = Process.current()
        home = directory()
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = home / f"{owner.pid}-{owner.start_ns}-{next(_serials)}{_SUFFIX}"
        path.touch(mode=0o600, exist_ok=False)
        journal = cls(path)
        journal._append(_line({"boot": boot_id()}))
        return journal

    def write(self, number: int, change: Change | None) -> None:
        """Record that change ``number`` is about to be made or, with None, that it is undone."""
        self._append(encode(number, change))

    def _append(self, line: bytes) -> None:
        os.write(self._fd, line)
        os.fsync(self._fd)

    def read(self) -> Contents:
        """Return what the journal says now."""
        return decode(os.pread(self._fd, os.fstat(self._fd).st_size, 0))

    def lock(self) -> bool:
        """Keep other recoverers out until close(); False if one of them has finished it."""
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        return os.fstat(self._fd).st_nlink > 0

    def remove(self) -> None:
        """Remove the journal's file; one that is gone is no error."""
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the journal, and remove it if nothing in it is pending."""
        if not self.read().pending:
            self.remove()
        os.close(self._fd)


def journals() -> list[tuple[Path, Process]]:
    """List this user's journals with their owners, dead or alive."""
    try:
        paths = sorted(directory().iterdir())
    except (FileNotFoundError, NettaxError):
        return []
    return [(path, owner) for path in paths if (owner := owner_of(path)) is not None]


@contextmanager
def exclusive() -> Iterator[None]:
    """Keep the user's other processes from adding to their journals in the same way."""
    fd = os.open(directory(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def owner_of(path: Path) -> Process | None:
    """Read the owner from a journal's name; None if the file is no journal."""
    parts = path.name.removesuffix(_SUFFIX).split("-")
    if path.suffix != _SUFFIX or len(parts) != 3 or not all(part.isdecimal() for part in parts):
        return None
    return Process(int(parts[0]), int(parts[1]))


def boot_id() -> str:
    """Return what the kernel calls this boot."""
    return _BOOT_ID.read_text().strip()
