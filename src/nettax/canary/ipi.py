"""What one interrupt costs its victim: a gap canary under IPIs sent at a known rate.

The tracepoints of an interrupt sit inside its handler; entering and leaving the kernel lie outside
them (and, in a virtual machine, the hypervisor's delivery). A storm makes interrupts with next to
nothing in the handler, so what a gap canary loses to each is that toll.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from nettax.canary.canary import (
    GAP_THRESHOLD_NS,
    LIFETIME_S,
    CanaryInterval,
    CanaryReading,
    read,
)
from nettax.canary.process import EngineProcess, Running
from nettax.errors import UsageError


@dataclass(frozen=True, slots=True)
class IpiReading:
    """What a storm has done since its start. Subtract two to learn of the time between."""

    victim: CanaryReading
    ipis: int
    """Calls of membarrier(2). Each is an IPI if the victim was on its CPU, else it is none."""

    def __sub__(self, earlier: IpiReading) -> IpiGaps:
        """Return what happened since ``earlier``.

        :raises UsageError: the readings are of two storms, or in the wrong order.
        :raises NettaxError: the victim made no progress in between.
        """
        return IpiGaps(self.victim - earlier.victim, self.ipis - earlier.ipis)


@dataclass(frozen=True, slots=True)
class IpiGaps:
    """The IPIs sent in an interval and the gaps that their victim saw."""

    victim: CanaryInterval
    ipis: int


class IpiStorm(Running):
    """A gap canary on ``victim_cpu`` and a thread on ``sender_cpu`` that interrupts it.

    The sender calls membarrier(2) ``rate`` times a second, or as often as the kernel lets it: a
    call waits until the victim has answered, and one that comes late is not made up for. At rate 0,
    as at the start unless ``rate`` is given, it only spins: the baseline. The process is named
    ``nettax-canary``; its main thread is the
    victim, the other is ``nettax-ipis``.
    """

    def __init__(
        self,
        victim_cpu: int,
        sender_cpu: int,
        rate: int = 0,
        *,
        gap_threshold_ns: int = GAP_THRESHOLD_NS,
        lifetime_s: int = LIFETIME_S,
    ) -> None:
        if victim_cpu == sender_cpu:
            raise UsageError(f"CPU {victim_cpu} cannot send IPIs to itself: name two CPUs.")
        self._period_ns = _period_ns(rate)
        self._cpus = [victim_cpu, sender_cpu]
        self._arguments = [victim_cpu, lifetime_s, gap_threshold_ns, sender_cpu]

    def __enter__(self) -> Self:
        """Start the storm.

        :raises UsageError: no such CPU.
        :raises MissingFeature: the kernel lacks membarrier(2) with private expedited commands.
        :raises NettaxError: it cannot start, or something keeps it from its CPU.
        """
        self._process = EngineProcess("canary_storm", *self._arguments, cpus=self._cpus)
        self._process.set_period(self._period_ns)
        return self

    def set_rate(self, rate: int) -> None:
        """Send so many IPIs a second from now on.

        :raises UsageError: no such rate.
        """
        self._process.set_period(_period_ns(rate))

    def read(self) -> IpiReading:
        """Read the victim's progress and the number of IPIs sent.

        :raises NettaxError: the storm has died.
        """
        return IpiReading(read(self._process, "gap"), self._process.ipis())


def _period_ns(rate: int) -> int:
    if not 0 <= rate <= 10**9:
        raise UsageError(f"{rate} IPIs per second is no rate: give 0 to 1000000000.")
    return 10**9 // rate if rate else 0
