"""Where a new cgroup goes, and how one is emptied and removed."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from nettax.errors import MissingFeature
from nettax.kernel import cgroup as mounted

_PATIENCE = 5.0  # seconds; a killed process leaves its cgroup only when it has ended


def hierarchy(controller: str | None) -> Path:
    """Return the mount point under which a new cgroup has ``controller``, if one is named.

    That is version 2's if its root hands the controller to its children, else version 1's.

    :raises MissingFeature: there is no such mount.
    """
    if controller is None:
        return mounted.v2_mount()
    with suppress(MissingFeature):
        root = mounted.v2_mount()
        if controller in (root / "cgroup.subtree_control").read_text().split():
            return root
    if root_v1 := mounted.v1_mount(controller):
        return root_v1
    raise MissingFeature(
        f"no cgroup file system here offers the controller {controller}: on version 2, write "
        f"+{controller} to the root's cgroup.subtree_control."
    )


def remove(cgroup: Path) -> None:
    """Kill what is in a cgroup and below it, wait until it has ended, and remove them all.

    A cgroup that is gone is no error.

    :raises OSError: processes outlive SIGKILL (uninterruptible), or keep arriving.
    """
    deadline = time.monotonic() + _PATIENCE
    for directory, _, _ in os.walk(cgroup, topdown=False):
        while True:
            with suppress(FileNotFoundError, ProcessLookupError):
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
