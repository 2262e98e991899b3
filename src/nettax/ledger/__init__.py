"""The ledger: for each CPU and task, who had the time and what was taken from whom."""

from nettax.ledger.charges import Charges
from nettax.ledger.ledger import Ledger
from nettax.ledger.reading import Interval, Reading
from nettax.ledger.rows import CpuShare, Events, GroupShare, OwnCost, TaskShare, TollShare
from nettax.ledger.tasks import TaskCharges
from nettax.ledger.toll import Toll, TollPoint

__all__ = [
    "Charges",
    "CpuShare",
    "Events",
    "GroupShare",
    "Interval",
    "Ledger",
    "OwnCost",
    "Reading",
    "TaskCharges",
    "TaskShare",
    "Toll",
    "TollPoint",
    "TollShare",
]
