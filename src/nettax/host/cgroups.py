"""Where cgroups are mounted, and how one is emptied and removed.

Distributions mount version 2 at /sys/fs/cgroup, or at /sys/fs/cgroup/unified beside version 1.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from nettax.errors import MissingFeature

_MOUNTS = Path("/proc/self/mountinfo")
_PATIENCE = 5.0  # seconds; a killed process leaves its cgroup only when it has ended


def hierarchy(controller: str | None = None) -> Path:
    """Return the mount point under which a new cgroup has ``controller``.

    That is version 2's if none is asked for, or if it hands that controller to its children, and
    else version 1's.

    :raises MissingFeature: there is no such mount.
    """
    mounts = mount_points(_MOUNTS.read_text())
    if root := mounts.get(""):
        given = (root / "cgroup.subtree_control").read_text().split()
        if controller is None or controller in given:
            return root
    if controller is not None and controller in mounts:
        return mounts[controller]
    raise MissingFeature(
        f"no cgroup file system offers the controller {controller}: mount one with\n"
        f"mount -t cgroup -o {controller} cgroup /mnt"
        if controller
        else "no cgroup2 file system is mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup"
    )


def mount_points(mountinfo: str) -> dict[str, Path]:
    """Map each version 1 controller, and ``""`` for version 2, to its first mount point.

    ``mountinfo`` is the text of /proc/PID/mountinfo: proc(5).
    """
    points: dict[str, Path] = {}
    for line in mountinfo.splitlines():
        mount, _, source = line.partition(" - ")
        kind, _, options = source.partition(" ")
        if kind == "cgroup2":
            names = [""]
        elif kind == "cgroup":
            names = options.split()[-1].split(",")
        else:
            continue
        for name in names:
            points.setdefault(name, Path(mount.split()[4]))
    return points


def remove(cgroup: Path) -> None:
    """Kill what is in a cgroup and below it, wait until it has ended, and remove them all.

    A cgroup that is gone is no error.

    :raises OSError: processes outlive SIGKILL (uninterruptible), or keep arriving.
    """
    deadline = time.monotonic() + _PATIENCE
    for directory, _, _ in os.walk(cgroup, topdown=False):
        while True:
            with suppress(FileNotFoundError, ProcessLookupError, OSError):
                for pid in Path(directory, "cgroup.procs").read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
            try:
                Path(directory).rmdir()
            except FileNotFoundError:
                break
            except OSError:  # EBUSY while a process is in it
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.001)
            else:
                break
