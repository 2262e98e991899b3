"""The founding experiment: what top says a program got, what it got, and who took the rest.

A canary runs on one CPU; packets sent from another are handled on the canary's. Four conditions,
interleaved, each between two idle windows:

- `idle`: no traffic; what the method itself sees.
- `light`: a slow, paced flow.
- `heavy`: six times as many, in pairs, as from a NIC that coalesces its interrupts a little.
- `ksoftirqd`: packets too dear for softirqs alone, so that ksoftirqd competes with the canary.

Two independent methods say what was taken: the ledger (tracepoints: stolen + displaced, and the
calibrated toll), and the canary's own clock (loss). Their difference is the residual.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from nettax.canary import Canary, CanaryInterval, loss
from nettax.errors import UsageError
from nettax.experiment.environment import Environment, environment
from nettax.experiment.estimate import Estimate, median
from nettax.experiment.schedule import Run, Schedule, interleave
from nettax.experiment.traffic import settle
from nettax.experiment.watch import off
from nettax.host import Host
from nettax.kernel import cpus
from nettax.kernel.features import require_host_pids
from nettax.lab import Testbed, UdpFlow
from nettax.ledger import CpuShare, Ledger, TaskShare, Toll

__all__ = ["FLOWS", "Demo", "DemoCondition", "DemoRun", "demo"]

# Arguments of Testbed.udp by condition.
FLOWS: Mapping[str, Mapping[str, Any]] = {
    "idle": {},
    "light": {"pps": 50_000},
    "heavy": {"pps": 300_000, "burst": 2},
    "ksoftirqd": {"pps": 100_000, "filter_instructions": 2000},
}


@dataclass(frozen=True, slots=True)
class DemoRun:
    """One window; shares of wall time unless said otherwise."""

    condition: str
    round: int
    billed: float
    own: float
    stolen: float
    displaced: float
    waited: float
    """Waiting while other tasks had the CPU: nobody's theft; nothing on a quiet host."""
    toll: float
    loss: float
    """By the canary's own clock, against the idle windows before and after."""
    taken: float
    """stolen + displaced + waited + toll, beyond what the idle windows before and after show."""
    residual: float
    """loss − taken."""
    residual_without_toll: float
    booked_residual: float
    """The ledger's own: wall time of the canary's CPU that no account explains."""
    packets_per_s: float
    """Sent by the flow."""
    ns_per_packet: float | None
    """NET_RX time on the canary's CPU per packet polled there."""
    interrupts_per_s: float


MEASURES = tuple(name for name in DemoRun.__slots__ if name not in ("condition", "round"))


@dataclass(frozen=True, slots=True)
class DemoCondition:
    """All runs of one condition: an estimate for each measure of `DemoRun`."""

    name: str
    measures: Mapping[str, Estimate | None]


@dataclass(frozen=True, slots=True)
class Demo:
    """The experiment's result."""

    conditions: tuple[DemoCondition, ...]
    runs: tuple[DemoRun, ...]
    seed: int
    window_s: float
    victim_cpu: int
    sender_cpu: int
    toll: Toll
    environment: Environment

    def __getitem__(self, name: str) -> Mapping[str, Estimate | None]:
        """The measures of the condition of that name."""
        return next(c.measures for c in self.conditions if c.name == name)


@dataclass(frozen=True, slots=True)
class _Window:
    canary: CanaryInterval
    task: TaskShare
    cpu: CpuShare
    wall_ns: int
    sent: int

    @property
    def taken(self) -> float:
        """All that kept the canary from running, as a share of wall time."""
        return self.task.kept_off_ns / self.cpu.wall_ns

    @property
    def toll(self) -> float:
        return self.task.toll_ns.estimate / self.cpu.wall_ns if self.task.toll_ns else 0.0


