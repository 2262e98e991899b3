"""cpu.stat of cgroups: CPU time that was billed to them, and how long a quota held them up.

Version 2 tells the time of every cgroup, whether or not it has the cpu controller; a quota's
figures are where the controller is, in version 2 or 1. Source:
Documentation/admin-guide/cgroup-v2.rst, "cpu.stat"; kernel/cgroup/rstat.c; kernel/sched/core.c
(cpu_cfs_stat_show: version 1 has throttled_time, in ns).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nettax.errors import MissingFeature
from nettax.kernel import cgroup
from nettax.kernel.files import read_text

__all__ = ["CpuUsage", "quota_cgroups", "throttled_ns", "usage"]


@dataclass(frozen=True, slots=True)
class CpuUsage:
    """CPU time since the cgroup was made, those of ended tasks included."""

    total_ns: int
    """Exact; user and system are shares of it, by where the ticks fell."""
    user_ns: int
    system_ns: int

    def __sub__(self, earlier: CpuUsage) -> CpuUsage:
        return CpuUsage(
            self.total_ns - earlier.total_ns,
            self.user_ns - earlier.user_ns,
            self.system_ns - earlier.system_ns,
        )


def usage(path: Path) -> CpuUsage:
    """Read cpu.stat of a cgroup of version 2.

    :raises OSError: it is gone.
    """
    told = _told(path)
    return CpuUsage(*(told[f"{name}_usec"] * 1000 for name in ("usage", "user", "system")))


def quota_cgroups(pid: int) -> tuple[Path, ...]:
    """The cgroups whose quotas a process is under: its own and those above it."""
    found: list[Path] = []
    if mount := cgroup.v1_mount("cpu"):
        found += _chain(mount, cgroup.cgroup_of(pid, "cpu"))
    with suppress(MissingFeature):
        found += _chain(cgroup.v2_mount(), cgroup.cgroup_of(pid))
    return tuple(found)


def throttled_ns(paths: tuple[Path, ...]) -> int:
    """How long, since they were made, quotas kept the CPUs of these cgroups from them.

    The longest of them: below a cgroup that is held up all are. It adds up over CPUs.
    """
    most = 0
    for path in paths:
        try:
            told = _told(path)
        except OSError:
            continue
        most = max(most, told.get("throttled_time", 0), told.get("throttled_usec", 0) * 1000)
    return most


def _chain(mount: Path, path: str | None) -> list[Path]:
    if path is None or path == "/":
        return []
    own = mount / path.lstrip("/")
    return [own, *(above for above in own.parents if above != mount and mount in above.parents)]


def _told(path: Path) -> dict[str, int]:
    pairs = (line.split() for line in read_text(path / "cpu.stat").splitlines())
    return {name: int(value) for name, value in pairs}
