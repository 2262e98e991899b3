"""Victims of known speed, which prove what the accounting says was taken."""

from __future__ import annotations

from nettax.canary.canary import Canary, CanaryInterval, CanaryReading
from nettax.canary.histogram import Bucket, GapHistogram
from nettax.canary.ipi import IpiGaps, IpiReading, IpiStorm
from nettax.canary.loss import Loss, loss
from nettax.canary.paced import Paced, PacedInterval, PacedReading
from nettax.canary.working_set import Parts, Speed, WorkingSet, parts

__all__ = [
    "Bucket",
    "Canary",
    "CanaryInterval",
    "CanaryReading",
    "GapHistogram",
    "IpiGaps",
    "IpiReading",
    "IpiStorm",
    "Loss",
    "Paced",
    "PacedInterval",
    "PacedReading",
    "Parts",
    "Speed",
    "WorkingSet",
    "loss",
    "parts",
]
