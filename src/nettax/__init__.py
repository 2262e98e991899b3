"""nettax: the CPU bill of networking: who paid, for whom, and what it cost.

The instruments, each a context manager that reads and never prints::

    import nettax, time

    with nettax.Ledger() as ledger:
        time.sleep(1)
        interval = ledger.finish() - ledger.began
    for task in sorted(interval.tasks, key=lambda task: -task.taken_ns)[:5]:
        print(task.comm, task.billed_ns, task.own_ns)

A name is imported from its module when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from nettax.version import __version__ as __version__

if TYPE_CHECKING:
    from nettax.canary import Canary, CanaryInterval, CanaryReading, loss
    from nettax.errors import (
        MissingFeature,
        MissingPrivilege,
        NettaxError,
        Unsupported,
        UsageError,
    )
    from nettax.host import Host
    from nettax.lab import Testbed
    from nettax.ledger import (
        Charges,
        CpuShare,
        Interval,
        IrqShare,
        Ledger,
        Reading,
        TaskCharges,
        TaskShare,
        Toll,
    )


_HOMES = {
    "Canary": "canary",
    "CanaryInterval": "canary",
    "CanaryReading": "canary",
    "Charges": "ledger",
    "CpuShare": "ledger",
    "Host": "host",
    "Interval": "ledger",
    "IrqShare": "ledger",
    "Ledger": "ledger",
    "MissingFeature": "errors",
    "MissingPrivilege": "errors",
    "NettaxError": "errors",
    "Reading": "ledger",
    "TaskCharges": "ledger",
    "TaskShare": "ledger",
    "Testbed": "lab",
    "Toll": "ledger",
    "Unsupported": "errors",
    "UsageError": "errors",
    "loss": "canary",
}

__all__ = [
    "Canary",
    "CanaryInterval",
    "CanaryReading",
    "Charges",
    "CpuShare",
    "Host",
    "Interval",
    "IrqShare",
    "Ledger",
    "MissingFeature",
    "MissingPrivilege",
    "NettaxError",
    "Reading",
    "TaskCharges",
    "TaskShare",
    "Testbed",
    "Toll",
    "Unsupported",
    "UsageError",
    "loss",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nettax' has no attribute {name!r}")
    return getattr(importlib.import_module(f"nettax.{_HOMES[name]}"), name)
