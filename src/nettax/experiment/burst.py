"""The echo burst with the kernel's counters beside it: whose queue overflowed, and how often."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nettax.kernel import net_counters
from nettax.load.burst import START_UP_S, Burst, burst

__all__ = ["COUNTERS", "BurstRun", "burst_run"]

COUNTERS = (
    "TcpExt.ListenOverflows",
    "TcpExt.ListenDrops",
    "TcpExt.TCPReqQFullDrop",
    "TcpExt.TCPReqQFullDoCookies",
    "TcpExt.TCPTimeouts",
    "TcpExt.TCPSynRetrans",
    "Tcp.RetransSegs",
)
"""Of a network namespace; the first four are of listening sockets, so of the server's side."""


@dataclass(frozen=True, slots=True)
class BurstRun:
    """A burst, and what a network namespace counted meanwhile."""

    burst: Burst
    counters: dict[str, int]
    """Those of `COUNTERS` that this kernel has. Of the namespace, so of all that went on in it."""


def burst_run(
    host: str,
    port: int,
    connections: int,
    *,
    rounds: int = 10,
    message_bytes: int = 13,
    patience_s: int = 10,
    cpus: Iterable[int] | None = None,
    netns: str | None = None,
    pid: int | str = "self",
    start_up_s: int = START_UP_S,
) -> BurstRun:
    """Run a burst (see `nettax.load.burst.burst`).

    :param pid: a process whose network namespace's counters are read: the server's.
    :raises UsageError: the host cannot be looked up; figures that make no sense.
    """
    before = net_counters.counters(pid)
    seen = burst(
        host,
        port,
        connections,
        rounds=rounds,
        message_bytes=message_bytes,
        patience_s=patience_s,
        cpus=cpus,
        netns=netns,
        start_up_s=start_up_s,
    )
    since = net_counters.difference(net_counters.counters(pid), before)
    return BurstRun(seen, {name: since[name] for name in COUNTERS if name in since})
