"""Where kernels, modules and QEMUs are kept: a directory that any of a user's runs may change.

Whoever adds to a part of it, or removes from it, holds that part's lock. What is added is made
beside its place and renamed when complete, so what is there is whole. Who uses something says so
by a lease, and what is leased is not removed. The kernel ends both with their holder.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nettax.errors import NettaxError

__all__ = ["leased", "locked", "partial", "remove", "root", "size_bytes"]

_PARTIAL = ".partial-"


def root() -> Path:
    """The cache; it need not exist.

    :raises NettaxError: this user has no home directory.
    """
    if home := os.environ.get("XDG_CACHE_HOME"):
        return Path(home, "nettax")
    try:
        return Path.home() / ".cache/nettax"
    except RuntimeError:  # neither $HOME nor a line in /etc/passwd
        raise NettaxError(
            "there is nowhere to keep kernels: this user has no home directory.\n"
            "Set XDG_CACHE_HOME to a directory of yours."
        ) from None


@contextmanager
def locked(part: Path) -> Iterator[None]:
    """Let nobody else change a part of the cache, and remove what a killed one left half done.

    :raises NettaxError: it cannot be written, or its disk is full.
    """
    try:
        part.mkdir(parents=True, exist_ok=True)
        fd = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _cannot(part, error) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        for left in part.glob(f"{_PARTIAL}*"):
            # A child of the killed one's may still write there: the next to come removes the rest.
            shutil.rmtree(left, ignore_errors=True)
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        raise _cannot(part, error) from error
    finally:
        os.close(fd)


@contextmanager
def partial(part: Path) -> Iterator[Path]:
    """A directory in a part that is locked, and that is removed unless it is renamed."""
    path = part / f"{_PARTIAL}{os.getpid()}"
    path.mkdir()
    try:
        yield path
    finally:
        if path.exists():
            shutil.rmtree(path)


@contextmanager
def leased(tree: Path) -> Iterator[bool]:
    """Keep a tree of the cache from being removed; tell whether it is there."""
    try:
        fd = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        yield os.path.exists(tree)  # noqa: PTH110  # it may have gone while this one waited
    finally:
        os.close(fd)


def remove(tree: Path) -> bool:
    """Remove a tree from a part that is locked, unless it is in use; tell whether it is gone."""
    fd = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # First out of the way, so that nobody finds half of it.
        gone = tree.with_name(f"{_PARTIAL}{tree.name}")
        tree.rename(gone)
        shutil.rmtree(gone)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def size_bytes(tree: Path) -> int:
    """What a tree takes on disk."""
    return sum(path.lstat().st_blocks * 512 for path in tree.rglob("*"))


def _cannot(part: Path, error: OSError) -> NettaxError:
    return NettaxError(
        f"cannot keep anything in {part}: {error.strerror}.\n"
        "Set XDG_CACHE_HOME to a directory that has room for a kernel, 600 MB."
    )
