"""Undo what a journal tells of: one's own at the end, and those of the dead at the next start."""

from __future__ import annotations

from typing import NamedTuple

from nettax.host.changes import ChangedSince
from nettax.host.journal import Journal, boot_id, journals


class Undone(NamedTuple):
    """What an undoing did."""

    changes: tuple[str, ...]  # that are now undone
    problems: tuple[str, ...]  # for the user, a sentence each

    def __add__(self, other: object) -> Undone:
        """Join two undoings."""
        if not isinstance(other, Undone):
            return NotImplemented
        return Undone(self.changes + other.changes, self.problems + other.problems)


NOTHING = Undone((), ())


def undo(journal: Journal, after: int = -1) -> Undone:
    """Undo the pending changes numbered above ``after``, the latest first."""
    changes, problems = [], []
    for number, change in sorted(journal.read().pending.items(), reverse=True):
        if number <= after:
            break
        try:
            change.undo()
            changes.append(str(change))
        except ChangedSince as error:
            problems.append(str(error))
        except Exception as error:  # whatever it is, the rest must still be undone
            problems.append(f"cannot undo {change}: {error}. The next start will try again.")
            continue
        journal.write(number, None)
    return Undone(tuple(changes), tuple(problems))


def recover() -> Undone:
    """Undo the changes of owners that died before they could.

    Journals of the living are left alone, and those of an earlier boot dropped: their changes
    ended with it. What cannot be undone stays in its journal for the next time. Several processes
    may do this at once; each returns when all is done. With no journals it is one look at a
    directory.
    """
    undone = NOTHING
    for path, owner in journals():
        if owner.alive():
            continue
        try:
            journal = Journal(path)
        except FileNotFoundError:  # another recoverer has finished it
            continue
        try:
            if journal.lock():
                undone += _recover_one(journal)
        finally:
            journal.close()
    return undone


def _recover_one(journal: Journal) -> Undone:
    contents = journal.read()
    if contents.boot != boot_id():
        journal.remove()
        return NOTHING
    lost = tuple(
        f"a line of {journal.path.name} makes no sense and was passed over: {line}"
        for line in contents.senseless
    )
    return undo(journal) + Undone((), lost)
