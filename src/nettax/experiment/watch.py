"""A canary beside the ledger: its loss by its own clock, by the kernel's bill, by the ledger."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from nettax.canary import Canary, CanaryInterval
from nettax.canary.canary import Engine
from nettax.kernel.features import require_host_pids
from nettax.ledger import CpuShare, Ledger, TaskShare, Toll

__all__ = ["SPARE_S", "Watch", "off", "watch"]

SPARE_S = 60
"""How much longer than its work a canary may live: setting up and waiting take some time too."""


@dataclass(frozen=True, slots=True)
class Watch:
    """The same seconds, three times told."""

    canary: CanaryInterval
    task: TaskShare
    cpu: CpuShare
    toll: Toll | None


def watch(cpu: int, engine: Engine, duration_s: float) -> Watch:
    """Run a canary on `cpu` for some seconds, with the ledger on that CPU.

    :raises UsageError: no such CPU
    :raises MissingPrivilege: the ledger may not be loaded
    :raises NettaxError: the canary never got the CPU
    """
    require_host_pids()
    toll = Toll.load()
    lifetime_s = math.ceil(duration_s) + SPARE_S
    with (
        off(cpu),
        Canary(cpu, engine, lifetime_s=lifetime_s) as canary,
        Ledger(cpus=[cpu], toll=toll) as ledger,
    ):
        start = canary.read()
        time.sleep(duration_s)
        end = canary.read()
        interval = ledger.finish() - ledger.began
    return Watch(end - start, interval.task(canary.pid), interval.cpus[0], toll)


@contextmanager
def off(cpu: int) -> Iterator[None]:
    """Keep this process off a CPU that it measures, where it has another."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, allowed - {cpu} or allowed)
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
