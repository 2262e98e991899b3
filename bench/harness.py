"""A victim under a flow, with something attached and not, in turns; everything as a ratio.

The victim is a canary on one CPU; a flow from another is handled on the victim's. Each window with
something attached lies between two with nothing, and is compared with their mean, so what drifts
moves all three. An arm that attaches nothing goes through the same and shows what the harness
alone would report: the error of the method.

Two things are compared: the victim's speed, and the packets a second that come to the receiver's
socket, when the sender holds a rate and when it sends all that it can.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from nettax.canary import Canary, CanaryInterval, loss
from nettax.canary.canary import Engine
from nettax.errors import NettaxError, UsageError
from nettax.experiment.estimate import Estimate, median
from nettax.experiment.schedule import Condition, Run, Schedule, interleave
from nettax.experiment.watch import off
from nettax.host import Host
from nettax.kernel import cpus
from nettax.lab import Testbed, UdpFlow

__all__ = ["Arm", "Scene", "Traffic", "Window", "compare", "scene"]

BATCH = 32  # packets a system call
ON_SCHEDULE = 0.1  # of the rate: how close to it a paced flow is before a window begins
PATIENCE_S = 2.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """A flow of small UDP packets to the victim's CPU."""

    pps: int | None
    """Packets a second; None: as many as the sender can."""
    burst: int
    """Packets that reach the device at once, with one interrupt for them all."""

    def __str__(self) -> str:
        rate = "unpaced" if self.pps is None else f"{self.pps // 1000} kpps"
        return f"{rate} by {self.burst}"


@dataclass(frozen=True, slots=True)
class Window:
    """What one window saw."""

    canary: CanaryInterval
    pps: float
    """Packets a second that came to the receiver's socket."""


@dataclass(frozen=True, slots=True)
class Arm:
    """All windows of one arm, each over the mean of the windows with nothing beside it."""

    name: str
    victim: Estimate
    """Ratio of the victim's speed."""
    pps: Estimate
    """Ratio of the packets delivered."""
    taken: Estimate
    """What the victim lost to it, as a share of the whole CPU."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A victim under a flow, both running."""

    canary: Canary
    flow: UdpFlow
    traffic: Traffic
    victim_cpu: int
    sender_cpu: int
    undisturbed: float
    """The canary's steps per second with no traffic."""
    window_s: float

    def measure(self) -> Window:
        """One window, from when the flow is on its schedule."""
        self._settle()
        packets, start_ns = self.flow.received(), time.monotonic_ns()
        start = self.canary.read()
        time.sleep(self.window_s)
        end = self.canary.read()
        while end.stamp_ns == start.stamp_ns:  # the flow may leave it nothing for a while
            time.sleep(0.001)
            end = self.canary.read()
        interval = end - start
        packets, wall_ns = self.flow.received() - packets, time.monotonic_ns() - start_ns
        return Window(interval, packets * 1e9 / wall_ns)

    def _settle(self) -> None:
        """Wait until the sender has made up for what it missed while the arms changed."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            sent, start = self.flow.sent(), time.monotonic()
            time.sleep(0.01)
            rate = (self.flow.sent() - sent) / (time.monotonic() - start)
            pps = self.traffic.pps
            if rate and (pps is None or abs(rate - pps) < ON_SCHEDULE * pps):
                return
            if time.monotonic() > deadline:
                raise NettaxError(f"the flow of {self.traffic} runs at {rate:.0f} packets/s")


@contextmanager
def scene(traffic: Traffic, engine: Engine, window_s: float) -> Iterator[Scene]:
    """Bring victim and flow about, on the last two CPUs that are online.

    :raises UsageError: fewer than two CPUs online
    """
    online = cpus.online()
    if len(online) < 2:
        raise UsageError("a victim and its sender take two CPUs: one is online")
    sender, victim = online[-2:]
    with (
        off(victim),
        Host() as host,
        Testbed(host, steer=victim) as bed,
        Canary(victim, engine) as canary,
    ):
        start = canary.read()
        time.sleep(0.5)
        undisturbed = (canary.read() - start).rate
        flow = bed.udp(
            traffic.pps, cpu=sender, burst=traffic.burst, batch=max(1, BATCH // traffic.burst)
        )
        with flow:
            yield Scene(canary, flow, traffic, victim, sender, undisturbed, window_s)


def compare(
    scene: Scene,
    arms: Mapping[str, Condition],
    rounds: int,
    seed: int | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[Arm, ...]:
    """Measure each arm `rounds` times, in random order."""
    runs: dict[str, list[Run[Window]]] = {name: [] for name in arms}
    schedule = Schedule.draw(arms, rounds, seed)
    for done, run in enumerate(interleave(schedule, arms, scene.measure), 1):
        runs[run.condition].append(run)
        progress(done, rounds * len(arms))
    return tuple(_arm(name, scene.undisturbed, mine) for name, mine in runs.items())


def _arm(name: str, undisturbed: float, runs: list[Run[Window]]) -> Arm:
    lost = [loss(run.value.canary, run.before.canary, run.after.canary) for run in runs]
    return Arm(
        name,
        victim=median([1 - each.value for each in lost]),
        pps=median([2 * run.value.pps / (run.before.pps + run.after.pps) for run in runs]),
        taken=median(
            [
                ((run.before.canary.rate + run.after.canary.rate) / 2 - run.value.canary.rate)
                / undisturbed
                for run in runs
            ]
        ),
    )
