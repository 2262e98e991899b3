"""Who was the limit: a pure function from what was measured to one sentence and its evidence.

Two kinds of finding. *Warnings* say that a figure does not mean what it seems to: the run was
disturbed, or the network stack's rules, not the server, set the pace. The *bound* says who was at
their limit. The first warning, or else the bound, is the verdict's kind; the sentence has both.

Every threshold is in `LIMITS`, with its reason. They were fixed on a first set of cases and then
held against a second (tests/kernel/test_load_verdicts.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from nettax.experiment.evidence import Evidence, SideEvidence
from nettax.load.tool import several

__all__ = ["BOUNDS", "LIMITS", "WARNINGS", "Verdict", "verdict"]

WARNINGS: Final = ("disturbed", "listen-queue", "delayed-ack", "one-request")
BOUNDS: Final = ("generator", "server", "shared", "network", "latency", "none")

LIMITS: Final[Mapping[str, tuple[float, str]]] = {
    "saturated": (
        0.90,
        "share of the run that a side's threads were runnable: an event loop with work left never "
        "sleeps, and one that waits for the other side sleeps in between",
    ),
    "full": (
        0.95,
        "share of a set of CPUs that was used: for sides of many short-lived threads, none of "
        "which lasts through the run",
    ),
    "throttled": (
        0.30,
        "share of the run that a quota held a side up: below this it would have other limits too",
    ),
    "net-share": (
        0.50,
        "share of a saturated side's CPU time in network softirqs: more there than in all else",
    ),
    "net-cpu": (
        0.80,
        "share of a CPU in ksoftirqd and in softirqs over idle: nothing else has room there",
    ),
    "starved": (
        0.10,
        "share of the time that a side wanted a CPU and another had it",
    ),
    "foreign": (
        0.10,
        "share of the server's CPUs that other tasks had: less is a host's daily housekeeping",
    ),
    "steal": (
        0.10,
        "share of the CPUs' time that the hypervisor gave to others: some is there on any "
        "shared machine, and ticks tell it coarsely",
    ),
    "queue-overflow": (
        0.01,
        "share of the connections that found the listen queue full: each waits a second or more, "
        "which is then the 99th percentile",
    ),
    "delayed-ack": (
        0.30,
        "share of answers at 38 to 60 ms, of delayed ACKs by answers, and of looks at a connection "
        "that found bytes of the server's unacknowledged: all three, as a server may as well take "
        "40 ms, and then has sent nothing yet",
    ),
    "reconnect": (
        0.50,
        "share of the answers for which a new connection was made, beyond those that were asked "
        "for: fewer than two on each",
    ),
    "little": (
        0.25,
        "share of the connections that neither waited nor were told of: above it, something but "
        "latency holds the generator back",
    ),
}
"""By name: the threshold, and why it is there."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run shows."""

    kind: str
    """The first of `warnings`, or `bound`."""
    bound: str
    """Of `BOUNDS`."""
    warnings: tuple[str, ...]
    """Of `WARNINGS`, in their order."""
    sentence: str
    evidence: tuple[str, ...]
    """One fact a line, for what the sentence says."""


def verdict(seen: Evidence) -> Verdict:
    """Judge a run."""
    warnings = tuple(name for name in WARNINGS if _WARNS[name](seen))
    bound = _bound(seen)
    kind = warnings[0] if warnings else bound
    told = [_SENTENCES[name](seen) for name in (*warnings, bound)]
    return Verdict(kind, bound, warnings, "; ".join(told) + ".", _facts(seen, warnings))


def _limit(name: str) -> float:
    return LIMITS[name][0]


def _disturbed(seen: Evidence) -> bool:
    return seen.steal >= _limit("steal") or _robbed(seen)


def _robbed(seen: Evidence) -> bool:
    """Whether other tasks had CPUs of the server's while it wanted them."""
    return seen.foreign_on_server >= _limit("foreign") and seen.server.waited >= _limit("starved")


def _listen_queue(seen: Evidence) -> bool:
    return seen.overflows > 0 and seen.overflows >= _limit("queue-overflow") * seen.attempts


def _delayed_ack(seen: Evidence) -> bool:
    shares = (seen.at_40_ms, seen.delayed_acks, seen.unacknowledged)
    return min(share or 0.0 for share in shares) >= _limit("delayed-ack")


def _one_request(seen: Evidence) -> bool:
    return seen.wants_keep_alive and seen.reconnects >= _limit("reconnect") * max(1, seen.done)


def _saturated(side: SideEvidence) -> bool:
    return (
        side.saturation >= _limit("saturated")
        or side.used >= _limit("full")
        or side.throttled >= _limit("throttled")
    )


def _bound(seen: Evidence) -> str:
    generator, server = _saturated(seen.generator), _saturated(seen.server)
    if seen.net_cpu >= _limit("net-cpu"):
        return "network"
    held_up = max(seen.generator.throttled, seen.server.throttled) >= _limit("throttled")
    if seen.share_cpus and seen.busy >= _limit("full") and not held_up:
        return "shared"
    if generator or server:
        if generator and server:
            generator = seen.generator.saturation >= seen.server.saturation
        side = seen.generator if generator else seen.server
        if side.net_share >= _limit("net-share"):
            return "network"
        return "generator" if generator else "server"
    if seen.residual is not None and abs(seen.residual) <= _limit("little"):
        return "latency"
    return "none"


_WARNS: Final[Mapping[str, Callable[[Evidence], bool]]] = {
    "disturbed": _disturbed,
    "listen-queue": _listen_queue,
    "delayed-ack": _delayed_ack,
    "one-request": _one_request,
}


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _say_disturbed(seen: Evidence) -> str:
    if _robbed(seen):
        return (
            f"disturbed: other tasks (the busiest: {seen.heaviest}) had "
            f"{_percent(seen.foreign_on_server)} of the server's CPUs, and it waited "
            f"{_percent(seen.server.waited)} of the time that it wanted one"
        )
    return f"disturbed: the hypervisor kept {_percent(seen.steal)} of the CPUs' time"


