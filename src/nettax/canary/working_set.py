"""What interruptions cost a program beyond their time: a loop with a working set.

Its turns count as those of a chain, and it watches the cycle counter as the gap engine does. So it
tells, of the same time and by one clock, how much was taken from it and how fast it was in what it
had left. With r the turns per second of wall time and s those per second outside gaps
(`CanaryInterval.clean_rate`), r / s is the share of time that it had, and

    1 − loss = r / r₀ = (r/s) / (r₀/s₀) × s / s₀ = (1 − direct) (1 − slower)

exactly. Turns that were interrupted are in neither term of s; in r they count as one turn, which
gives back to their gap the time that the turn itself takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean
from typing import Self

from nettax.canary.canary import (
    LIFETIME_S,
    MOST_LIFETIME_S,
    CanaryInterval,
    CanaryReading,
    read,
)
from nettax.canary.process import START_LIMIT_S, EngineProcess, Running
from nettax.errors import NettaxError, UsageError
from nettax.kernel.memory import available_bytes, process_memory

__all__ = ["Parts", "Speed", "WorkingSet", "parts"]

GAP_THRESHOLD_NS = 1_000
"""The shortest turn that counts as interrupted.

A turn takes 30 to 150 ns; its slowest are those of misses in the TLB and all caches, up to some
hundreds of ns. An interrupt that handles a packet takes 2 µs or more.
"""
LEAST_BYTES = 4096
MOST_BYTES = 256 << 30
_BUILD_NS_PER_BYTE = 60.0
"""The longest that laying out may take: some 10 times what it takes here."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a working set was, in turns per second."""

    rate: float
    """Of wall time."""
    clean_rate: float
    """Of the time outside gaps."""

    @classmethod
    def of(cls, *intervals: CanaryInterval) -> Self:
        """The mean speed of some intervals, such as the idle ones before and after another."""
        return cls(mean(i.rate for i in intervals), mean(i.clean_rate for i in intervals))

    @property
    def kept(self) -> float:
        """The share of the wall time that it had."""
        return self.rate / self.clean_rate


@dataclass(frozen=True, slots=True)
class Parts:
    """A loss by speed, and its two parts; all are shares, from 0 to 1."""

    loss: float
    """1 − its turns per second / those undisturbed."""
    direct: float
    """The time that was taken, beyond what is taken undisturbed."""
    slower: float
    """How much slower it was in the time that it had left."""


def parts(now: Speed, idle: Speed) -> Parts:
    """Part the loss against an undisturbed speed of the same working set on the same CPU."""
    return Parts(
        loss=1 - now.rate / idle.rate,
        direct=1 - now.kept / idle.kept,
        slower=1 - now.clean_rate / idle.clean_rate,
    )


class WorkingSet(Running):
    """A canary with a working set of so many bytes, on one CPU.

    ``with WorkingSet(1, 256 << 20) as canary`` takes the memory, touches all of it, warms up and
    returns. 0 bytes: a loop that computes and reads no memory. Its pages are of 4 KiB, or with
    `huge_pages` of 2 MiB; on other machines, of the base or of the huge size. It ends as `Canary`
    does. If memory runs out, the kernel ends it before any other.
    """

    def __init__(
        self, cpu: int, size: int, *, huge_pages: bool = False, lifetime_s: int = LIFETIME_S
    ) -> None:
        """Take nothing yet.

        :raises UsageError: no such size.
        """
        if size and not LEAST_BYTES <= size <= MOST_BYTES:
            raise UsageError(f"a working set is of 0 bytes, or of 4K to {MOST_BYTES >> 30}G.")
        self._cpu = cpu
        self.size = size // 1024 * 1024
        self._huge_pages = huge_pages
        lifetime_s = min(lifetime_s, MOST_LIFETIME_S)
        self._arguments = (cpu, lifetime_s, GAP_THRESHOLD_NS, size // 1024, int(huge_pages))

    def __enter__(self) -> Self:
        """Start, and return once it is warm.

        :raises UsageError: no such CPU.
        :raises NettaxError: there is not enough memory, or it cannot start.
        """
        self.check_fits()
        self._process = EngineProcess(
            "canary_working_set",
            *self._arguments,
            cpus=[self._cpu],
            start_limit_s=START_LIMIT_S + self.size * _BUILD_NS_PER_BYTE / 1e9,
        )
        return self

    def check_fits(self) -> None:
        """See that there is memory for it now.

        :raises NettaxError: there is not enough.
        """
        available = available_bytes()
        if available is not None and self.size > available // 10 * 9:
            raise NettaxError(
                f"a working set of {self.size >> 20} MiB does not fit: {available >> 20} MiB of "
                "memory are available, and the rest of the host wants some too."
            )

    def read(self) -> CanaryReading:
        """Read the progress: that of the last 1024 turns' end.

        :raises NettaxError: the canary has died.
        """
        return read(self._process, "working-set")

    def huge_bytes(self) -> int:
        """How much of its memory the kernel has put into huge pages.

        :raises NettaxError: the canary has died.
        """
        memory = process_memory(self.pid)
        if memory is None:
            raise NettaxError(f"the canary (pid {self.pid}) has ended.")
        return memory.huge_bytes
