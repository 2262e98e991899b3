"""Estimates as text."""

from __future__ import annotations

from nettax.experiment.estimate import Estimate

__all__ = ["points", "ratio"]


def ratio(estimate: Estimate, digits: int = 3) -> str:
    """The median and its interval: ``0.991 [0.984, 0.998]``."""
    middle, low, high = (f"{x:.{digits}f}" for x in (estimate.median, estimate.low, estimate.high))
    return f"{middle} [{low}, {high}]"


def points(estimate: Estimate) -> str:
    """A share of one CPU in percent, with its interval."""
    middle, low, high = (f"{100 * x:+.1f}" for x in (estimate.median, estimate.low, estimate.high))
    return f"{middle} [{low}, {high}]"
