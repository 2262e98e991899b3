"""What a verdict rests on: the few figures of a run that decide, as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass

from nettax.experiment.load import LoadRun
from nettax.experiment.load_sides import Side
from nettax.load.histogram import Histogram

__all__ = ["Evidence", "SideEvidence", "evidence"]

PLATEAU_NS = (38_000_000, 60_000_000)
"""TCP_DELACK_MIN is 40 ms (include/net/tcp.h); a tick early, some work and waiting later."""


@dataclass(frozen=True, slots=True)
class SideEvidence:
    """The server or the generator; shares from 0 to 1."""

    saturation: float
    """Of the run, that its threads were runnable: the mean, weighted by CPU time."""
    used: float
    """Of the CPUs where it may run."""
    throttled: float
    """Of the run, that a quota held it up."""
    waited: float
    """Of the time that it wanted a CPU, that it had none."""
    net_share: float
    """Of its CPU time, in network softirqs."""
    threads: int
    cpus: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """A run, as a verdict sees it."""

    tool: str
    unit: str
    done: int
    rate: float
    connections: int
    """That the generator was to hold at once."""
    opened: int
    """That the server's side took."""
    reconnects: int
    """Of these, beyond the first of each."""
    wants_keep_alive: bool
    """Whether the generator would put several requests on a connection."""
    mean_ms: float | None
    residual: float | None
    """Little's law: 1 − rate × mean latency / connections; None where no latency is told."""
    at_40_ms: float | None
    """Share of latencies at 38 to 60 ms."""
    delayed_acks: float | None
    """By done; None for what is not requests."""
    unacknowledged: float
    """Share of looks at a connection that found bytes of the server's unacknowledged."""
    overflows: int
    attempts: int
    """Connections that were opened or found the queue full."""
    syn_retries: int
    most_waiting: int
    generator: SideEvidence
    server: SideEvidence
    share_cpus: bool
    """Whether some CPU is allowed to both."""
    busy: float
    """Of the CPUs of both, that was used."""
    generator_of_busy: float
    net_cpu: float
    """The greatest share of a CPU that ksoftirqd and softirqs over idle had."""
    foreign_on_server: float
    """Of the server's CPUs, that other tasks had."""
    heaviest: str
    steal: float


def evidence(run: LoadRun) -> Evidence:
    """What of a run decides."""
    elapsed, result, counters = run.result.elapsed_ns, run.result, run.counters
    latency = result.latency if result.latency and result.latency.total else None
    mean_ns = result.mean_ns
    if mean_ns is None and latency and not result.made_up:
        mean_ns = latency.mean_ns
    connections = run.job.connections
    both = set(run.server.cpus) | set(run.generator.cpus)
    cpus = [cpu for cpu in run.cpus if cpu.cpu in both] or list(run.cpus)
    idle = sum(cpu.idle_ns for cpu in cpus)
    used = run.server.oncpu_ns + run.generator.oncpu_ns
    overflows = counters["TcpExt.ListenOverflows"]
    requests = result.unit in ("request", "message")
    return Evidence(
        tool=run.tool,
        unit=result.unit,
        done=result.done,
        rate=result.rate,
        connections=connections,
        opened=run.opened,
        reconnects=max(0, run.opened - connections),
        wants_keep_alive=requests and run.job.keep_alive,
        mean_ms=None if mean_ns is None else mean_ns / 1e6,
        # A stream waits for no answer: its rate has nothing to do with how long one is on its way.
        residual=1 - result.rate * mean_ns / 1e9 / connections if mean_ns and requests else None,
        at_40_ms=None if latency is None else _between(latency, *PLATEAU_NS) / latency.total,
        delayed_acks=counters["TcpExt.DelayedACKs"] / max(1, result.done) if requests else None,
        unacknowledged=run.sockets.unacknowledged / max(1, run.sockets.established),
        overflows=overflows,
        attempts=run.opened + overflows,
        syn_retries=counters["TcpExt.TCPSynRetrans"],
        most_waiting=run.sockets.most_waiting,
        generator=_side(run.generator, elapsed),
        server=_side(run.server, elapsed),
        share_cpus=bool(set(run.server.cpus) & set(run.generator.cpus)),
        # Whatever of the window is not the run's (its beginning and end) counts as idle.
        busy=min(1.0, max(0.0, 1 - (idle / len(cpus) - run.wall_ns + elapsed) / elapsed)),
        generator_of_busy=run.generator.oncpu_ns / used if used else 0.0,
        net_cpu=max(
            (sum(cpu.kthread_ns.values()) + cpu.idle_interrupted_ns) / elapsed for cpu in run.cpus
        ),
        foreign_on_server=run.elsewhere.other_on_server_cpus_ns
        / run.wall_ns
        / len(run.server.cpus),
        heaviest=run.elsewhere.heaviest,
        steal=sum(cpu.steal_ns for cpu in run.cpus) / sum(cpu.wall_ns for cpu in run.cpus),
    )


def _side(side: Side, elapsed_ns: int) -> SideEvidence:
    return SideEvidence(
        saturation=side.saturation,
        used=side.oncpu_ns / elapsed_ns / len(side.cpus),
        throttled=side.throttled_ns / elapsed_ns,
        waited=side.waited,
        net_share=side.net_ns / side.oncpu_ns if side.oncpu_ns else 0.0,
        threads=side.threads,
        cpus=len(side.cpus),
    )


def _between(latency: Histogram, low_ns: int, high_ns: int) -> int:
    return sum(b.count for b in latency if low_ns <= b.low_ns and b.high_ns <= high_ns)
