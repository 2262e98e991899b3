"""A storm: as many gaps as IPIs, and a cost per IPI that does not depend on their rate."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

import pytest

from nettax.canary import IpiGaps, IpiStorm
from nettax.kernel import proc_pid

CPUS = sorted(os.sched_getaffinity(0))
# Above an idle virtual CPU's small gaps, below an interrupt's.
THRESHOLD_NS = 500

pytestmark = pytest.mark.skipif(len(CPUS) < 2, reason="an IPI needs a CPU to send it")


def watch(rate_per_s: int) -> IpiGaps:
    with IpiStorm(CPUS[-1], CPUS[0], rate_per_s, gap_threshold_ns=THRESHOLD_NS) as storm:
        before = storm.read()
        time.sleep(0.25)
        return storm.read() - before


def landed(gaps: IpiGaps) -> float:
    """IPIs that found the victim on its CPU: calls are even in time, so its share of it."""
    return gaps.ipis * gaps.victim.cpu_ns / gaps.victim.wall_ns


def interrupted(gaps: IpiGaps) -> float:
    """The share of the victim's time on its CPU that passed in gaps: all but its waits."""
    return (gaps.victim.gap_ns - gaps.victim.run_delay_ns) / gaps.victim.cpu_ns


def cost_ns(gaps: IpiGaps, baseline: IpiGaps) -> float:
    """What one IPI cost the victim beyond what it loses without: the hypervisor and the tick."""
    taken = interrupted(gaps) - interrupted(baseline)
    return taken * gaps.victim.cpu_ns / landed(gaps)


def test_gaps_are_ipis_and_the_cost_is_linear(await_quiet: Callable[[], None]) -> None:
    rounds = []
    for _ in range(5):
        await_quiet()
        rounds.append([watch(rate) for rate in (0, 20_000, 50_000)])
    apart = []
    for baseline, _, stormy in rounds:
        assert baseline.ipis == 0
        # The baseline's gaps come on top, as far as they do not coincide with an IPI's.
        most = landed(stormy) + baseline.victim.gaps * stormy.victim.cpu_ns / baseline.victim.cpu_ns
        gaps = stormy.victim.gaps
        apart.append(max(gaps - most, landed(stormy) - gaps, 0) / landed(stormy))
    assert statistics.median(apart) < 0.05

    slow = statistics.median(cost_ns(storm, baseline) for baseline, storm, _ in rounds)
    fast = statistics.median(cost_ns(storm, baseline) for baseline, _, storm in rounds)
    assert 0.6 < slow / fast < 1.6


def test_the_sender_has_a_name_of_its_own() -> None:
    with IpiStorm(CPUS[-1], CPUS[0], 1000) as storm:
        start = storm.read()
        assert start.victim.pid == storm.pid
        limit = time.monotonic() + 5
        while storm.read().ipis == start.ipis:
            assert time.monotonic() < limit, "no IPI was sent"
        names = {proc_pid.comm(storm.pid, tid) for tid in proc_pid.threads(storm.pid)}
        assert names == {"nettax-canary", "nettax-ipis"}
