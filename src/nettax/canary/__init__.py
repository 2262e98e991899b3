"""Victims of known speed, which prove what the accounting says was taken."""

from __future__ import annotations

from nettax.canary.canary import Canary, CanaryInterval, CanaryReading
from nettax.canary.histogram import Bucket, GapHistogram
from nettax.canary.ipi import IpiGaps, IpiReading, IpiStorm
from nettax.canary.loss import Loss, loss

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
    "loss",
]
