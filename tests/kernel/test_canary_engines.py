"""Both engines against a known theft: a busy neighbour on the same CPU takes half of it."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from nettax.canary import Canary, CanaryInterval, loss
from nettax.canary.canary import Engine
from nettax.canary.process import EngineProcess
from nettax.host import spawn
from nettax.kernel import proc_pid

CPU = max(os.sched_getaffinity(0))


def watch(canary: Canary, seconds: float) -> CanaryInterval:
    before = canary.read()
    time.sleep(seconds)
    return canary.read() - before


@dataclass
class Shared:
    """A canary's window beside a busy neighbour, between two idle ones."""

    before: CanaryInterval
    halved: CanaryInterval
    after: CanaryInterval
    neighbour_ns: int

    @property
    def on_cpu(self) -> float:
        """The share of the wall time that the canary had the CPU, as the kernel tells it."""
        return self.halved.cpu_ns / self.halved.wall_ns

    @property
    def others(self) -> float:
        """The share that went to neither: somebody else uses this machine."""
        return 1 - self.on_cpu - self.neighbour_ns / self.halved.wall_ns

    @property
    def lost(self) -> float:
        return loss(self.halved, self.before, self.after).value


def share_the_cpu(engine: Engine, await_quiet: Callable[[], None]) -> list[Shared]:
    rounds = []
    for _ in range(3):
        await_quiet()
        with Canary(CPU, engine) as canary:
            before = watch(canary, 0.25)
            with spawn(["sh", "-c", "while :; do :; done"], cpus=[CPU]) as neighbour:
                try:
                    start = cpu_ns(neighbour.pid)
                    halved = watch(canary, 0.6)
                    neighbour_ns = cpu_ns(neighbour.pid) - start
                finally:
                    neighbour.kill()
            rounds.append(Shared(before, halved, watch(canary, 0.25), neighbour_ns))
    return rounds


def cpu_ns(pid: int) -> int:
    times = proc_pid.schedstat(pid)
    assert times
    return times.cpu_ns


def test_idle_gaps_are_few_and_add_up(await_quiet: Callable[[], None]) -> None:
    await_quiet()
    with Canary(CPU, "gap") as canary:
        idle = watch(canary, 0.5)
    assert (idle.gap_ns - idle.run_delay_ns) / idle.cpu_ns < 0.10
    buckets = list(idle.gap_histogram)
    assert sum(bucket.count for bucket in buckets) == idle.gaps
    # Buckets were filled with the frequency known at the time: 0.1 % for all that differs.
    assert sum(bucket.low_ns * bucket.count for bucket in buckets) <= idle.gap_ns * 1.001
    assert sum(bucket.high_ns * bucket.count for bucket in buckets) >= idle.gap_ns * 0.999


def test_a_neighbour_takes_half_of_a_gap_canary(await_quiet: Callable[[], None]) -> None:
    rounds = share_the_cpu("gap", await_quiet)
    shares = [each.halved.gap_share - max(each.others, 0) for each in rounds]
    assert 0.45 <= statistics.median(shares) <= 0.55
    # A neighbour is displacement, which the kernel accounts for rightly: each window must agree
    # with it, to the 3 points that the hypervisor moves from one window to the next.
    for each in rounds:
        waited = each.halved.run_delay_ns / each.halved.wall_ns
        assert abs(each.on_cpu + waited - 1) < 0.03
    assert statistics.median(abs(each.lost - (1 - each.on_cpu)) for each in rounds) < 0.03


def test_a_neighbour_takes_half_of_a_chain_canary(await_quiet: Callable[[], None]) -> None:
    rounds = share_the_cpu("chain", await_quiet)
    assert 0.42 <= statistics.median(each.lost - max(each.others, 0) for each in rounds) <= 0.58
    assert statistics.median(abs(each.lost - (1 - each.on_cpu)) for each in rounds) < 0.05


def test_the_chain_did_every_step_that_it_claims() -> None:
    allowed = os.sched_getaffinity(0)
    process = EngineProcess("canary_chain", CPU, 600, cpus=[CPU])
    try:
        os.sched_setaffinity(0, allowed - {CPU} or allowed)
        # Read as fast as it publishes: a torn sample would pair one's value with another's count.
        samples = [process.sample() for _ in range(2000)]
    finally:
        os.sched_setaffinity(0, allowed)
        process.stop()
    for earlier, later in pairwise(samples):
        assert earlier.ns <= later.ns
        assert earlier.iterations <= later.iterations
    for sample in samples:
        assert sample.chain == chain_value(sample.iterations)


def chain_value(steps: int) -> int:
    """The value of x ← a x + c (mod 2⁶⁴) after `steps` from 0, by squaring the map."""
    factor, constant = 6364136223846793005, 1442695040888963407
    value, mask = 0, 2**64 - 1
    while steps:
        if steps & 1:
            value = (factor * value + constant) & mask
        constant = (factor * constant + constant) & mask
        factor = factor * factor & mask
        steps >>= 1
    return value
