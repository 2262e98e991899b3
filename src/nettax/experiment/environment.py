"""The host that a result was measured on: what must be alike before two may be compared."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from nettax.kernel import cpus, features
from nettax.kernel.accounting import accounting
from nettax.kernel.files import StrPath, read_word
from nettax.version import __version__

__all__ = ["Environment", "environment"]


@dataclass(frozen=True, slots=True)
class Environment:
    """A host at one moment, in values that JSON can hold."""

    nettax: str
    date: str
    """UTC, ISO 8601, to the second."""
    kernel: str
    """The running kernel's release and version: ``6.1.0-18-amd64 #1 SMP …``."""
    machine: str
    cpu_model: str
    online_cpus: str
    """A CPU list: ``0-3``."""
    hypervisor: str | None
    accounting: str
    """How CPU time is accounted for: ``tick``, ``tick, interrupts apart``."""
    clocksource: str | None
    tick_hz: int
    governors: tuple[str, ...]
    """The frequency governors in force, sorted; none where the host does not scale."""


def environment(sys: StrPath = "/sys", proc: StrPath = "/proc") -> Environment:
    """Take the fingerprint of this host, now."""
    uname = os.uname()
    online = cpus.online(sys)
    return Environment(
        nettax=__version__,
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        kernel=f"{uname.release} {uname.version}",
        machine=uname.machine,
        cpu_model=features.cpu_model(proc),
        online_cpus=cpus.format_list(online),
        hypervisor=features.hypervisor(sys, proc),
        accounting=accounting(proc, sys).mode,
        clocksource=features.clocksource(sys),
        tick_hz=features.tick_hz(),
        governors=_governors(online, sys),
    )


def _governors(online: tuple[int, ...], sys: StrPath) -> tuple[str, ...]:
    paths = (f"{sys}/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor" for cpu in online)
    return tuple(sorted({governor for path in paths if (governor := read_word(path))}))
