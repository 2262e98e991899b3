"""/proc/stat: where each CPU's time went, as the kernel bills it.

Source: fs/proc/stat.c (show_stat) and Documentation/filesystems/proc.rst, section 1.7. Every
time is a multiple of one USER_HZ tick (10 ms on all common hosts), whatever CONFIG_HZ is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from nettax.kernel.files import StrPath, read_text

__all__ = ["TICK_NS", "CpuTimes", "Stat", "stat"]

TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
"""Nanoseconds in one USER_HZ tick, the unit of times in /proc/stat and /proc/PID/stat."""


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Time of one CPU, or of all, by the kind of work that it was billed to; in ns since boot.

    Time in guests is inside `user_ns` and `nice_ns`, so the eight add up to wall time. The
    kernel says of iowait that it may decrease: a difference can be negative, and is not clamped.
    """

    user_ns: int
    nice_ns: int
    system_ns: int
    idle_ns: int
    iowait_ns: int
    irq_ns: int
    softirq_ns: int
    steal_ns: int

    @property
    def wall_ns(self) -> int:
        """All eight together: the wall time that the accounts cover."""
        return (
            self.user_ns
            + self.nice_ns
            + self.system_ns
            + self.idle_ns
            + self.iowait_ns
            + self.irq_ns
            + self.softirq_ns
            + self.steal_ns
        )

    def __sub__(self, earlier: CpuTimes) -> CpuTimes:
        return CpuTimes(
            self.user_ns - earlier.user_ns,
            self.nice_ns - earlier.nice_ns,
            self.system_ns - earlier.system_ns,
            self.idle_ns - earlier.idle_ns,
            self.iowait_ns - earlier.iowait_ns,
            self.irq_ns - earlier.irq_ns,
            self.softirq_ns - earlier.softirq_ns,
            self.steal_ns - earlier.steal_ns,
        )


@dataclass(frozen=True, slots=True)
class Stat:
    """One reading of /proc/stat; counts are since boot."""

    total: CpuTimes
    """Over all possible CPUs, those now offline included."""
    cpus: Mapping[int, CpuTimes]
    """By CPU, online ones only."""
    interrupts: int
    """Hard interrupts of every kind, timer ticks and IPIs included."""
    softirqs: int
    context_switches: int


def stat(proc: StrPath = "/proc") -> Stat:
    """Read /proc/stat."""
    total: CpuTimes | None = None
    cpus: dict[int, CpuTimes] = {}
    counts: dict[str, int] = {}
    for line in read_text(f"{proc}/stat").splitlines():
        name, _, rest = line.partition(" ")
        if name == "cpu":
            total = _cpu_times(rest)
        elif name.startswith("cpu"):
            cpus[int(name[3:])] = _cpu_times(rest)
        else:
            # The first number of `intr` and `softirq` is the sum of all that follow.
            counts[name] = int(rest.split(None, 1)[0])
    if total is None:
        raise ValueError(f"{proc}/stat has no line for all CPUs")
    return Stat(total, cpus, counts["intr"], counts["softirq"], counts["ctxt"])


def _cpu_times(text: str) -> CpuTimes:
    return CpuTimes(*(int(field) * TICK_NS for field in text.split()[:8]))
