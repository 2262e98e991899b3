"""Control groups: where they are mounted, their ids, and which one a task is in.

The id of a cgroup is its kernfs node's (kn->id), which bpf_get_current_cgroup_id() gives and
which, on 64-bit hosts, is the inode number of its directory (include/linux/kernfs.h,
kernfs_id_ino). Paths are relative to the hierarchy, as in /proc/PID/cgroup: ``/`` is the root.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from nettax.errors import MissingFeature, UsageError
from nettax.kernel.files import StrPath, read_text
from nettax.kernel.mounts import mounts

__all__ = ["Cgroups", "cgroup_of", "v1_mount", "v2_mount"]


def v2_mount(proc: StrPath = "/proc") -> Path:
    """Return where the v2 hierarchy is mounted: /sys/fs/cgroup, or below it on hybrid hosts.

    :raises MissingFeature: if it is not.
    """
    found = mounts("cgroup2", proc)
    if not found:
        raise MissingFeature(
            "cgroup v2 is not mounted, so containers cannot be told apart: "
            "mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified"
        )
    return found[0].point


def v1_mount(controller: str, proc: StrPath = "/proc") -> Path | None:
    """Return where a v1 controller (``cpu``, ``cpuacct``) is mounted; None if it is not."""
    for mount in mounts("cgroup", proc):
        if controller in mount.super_options:
            return mount.point
    return None


def cgroup_of(pid: int, controller: str = "", proc: StrPath = "/proc") -> str | None:
    """Return the path of a process's cgroup; None if it has ended or is hidden (hidepid).

    Without `controller` in the v2 hierarchy, else in that v1 controller's. A cgroup that was
    removed under a process reads ``/x (deleted)``.

    :raises MissingFeature: if the kernel has no such hierarchy.
    """
    try:
        lines = read_text(f"{proc}/{pid}/cgroup").splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        # The v2 line names no controller: "0::/path".
        if controller in controllers.split(","):
            return path
    raise MissingFeature(f"no cgroup hierarchy here has the controller {controller or 'v2'!r}")


class Cgroups:
    """The cgroups below a mounted hierarchy, by id.

    One walk fills the map and a miss repeats it. An id that a walk after the miss does not find
    is gone for good (ids are not reused), so it is not looked for again; a cgroup that was seen
    keeps its name after its removal, for the events that are still on their way.
    """

    def __init__(self, mount: Path | None = None) -> None:
        """Walk the hierarchy mounted at `mount`, by default v2's.

        :raises MissingFeature: if v2 is not mounted.
        """
        self.mount = v2_mount() if mount is None else mount
        self._paths: dict[int, str] = {}
        self._gone: set[int] = set()
        self._walk()

    def path(self, cgroup_id: int) -> str | None:
        """Return the path of a cgroup; None if it is gone or lies outside the mount."""
        if cgroup_id not in self._paths and cgroup_id not in self._gone:
            self._walk()
            if cgroup_id not in self._paths:
                self._gone.add(cgroup_id)
        return self._paths.get(cgroup_id)

    def paths(self, ids: Iterable[int]) -> dict[int, str | None]:
        """The same for many, with one walk at most."""
        wanted = tuple(ids)
        unknown = [key for key in wanted if key not in self._paths and key not in self._gone]
        if unknown:
            self._walk()
            self._gone.update(key for key in unknown if key not in self._paths)
        return {key: self._paths.get(key) for key in wanted}

    def forget(self, ids: Iterable[int]) -> None:
        """Drop the names of cgroups that are gone, so that they do not pile up."""
        for cgroup_id in ids:
            self._paths.pop(cgroup_id, None)
            self._gone.discard(cgroup_id)

    def resolve(self, name: str) -> int:
        """Return the id of the cgroup that a user names with ``-G``.

        Both ``system.slice/x`` or ``/system.slice/x``, relative to the hierarchy, and the
        directory's own path, ``/sys/fs/cgroup/system.slice/x``, will do.

        :raises UsageError: if there is no such cgroup.
        """
        # An absolute name replaces the mount in the first of these.
        for candidate in (self.mount / name, f"{self.mount}/{name}") if name else ():
            path = os.path.normpath(candidate)
            if os.path.commonpath((path, self.mount)) != str(self.mount):
                continue
            try:
                Path(path, "cgroup.procs").stat()
                return Path(path).stat().st_ino
            except OSError:
                continue
        raise UsageError(f"no cgroup {name!r} below {self.mount}: systemd-cgls lists them")

    def subtree(self, cgroup_id: int) -> frozenset[int]:
        """Return the ids of a cgroup and of all below it, as they are now."""
        self._walk()
        top = self._paths.get(cgroup_id)
        if top is None:
            return frozenset()
        below = top.rstrip("/") + "/"
        found = (key for key, path in self._paths.items() if path.startswith(below))
        return frozenset((cgroup_id, *found))

    def _walk(self) -> None:
        """By what directories tell of their entries, kind and inode: no file is looked at."""
        self._paths[self.mount.stat().st_ino] = "/"
        pending = [""]
        while pending:
            path = pending.pop()
            try:
                entries = os.scandir(f"{self.mount}{path}")
            except OSError:  # removed since its parent was listed, or closed to this user
                continue
            with entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        below = f"{path}/{entry.name}"
                        self._paths[entry.inode()] = below
                        pending.append(below)