def demo(
    toll: Toll,
    *,
    rounds: int = 5,
    window_s: float = 1.0,
    seed: int | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Demo:
    """Run the experiment on the last two online CPUs; about ten windows a round.

    Namespaces, processes and masks are journalled and gone afterwards.

    :raises UsageError: fewer than two CPUs online
    :raises MissingPrivilege: the testbed or the ledger may not be set up
    """
    require_host_pids()
    online = cpus.online()
    if len(online) < 2:
        raise UsageError("the demo takes two CPUs, one sends to the other: one is online")
    sender, victim = online[-2:]
    schedule = Schedule.draw(FLOWS, rounds, seed)
    runs = []
    with (
        off(victim),
        Host() as host,
        Testbed(host, steer=victim) as bed,
        Canary(victim, "gap") as canary,
        Ledger(cpus=[victim], toll=toll) as ledger,
    ):
        flow: UdpFlow | None = None

        def measure() -> _Window:
            return _measure(ledger, canary, flow, window_s)

        def condition(name: str) -> Callable[[], AbstractContextManager[None]]:
            @contextmanager
            def traffic() -> Iterator[None]:
                nonlocal flow
                with bed.udp(cpu=sender, **FLOWS[name]) as flow:
                    settle(flow)
                    try:
                        yield
                    finally:
                        flow = None

            return traffic if FLOWS[name] else nullcontext

        conditions = {name: condition(name) for name in FLOWS}
        for run in interleave(schedule, conditions, measure):
            runs.append(_run(run))
            progress(len(runs), rounds * len(FLOWS))
    return Demo(
        conditions=tuple(_summary(name, runs) for name in FLOWS),
        runs=tuple(runs),
        seed=schedule.seed,
        window_s=window_s,
        victim_cpu=victim,
        sender_cpu=sender,
        toll=toll,
        environment=environment(),
    )


def _measure(ledger: Ledger, canary: Canary, flow: UdpFlow | None, window_s: float) -> _Window:
    sent = flow.sent() if flow else 0
    booked, start = ledger.read(), canary.read()
    time.sleep(window_s)
    progress = canary.read() - start
    interval = ledger.read() - booked
    sent = flow.sent() - sent if flow else 0
    (cpu,) = interval.cpus
    return _Window(progress, interval.task(canary.pid), cpu, interval.wall_ns, sent)


def _run(run: Run[_Window]) -> DemoRun:
    window, before, after = run.value, run.before, run.after
    wall = window.cpu.wall_ns
    lost = loss(window.canary, before.canary, after.canary).value
    taken = _beyond(window.taken, before.taken, after.taken)
    with_toll = _beyond(
        window.taken + window.toll, before.taken + before.toll, after.taken + after.toll
    )
    cpu, task = window.cpu, window.task
    return DemoRun(
        condition=run.condition,
        round=run.round,
        billed=task.billed_ns / wall,
        own=task.own_ns / wall,
        stolen=sum(task.stolen_ns.values()) / wall,
        displaced=sum(task.displaced_ns.values()) / wall,
        waited=(task.wait_ns - sum(task.displaced_ns.values())) / wall,
        toll=window.toll,
        loss=lost,
        taken=with_toll,
        residual=lost - with_toll,
        residual_without_toll=lost - taken,
        booked_residual=cpu.residual_ns / wall,
        packets_per_s=window.sent * 1e9 / window.wall_ns,
        ns_per_packet=cpu.ns_per_packet,
        interrupts_per_s=cpu.hardirq_count * 1e9 / wall,
    )


def _beyond(share: float, before: float, after: float) -> float:
    """What a share takes of what the idle windows leave: comparable with the canary's loss."""
    idle = (before + after) / 2
    return 1 - (1 - share) / (1 - idle)


def _summary(name: str, runs: list[DemoRun]) -> DemoCondition:
    mine = [run for run in runs if run.condition == name]

    def estimate(measure: str) -> Estimate | None:
        values = [value for run in mine if (value := getattr(run, measure)) is not None]
        return median(values) if values else None

    return DemoCondition(name, {measure: estimate(measure) for measure in MEASURES})
