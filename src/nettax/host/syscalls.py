"""The few system calls that Python 3.11 has no door to, each raising OSError.

All of them act on the calling thread, as the kernel's namespaces do.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h
MNT_DETACH = 2
MS_BIND = 4096
MS_REC = 16384
MS_SHARED = 1 << 20
PR_SET_PDEATHSIG = 1

_FSCONFIG_CMD_CREATE = 6  # include/uapi/linux/mount.h
_PIDFD_GETFD = 438  # on every architecture
_CLOEXEC = 1  # FSOPEN_CLOEXEC and FSMOUNT_CLOEXEC

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, subject: Path | str = "") -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(subject))
    return result


def die_with_parent(signal: int) -> None:
    """Have the kernel send ``signal`` when the thread that forked this process ends.

    It outlives exec, except of set-user-ID programs and those with file capabilities: prctl(2).
    """
    _checked(_libc.prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0))


def unshare(flags: int) -> None:
    """Give the calling thread namespaces of its own."""
    _checked(_libc.unshare(flags))


def setns(fd: int, kind: int) -> None:
    """Move the calling thread into the namespace behind ``fd``."""
    _checked(_libc.setns(fd, kind))


def mount(source: Path | None, target: Path, flags: int) -> None:
    """Bind-mount ``source`` on ``target``, or change the propagation of ``target``."""
    origin = None if source is None else os.fsencode(source)
    _checked(_libc.mount(origin, os.fsencode(target), None, ctypes.c_ulong(flags), None), target)


def unmount(target: Path) -> None:
    """Detach the topmost mount on ``target``, even while it is in use."""
    _checked(_libc.umount2(os.fsencode(target), MNT_DETACH), target)


def detached_mount(filesystem: str) -> int:
    """Mount ``filesystem`` nowhere; return a descriptor of its root, which close() unmounts.

    Nothing appears in any mount namespace, so nothing can be left behind. Sysfs shows the network
    namespace of the thread that calls this. Needs Linux 5.2 and CAP_SYS_ADMIN.
    """
    context = _checked(_libc.fsopen(filesystem.encode(), _CLOEXEC), filesystem)
    try:
        _checked(_libc.fsconfig(context, _FSCONFIG_CMD_CREATE, None, None, 0), filesystem)
        return _checked(_libc.fsmount(context, _CLOEXEC, 0), filesystem)
    finally:
        os.close(context)


def duplicate_fd(pid: int, fd: int) -> int:
    """Return a descriptor of the file that process ``pid`` has open as ``fd``: pidfd_getfd(2).

    Needs Linux 5.6 and the right to ptrace the process.
    """
    handle = os.pidfd_open(pid)
    try:
        return _checked(_libc.syscall(_PIDFD_GETFD, handle, fd, 0))
    finally:
        os.close(handle)
