"""Kernel threads made at will, without a module: one for each queue of a device of ours.

Threaded NAPI asks for them one after the other (dev_set_threaded() in net/core/dev.c), by
kthread_run(), as a server that has a thread for each connection does.
"""

from __future__ import annotations

import os

from nettax.functions.histogram import Histogram
from nettax.functions.latency import Latency
from nettax.host import Host
from nettax.lab.testbed import Testbed

__all__ = ["QUEUES", "times_of"]

QUEUES = 64
"""Threads that one device asks for."""


def times_of(host: Host, latency: Latency) -> dict[str, Histogram]:
    """Have a device's threads made; the times of each stage, of those that this process asked for.

    `latency` is entered already, and tells calls apart by the process.

    :raises NettaxError: as `Testbed` does
    """
    before = latency.read()
    with Testbed(host, queues=QUEUES, threaded=True):
        after = latency.read()
    return {
        stage.name: times
        for stage, times in (after - before).histograms.items()
        if stage.group == os.getpid()
    }