def _say_listen_queue(seen: Evidence) -> str:
    return (
        f"listen-queue-bound: {seen.overflows} connection attempts found the server's listen queue "
        f"full, and SYNs were sent again {seen.syn_retries} times, a second or more later"
    )


def _say_delayed_ack(seen: Evidence) -> str:
    return (
        f"a delayed-ACK plateau: {_percent(seen.at_40_ms or 0)} of the answers took about 40 ms, "
        "as the server's second write waits for the client's ACK (TCP_NODELAY, or one write, "
        "would end it)"
    )


def _say_one_request(seen: Evidence) -> str:
    return (
        f"one request per connection: {seen.opened} connections for {seen.done} "
        f"{several(seen.unit)}, though the generator would have kept them"
    )


def _say_generator(seen: Evidence) -> str:
    return f"generator-bound: {_limit_of(seen, seen.generator, seen.tool)}" + (
        f", while the server was busy for {_percent(seen.server.saturation)} of the run"
    )


def _say_server(seen: Evidence) -> str:
    return f"server-bound: {_limit_of(seen, seen.server, 'the server')}" + (
        f", while {seen.tool} was busy for {_percent(seen.generator.saturation)} of the run"
    )


def _limit_of(seen: Evidence, side: SideEvidence, name: str) -> str:
    if side.throttled >= _limit("throttled"):
        return f"a CPU quota held {name} up for {_percent(side.throttled)} of the run"
    if side.waited >= _limit("starved") and side.used < _limit("full"):
        return f"{name} wanted a CPU all the time, and waited for one {_percent(side.waited)} of it"
    threads = "its one thread" if side.threads == 1 else f"its {side.threads} threads"
    if side.saturation >= _limit("saturated"):
        return f"{name} was busy for {_percent(side.saturation)} of the run, with {threads}"
    return f"{name} used {_percent(side.used)} of its CPUs"


def _say_shared(seen: Evidence) -> str:
    return (
        f"CPU-bound: {seen.tool} and the server share CPUs that are {_percent(seen.busy)} used, "
        f"{_percent(seen.generator_of_busy)} of it by {seen.tool}: put them apart "
        "(-C, --server-cpu)"
    )


def _say_network(seen: Evidence) -> str:
    return (
        f"network-bound: of the CPU time of {seen.tool} and the server network softirqs took "
        f"{_percent(seen.generator.net_share)} and {_percent(seen.server.net_share)}, and "
        f"ksoftirqd and softirqs over idle up to {_percent(seen.net_cpu)} of a CPU"
    )


def _say_latency(seen: Evidence) -> str:
    assert seen.mean_ms is not None  # noqa: S101 (there is a residual)
    return (
        f"latency-bound: {seen.connections} connection{'s' * (seen.connections != 1)} / "
        f"{seen.mean_ms:.3g} ms = {seen.rate:,.0f} {several(seen.unit)}/s, with no side "
        "at its limit"
    )


def _say_none(seen: Evidence) -> str:
    return (
        f"no side was at its limit: {seen.tool} was busy for {_percent(seen.generator.saturation)} "
        f"of the run, the server for {_percent(seen.server.saturation)}"
    )


_SENTENCES: Final[Mapping[str, Callable[[Evidence], str]]] = {
    "disturbed": _say_disturbed,
    "listen-queue": _say_listen_queue,
    "delayed-ack": _say_delayed_ack,
    "one-request": _say_one_request,
    "generator": _say_generator,
    "server": _say_server,
    "shared": _say_shared,
    "network": _say_network,
    "latency": _say_latency,
    "none": _say_none,
}


def _facts(seen: Evidence, warnings: tuple[str, ...]) -> tuple[str, ...]:
    facts = [
        f"{name}: busy {_percent(side.saturation)} of the run, {_percent(side.used)} of its "
        f"{side.cpus} CPU{'s' * (side.cpus != 1)}; waited {_percent(side.waited)} of the time that "
        f"it wanted one; {_percent(side.net_share)} of its CPU time in network softirqs"
        for name, side in ((seen.tool, seen.generator), ("server", seen.server))
    ]
    if seen.residual is not None and seen.mean_ms is not None:
        facts.append(
            f"Little's law: {seen.rate:,.1f}/s × {seen.mean_ms:.4g} ms = "
            f"{seen.connections * (1 - seen.residual):.2f} of {seen.connections} connections; "
            f"residual {100 * seen.residual:+.1f} %"
        )
    facts.append(
        f"listen queue: {seen.overflows} overflows, {seen.syn_retries} SYNs sent again, "
        f"at most {seen.most_waiting} waiting; {seen.opened} connections for {seen.done} "
        f"{several(seen.unit)}"
    )
    if seen.delayed_acks is not None and ("delayed-ack" in warnings or seen.delayed_acks >= 0.01):
        at_40 = "unknown" if seen.at_40_ms is None else _percent(seen.at_40_ms)
        facts.append(
            f"delayed ACKs: {seen.delayed_acks:.2f} a {seen.unit}; {at_40} of latencies at 38–60 "
            f"ms; {_percent(seen.unacknowledged)} of looks found the server's bytes unacknowledged"
        )
    facts.append(
        f"others: {_percent(seen.foreign_on_server)} of the server's CPUs"
        + (f"; the busiest: {seen.heaviest}" if seen.heaviest else "")
        + f"; hypervisor {_percent(seen.steal)}; CPUs {_percent(seen.busy)} used"
    )
    return tuple(facts)
