"""The indirect cost of network work: what a program with a working set loses beyond the time taken.

On a live host, `observe` parts the loss against a kept reference into the time that was taken
(direct) and the lower speed in what was left (slower). The latter has two causes that one canary
on one CPU cannot part: what interrupts leave cold on its own CPU (indirect), and what other CPUs do
to the caches and the memory that it shares with them (shared).

`experiment` parts them with traffic of its own, in two conditions, each window between idle ones:

- `load`: the packets are handled on the canary's CPU;
- `control`: the same packets, sent from the same CPU, are handled there.

With s the canary's speed outside gaps, relative to its idle neighbours',

    shared = 1 − s_control,    indirect = 1 − s_load / s_control

so that (1 − loss) = (1 − direct) (1 − shared) (1 − indirect), each in the load condition but
`shared`, which is the control's. The control's neighbour does more (it also receives), so where
it is `shared` that slows the canary, `indirect` is told too small rather than too large.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from nettax.canary import CanaryInterval
from nettax.canary.working_set import Parts, Speed, WorkingSet, parts
from nettax.errors import UsageError
from nettax.experiment.environment import Environment, environment
from nettax.experiment.estimate import Estimate, median
from nettax.experiment.schedule import Run, Schedule, interleave
from nettax.experiment.traffic import settle
from nettax.experiment.watch import SPARE_S, off
from nettax.host import Host
from nettax.kernel import cpus
from nettax.kernel.features import require_host_pids
from nettax.lab import Testbed, UdpFlow
from nettax.ledger import CpuShare, Interval, Ledger, TaskShare, Toll

__all__ = ["PPS", "Experiment", "Observation", "Round", "SizeResult", "experiment", "observe"]

PPS = 100_000
WINDOW_S = 0.25
SETTLE_S = 0.05
MOST_ROUND_S = 12.0
"""The longest that a round may take: its flows may each take 5 s to send their first packet."""


@dataclass(frozen=True, slots=True)
class Observation:
    """A working set beside whatever runs on the host."""

    size: int
    huge_bytes: int
    windows: tuple[CanaryInterval, ...]
    task: TaskShare
    cpu: CpuShare
    """The ledger, over all windows."""

    @property
    def speed(self) -> Speed:
        """The medians of the windows."""
        return Speed(
            median([w.rate for w in self.windows]).median,
            median([w.clean_rate for w in self.windows]).median,
        )

    def parts(self, idle: Speed) -> dict[str, Estimate]:
        """The loss and its parts against a kept reference, over the windows."""
        each = [parts(Speed.of(window), idle) for window in self.windows]
        return {name: median([getattr(p, name) for p in each]) for name in Parts.__slots__}


def observe(cpu: int, size: int, duration_s: float, *, huge_pages: bool = False) -> Observation:
    """Run a working set of `size` bytes on `cpu`, in windows of a quarter of a second.

    :raises UsageError: no such CPU or size
    :raises MissingPrivilege: the ledger may not be loaded
    :raises NettaxError: there is not enough memory
    """
    require_host_pids()
    lifetime_s = math.ceil(duration_s) + SPARE_S
    with (
        off(cpu),
        WorkingSet(cpu, size, huge_pages=huge_pages, lifetime_s=lifetime_s) as canary,
        Ledger(cpus=[cpu], toll=Toll.load()) as ledger,
    ):
        windows = []
        begin = canary.read()
        for _ in range(max(1, round(duration_s / WINDOW_S))):
            time.sleep(WINDOW_S)
            end = canary.read()
            windows.append(end - begin)
            begin = end
        interval = ledger.finish() - ledger.began
        return Observation(
            size=size,
            huge_bytes=canary.huge_bytes(),
            windows=tuple(windows),
            task=interval.task(canary.pid),
            cpu=interval.cpus[0],
        )


@dataclass(frozen=True, slots=True)
class Round:
    """Both conditions, once; shares from 0 to 1."""

    loss: float
    direct: float
    """Under load: time taken, by the canary's own clock, beyond its idle neighbours'."""
    ledger: float
    """The same by the ledger: stolen + waited + toll, beyond its idle neighbours'."""
    apart: float
    """direct − ledger."""
    shared: float
    indirect: float
    more: float
    """(1 − direct) (1 − shared) indirect: what it lost beside the time taken, of its full speed."""
    control_direct: float
    """Time taken in the control, which is not to have any."""
    indirect_ns_per_interrupt: float
    """What the canary lost to slowness after each interrupt, in ns of its own time."""
    interrupts_per_s: float
    packets_per_s: float
    control_packets_per_s: float


@dataclass(frozen=True, slots=True)
class SizeResult:
    """One size of the working set."""

    size: int
    huge_bytes: int
    turn_ns: Estimate
    """How long a turn takes idle: 16 reads of memory."""
    measures: dict[str, Estimate]
    """An estimate for each field of `Round`."""
    rounds: tuple[Round, ...]


@dataclass(frozen=True, slots=True)
class Experiment:
    """All sizes, under the same traffic."""

    sizes: tuple[SizeResult, ...]
    pps: int
    window_s: float
    seed: int
    victim_cpu: int
    sender_cpu: int
    huge_pages: bool
    toll: Toll | None
    environment: Environment


