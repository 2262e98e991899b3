"""The bursts of a real recording, beside those that a few lines find in perf script's text."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from pathlib import Path

import pytest
from tests.kernel.test_events_perf import EVENTS, PERF, printed, record

from nettax.events.bursts import bursts
from nettax.events.distribution import Distribution
from nettax.events.sniff import open_recording
from nettax.host import Host
from nettax.kernel import cpus
from nettax.lab import Testbed

pytestmark = pytest.mark.skipif(PERF is None, reason="needs perf: apt install linux-perf")

LINE = re.compile(
    r"^\s*(?P<comm>.*?)\s+-?\d+(?:/-?\d+)?\s+\[(?P<cpu>\d+)\]\s+(?P<s>\d+)\.(?P<ns>\d{9}):\s+"
    r"\w+:(?P<event>\w+):\s+(?P<what>.*)$"
)
WORK = re.compile(r"work (-?\d+) budget (\d+)")


class Cpu:
    """What one CPU is in the middle of."""

    def __init__(self) -> None:
        self.hard_since = self.soft_since = self.hard_inside = self.packets = self.polls = 0
        self.irq_began = self.burst_end = self.burst_began = 0
        self.rounds = 0
        self.by_irq = False


class ByHand:
    """The distributions, as lists, found line by line: NET_RX, hard IRQs and polls only."""

    def __init__(self, text: Path) -> None:
        self.found: dict[str, list[int]] = defaultdict(list)
        self.exhausted = 0
        self.ksoftirqd = [0, 0, 0]
        self.cpus: dict[int, Cpu] = defaultdict(Cpu)
        for line in text.read_text().splitlines():
            match = LINE.match(line)
            assert match, line
            cpu = self.cpus[int(match["cpu"])]
            now = int(match["s"]) * 10**9 + int(match["ns"])
            getattr(self, match["event"])(cpu, now, match["what"], match["comm"])
        for cpu in self.cpus.values():
            self._end_burst(cpu, None)

    def _end_burst(self, cpu: Cpu, now: int | None) -> None:
        """Something began that does not go with what was before."""
        if cpu.rounds:
            self.found["rounds"].append(cpu.rounds)
            if now is not None:
                self.found["gap_ns"].append(now - cpu.burst_end)
        cpu.rounds, cpu.burst_end, cpu.by_irq = 0, 0, False

    def irq_handler_entry(self, cpu: Cpu, now: int, what: str, comm: str) -> None:
        if not cpu.soft_since:
            another = cpu.burst_end and not cpu.rounds and now - cpu.burst_end <= 1_000
            if not another:
                self._end_burst(cpu, now)
                cpu.burst_began, cpu.by_irq = now, True
        cpu.hard_since = now

    def irq_handler_exit(self, cpu: Cpu, now: int, what: str, comm: str) -> None:
        if not cpu.hard_since:
            return
        if cpu.soft_since:
            cpu.hard_inside += now - cpu.hard_since
        else:
            cpu.burst_end = now
        cpu.hard_since = 0

    def softirq_entry(self, cpu: Cpu, now: int, what: str, comm: str) -> None:
        if not cpu.burst_end or now - cpu.burst_end > 20_000:
            self._end_burst(cpu, now)
        cpu.soft_since, cpu.hard_inside, cpu.packets, cpu.polls = now, 0, 0, 0

    def napi_poll(self, cpu: Cpu, now: int, what: str, comm: str) -> None:
        match = WORK.search(what)
        assert match, what
        work, budget = int(match[1]), int(match[2])
        self.found["packets_per_poll"].append(work)
        self.exhausted += work >= budget
        cpu.packets += work
        cpu.polls += 1

    def softirq_exit(self, cpu: Cpu, now: int, what: str, comm: str) -> None:
        if not cpu.soft_since:
            return
        taken = now - cpu.soft_since - cpu.hard_inside
        self.found["run_ns"].append(taken)
        if cpu.polls:
            self.found["packets_per_run"].append(cpu.packets)
        if comm.startswith("ksoftirqd/"):
            self.ksoftirqd = [
                a + b for a, b in zip(self.ksoftirqd, (1, taken, cpu.packets), strict=True)
            ]
        if not cpu.rounds and cpu.by_irq:
            self.found["irq_to_run_ns"].append(cpu.soft_since - cpu.burst_began)
        cpu.rounds += 1
        cpu.burst_end, cpu.soft_since = now, 0


@pytest.mark.parametrize("dear", [False, True], ids=["inline", "ksoftirqd"])
def test_bursts_are_those_of_perfs_lines(host: Host, tmp_path: Path, dear: bool) -> None:
    path = tmp_path / "perf.data"
    victim = cpus.online()[-1]
    with (
        Testbed(host, steer=victim, gro=True) as bed,
        bed.udp(60_000 if dear else 20_000, burst=1 if dear else 4, batch=8) as flow,
    ):
        while not flow.received():
            time.sleep(0.005)
        record(path, *EVENTS)
    with open_recording(path) as recording:
        found = bursts(recording)
    expected = ByHand(printed(path))
    for name in (
        *("run_ns", "packets_per_poll", "packets_per_run", "rounds", "gap_ns", "irq_to_run_ns"),
    ):
        some: Distribution = getattr(found, name)
        values = expected.found[name]
        assert (some.count, some.sum) == (len(values), sum(values)), name
        if values:
            assert (some.least, some.most) == (min(values), max(values)), name
            middle = sorted(values)[(len(values) - 1) // 2]
            assert abs(some.quantile(0.5) - middle) <= 0.032 * middle
    assert found.run_ns.count > 100
    assert found.exhausted == expected.exhausted
    mine = found.runners["ksoftirqd"]
    assert [mine.runs, mine.ns, mine.packets] == expected.ksoftirqd
    others = sum(share.runs for share in found.runners.values()) - mine.runs
    assert others == found.run_ns.count - mine.runs
