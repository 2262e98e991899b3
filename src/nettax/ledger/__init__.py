"""The ledger: for each CPU and task, who had the time and what was taken from whom."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nettax.ledger.charges import Charges
from nettax.ledger.rows import CpuShare, Events, GroupShare, IrqShare, OwnCost, TaskShare, TollShare

if TYPE_CHECKING:
    from nettax.ledger.ledger import Ledger
    from nettax.ledger.reading import Interval, Reading
    from nettax.ledger.tasks import TaskCharges
    from nettax.ledger.toll import Toll, TollPoint

__all__ = [
    "Charges",
    "CpuShare",
    "Events",
    "GroupShare",
    "Interval",
    "IrqShare",
    "Ledger",
    "OwnCost",
    "Reading",
    "TaskCharges",
    "TaskShare",
    "Toll",
    "TollPoint",
    "TollShare",
]

# What reads the kernel; a recording's tables have the rows alone, and should not wait for it.
_LIVE = {
    "Interval": "reading",
    "Ledger": "ledger",
    "Reading": "reading",
    "TaskCharges": "tasks",
    "Toll": "toll",
    "TollPoint": "toll",
}


def __getattr__(name: str) -> Any:
    if name not in _LIVE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LIVE[name]}"), name)
