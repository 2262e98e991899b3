"""Giving up what loading took: the user, every capability, and the way back to them.

Which capabilities a reading takes is asked of the kernel, not inferred from its version. Whoever
holds a map's or a program's descriptor may read and run it since 2022 ("bpf: refine
kernel.unprivileged_bpf_disabled behaviour"); before, bpf(2) asked for CAP_BPF wherever that sysctl
was set.
"""

from __future__ import annotations

import ctypes
import os
import pwd
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from nettax.errors import MissingPrivilege, NettaxError, UsageError
from nettax.kernel.files import read_text

__all__ = ["Standing", "account", "drop"]

# include/uapi/linux/capability.h
CAPABILITIES = {"CAP_PERFMON": 38, "CAP_BPF": 39}
_VERSION_3 = 0x20080522
# include/uapi/linux/prctl.h
_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4

_libc = ctypes.CDLL(None, use_errno=True)

# From nothing to what loading takes.
ENOUGH = ((), ("CAP_BPF",), ("CAP_BPF", "CAP_PERFMON"))


@dataclass(frozen=True, slots=True)
class Standing:
    """What a process is left with."""

    uid: int
    capabilities: tuple[str, ...]


def account(user: str) -> pwd.struct_passwd:
    """A user to become, by name or number.

    :raises UsageError: there is no such user, or it is root
    :raises MissingPrivilege: only root can become somebody else
    """
    try:
        found = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        raise UsageError(f"there is no user {user!r}") from None
    if found.pw_uid == 0 or found.pw_gid == 0:
        raise UsageError(f"--user {user} would leave nettax root's rights: name another")
    if os.geteuid() != 0:
        raise MissingPrivilege("only root can become another user: leave --user out")
    return found


def drop(who: pwd.struct_passwd | None, read: Callable[[], object]) -> Standing:
    """Become another user, keep only the capabilities without which `read` fails, lock the door.

    To be called while there is one thread: capabilities belong to threads.

    :raises NettaxError: the kernel did not take something away
    """
    _drop_bounding_set()
    if who:
        _prctl(_PR_SET_KEEPCAPS, 1)
        os.setgroups([])
        os.setresgid(who.pw_gid, who.pw_gid, who.pw_gid)
        os.setresuid(who.pw_uid, who.pw_uid, who.pw_uid)
    with suppress(OSError):  # kernels before 4.3 have none
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    permitted = _permitted()
    for names in ENOUGH:
        needed = sum(1 << CAPABILITIES[name] for name in names) & permitted
        _set_capabilities(permitted, needed)
        try:
            read()
        except PermissionError:
            if names == ENOUGH[-1]:
                raise
        else:
            break
    _set_capabilities(needed, needed)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if _permitted() & ~needed or (who and 0 in os.getresuid() + os.getresgid()):
        raise NettaxError("privileges could not be dropped: this is not the process to run")
    return Standing(os.getuid(), tuple(n for n in names if needed >> CAPABILITIES[n] & 1))


def _drop_bounding_set() -> None:
    """So that no program that this one might run gets any back. Needs CAP_SETPCAP, as root has."""
    last = int(read_text("/proc/sys/kernel/cap_last_cap"))
    for capability in range(last + 1):
        with suppress(PermissionError):
            _prctl(_PR_CAPBSET_DROP, capability)


def _permitted() -> int:
    status = read_text("/proc/self/status")
    return int(status.partition("CapPrm:")[2].split(None, 1)[0], 16)


def _set_capabilities(permitted: int, effective: int) -> None:
    """capset(2), of the calling thread; nothing stays inheritable."""
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()
    for word in range(2):
        data[3 * word] = effective >> 32 * word & 0xFFFFFFFF
        data[3 * word + 1] = permitted >> 32 * word & 0xFFFFFFFF
    if _libc.capset(header, data) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot set capabilities: {os.strerror(number)}")


def _prctl(option: int, argument: int) -> None:
    if _libc.prctl(option, *(ctypes.c_ulong(each) for each in (argument, 0, 0, 0))) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot do prctl {option}: {os.strerror(number)}")
