"""What `kthread-cost` has a guest do: kernel threads made, and followed in two ways; prints JSON.

Its arguments are FUNCTION and ROUNDS. Times are in ns of the guest.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from nettax.experiment.runs.kthreads import QUEUES, times_of
from nettax.functions.histogram import Histogram
from nettax.functions.latency import Latency
from nettax.host import Host


def followed(host: Host, latency: Latency, rounds: int) -> dict[str, Any]:
    """Each stage's times, of so many devices."""
    total: dict[str, Histogram] = {}
    with latency:
        times_of(host, latency)  # brings in from the host what all need
        for _ in range(rounds):
            for stage, times in times_of(host, latency).items():
                total[stage] = total.get(stage, Histogram()) + times
    return {
        stage: {
            "count": times.count,
            "mean_ns": times.mean_ns,
            "p50_ns": times.quantile(0.5),
            "p99_ns": times.quantile(0.99),
            "most_ns": times.most_ns,
        }
        for stage, times in total.items()
    }


def main(function: str, rounds: int) -> dict[str, Any]:
    """By the chain of tracepoints, then by the function: neither is in the other's times."""
    with Host() as host:
        return {
            "made": rounds * QUEUES,
            "chain": followed(host, Latency(("kthread",), by="pid"), rounds),
            "function": followed(host, Latency(functions=(function,), by="pid"), rounds),
        }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]))))
