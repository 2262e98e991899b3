"""Kernel functions and chains of kernel events: how long they take, what they call, and why not."""

from nettax.functions.chains import CHAINS, Chain
from nettax.functions.histogram import Histogram
from nettax.functions.latency import Doubts, Latency, LatencyReading, Stage

__all__ = ["CHAINS", "Chain", "Doubts", "Histogram", "Latency", "LatencyReading", "Stage"]
