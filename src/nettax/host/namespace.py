"""Named network namespaces, made and entered the way that ip-netns(8) does.

A namespace has a name while its nsfs file is bind-mounted under /run/netns. Everything here is
done by the calling thread and by no child, so nothing goes on after a kill -9.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nettax.errors import UsageError
from nettax.host import syscalls
from nettax.host.privilege import require

DIRECTORY = Path("/run/netns")
_OWN = Path("/proc/thread-self/ns/net")


def path_of(name: str) -> Path:
    """Return where the namespace ``name`` is, or would be, mounted.

    :raises UsageError: no file can have that name.
    """
    if not name or "/" in name or "\0" in name or name in (".", "..") or len(name) > 255:
        raise UsageError(f"{name!r} cannot name a network namespace: use a plain file name.")
    return DIRECTORY / name


def create(name: str) -> None:
    """Make a network namespace; only loopback is in it, and that is down.

    :raises FileExistsError: there is one.
    :raises OSError: the kernel refused.
    """
    path = path_of(name)
    _share_directory()
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    with _returning():
        syscalls.unshare(syscalls.CLONE_NEWNET)
        syscalls.mount(_OWN, path, syscalls.MS_BIND)


def delete(name: str) -> None:
    """Take away the name; the namespace itself ends with the last process in it.

    A name that is gone, or that no namespace was mounted on, is no error.
    """
    path = path_of(name)
    try:
        syscalls.unmount(path)
    except OSError as error:
        # EINVAL: create() was killed between the file and the mount.
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise
    path.unlink(missing_ok=True)


@contextmanager
def opened(name: str) -> Iterator[int]:
    """Open a namespace for setns(2).

    :raises UsageError: there is none of that name.
    :raises MissingPrivilege: the caller could not enter it.
    """
    require("CAP_SYS_ADMIN", f"enter the network namespace {name}")
    try:
        fd = os.open(path_of(name), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise UsageError(
            f"there is no network namespace {name}: `ip netns` lists those there are."
        ) from None
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def within(name: str) -> Iterator[None]:
    """Move the calling thread into a namespace and back.

    Sockets opened meanwhile belong to the namespace, and /proc/sys/net is the namespace's.

    :raises UsageError, MissingPrivilege: as :func:`opened`.
    """
    with opened(name) as fd, _returning():
        syscalls.setns(fd, syscalls.CLONE_NEWNET)
        yield


@contextmanager
def beside(pid: int) -> Iterator[None]:
    """Move the calling thread into the namespace of a process and back, if it is another.

    :raises OSError: the process has ended, or the caller may not enter it.
    """
    there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.path.samestat(os.fstat(there), _OWN.stat()):
            yield
        else:
            with _returning():
                syscalls.setns(there, syscalls.CLONE_NEWNET)
                yield
    finally:
        os.close(there)


@contextmanager
def sysfs(name: str) -> Iterator[int]:
    """Give a directory descriptor of a /sys that shows the namespace's devices.

    The /sys of the caller goes on showing the devices of the namespace that it was mounted in.
    """
    with within(name):
        root = syscalls.detached_mount("sysfs")
    try:
        yield root
    finally:
        os.close(root)


@contextmanager
def _returning() -> Iterator[None]:
    """Bring the calling thread back to the network namespace that it is in now."""
    origin = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        syscalls.setns(origin, syscalls.CLONE_NEWNET)
        os.close(origin)


def _share_directory() -> None:
    """Make /run/netns a shared mount, so that names come and go in every mount namespace.

    Otherwise a copy of the mount elsewhere would keep a deleted namespace alive. It stays, as
    after any ``ip netns add``.
    """
    DIRECTORY.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        syscalls.mount(None, DIRECTORY, syscalls.MS_SHARED | syscalls.MS_REC)
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: not a mount point yet
            raise
        syscalls.mount(DIRECTORY, DIRECTORY, syscalls.MS_BIND | syscalls.MS_REC)
        syscalls.mount(None, DIRECTORY, syscalls.MS_SHARED | syscalls.MS_REC)