@dataclass(frozen=True, slots=True)
class _Window:
    canary: CanaryInterval
    booked: Interval
    pid: int
    packets_per_s: float

    @property
    def ledger(self) -> float:
        """What the ledger says kept the canary from running, with the toll; of wall time."""
        task = self.booked.task(self.pid)
        toll = task.toll_ns.estimate if task.toll_ns else 0
        return (task.kept_off_ns + toll) / self.booked.cpus[0].wall_ns


def experiment(
    sizes: Sequence[int],
    cpu: int | None = None,
    *,
    rounds: int = 40,
    pps: int = PPS,
    huge_pages: bool = False,
    seed: int | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Experiment:
    """Measure the indirect cost at each size, on `cpu` (the last one online); 1.5 s a round.

    Namespaces, processes and masks are journalled and gone afterwards.

    :raises UsageError: fewer than two CPUs online; no such size
    :raises MissingPrivilege: the testbed or the ledger may not be set up
    :raises NettaxError: there is not enough memory
    """
    require_host_pids()
    online = cpus.online()
    if len(online) < 2:
        raise UsageError("--load takes two CPUs, one sends to the other: one is online")
    victim = online[-1] if cpu is None else cpu
    sender = next(other for other in reversed(online) if other != victim)
    lifetime_s = math.ceil(rounds * MOST_ROUND_S) + SPARE_S
    canaries = [
        WorkingSet(victim, size, huge_pages=huge_pages, lifetime_s=lifetime_s) for size in sizes
    ]
    schedule = Schedule.draw(["load", "control"], rounds, seed)
    toll = Toll.load()
    done, results = 0, []

    def step() -> None:
        nonlocal done
        done += 1
        progress(done, len(canaries) * 2 * rounds)

    with (
        off(victim),
        Host() as host,
        Testbed(host, steer=victim) as steered,
        Testbed(host) as inline,
        Ledger(cpus=[victim], toll=toll) as ledger,
    ):
        beds = {"load": steered, "control": inline}
        for canary in canaries:
            with canary:
                runs = list(_runs(canary, ledger, beds, sender, pps, schedule, step))
                results.append(_result(canary.size, canary.huge_bytes(), runs))
    return Experiment(
        sizes=tuple(results),
        pps=pps,
        window_s=WINDOW_S,
        seed=schedule.seed,
        victim_cpu=victim,
        sender_cpu=sender,
        huge_pages=huge_pages,
        toll=toll,
        environment=environment(),
    )


def _runs(
    canary: WorkingSet,
    ledger: Ledger,
    beds: dict[str, Testbed],
    sender: int,
    pps: int,
    schedule: Schedule,
    step: Callable[[], None],
) -> Iterator[Run[_Window]]:
    flow: UdpFlow | None = None

    @contextmanager
    def traffic(bed: Testbed) -> Iterator[None]:
        nonlocal flow
        with bed.udp(pps, cpu=sender) as flow:
            settle(flow)
            try:
                yield
            finally:
                flow = None

    conditions = {name: (lambda bed=bed: traffic(bed)) for name, bed in beds.items()}
    for run in interleave(schedule, conditions, lambda: _measure(canary, ledger, flow)):
        yield run
        step()


def _measure(canary: WorkingSet, ledger: Ledger, flow: UdpFlow | None) -> _Window:
    time.sleep(SETTLE_S)
    sent = flow.sent() if flow else 0
    booked, start = ledger.read(), canary.read()
    time.sleep(WINDOW_S)
    progress = canary.read() - start
    interval = ledger.read() - booked
    sent = flow.sent() - sent if flow else 0
    return _Window(progress, interval, canary.pid, sent * 1e9 / interval.wall_ns)


def _result(size: int, huge_bytes: int, runs: Sequence[Run[_Window]]) -> SizeResult:
    by_round: dict[int, dict[str, Run[_Window]]] = {}
    for run in runs:
        by_round.setdefault(run.round, {})[run.condition] = run
    rounds = tuple(_round(both["load"], both["control"]) for both in by_round.values())
    return SizeResult(
        size=size,
        huge_bytes=huge_bytes,
        turn_ns=median([1e9 / run.before.canary.clean_rate for run in runs]),
        measures={name: median([getattr(r, name) for r in rounds]) for name in Round.__slots__},
        rounds=rounds,
    )


def _round(load: Run[_Window], control: Run[_Window]) -> Round:
    under_load, controlled = _parts(load), _parts(control)
    kept, idle = 1 - load.value.ledger, (load.before, load.after)
    ledger = 1 - kept / (1 - sum(w.ledger for w in idle) / 2)
    indirect = 1 - (1 - under_load.slower) / (1 - controlled.slower)
    cpu, canary = load.value.booked.cpus[0], load.value.canary
    interrupts_per_s = cpu.hardirq_count * 1e9 / cpu.wall_ns
    kept_ns_per_s = 1e9 * Speed.of(canary).kept
    return Round(
        loss=under_load.loss,
        direct=under_load.direct,
        ledger=ledger,
        apart=under_load.direct - ledger,
        shared=controlled.slower,
        indirect=indirect,
        more=(1 - under_load.direct) * (1 - controlled.slower) * indirect,
        control_direct=controlled.direct,
        indirect_ns_per_interrupt=indirect * kept_ns_per_s / interrupts_per_s,
        interrupts_per_s=interrupts_per_s,
        packets_per_s=load.value.packets_per_s,
        control_packets_per_s=control.value.packets_per_s,
    )


def _parts(run: Run[_Window]) -> Parts:
    return parts(Speed.of(run.value.canary), Speed.of(run.before.canary, run.after.canary))
