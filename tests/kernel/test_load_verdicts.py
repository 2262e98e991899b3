"""Known answers, for real: servers, tools and neighbours arranged so that the limit is known.

All of a case runs in a network namespace of its own, so that nobody else's traffic is counted, and
in a cgroup before which the rest of the host has little to say: nobody else is the disturbance.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from nettax.experiment.evidence import evidence
from nettax.experiment.load import LoadRun, run
from nettax.experiment.load_target import own_network, started
from nettax.experiment.verdict import LIMITS, Verdict, verdict
from nettax.host import Host
from nettax.kernel import cpus
from nettax.kernel.cgroup import v1_mount
from nettax.load.tool import Job, Kind
from nettax.load.tools import TOOLS
from nettax.servers.server import PROGRAM

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.full,
    pytest.mark.skipif(len(cpus.online()) < 2, reason="one CPU for each side"),
    pytest.mark.skipif(v1_mount("cpu") is None, reason="quotas here are version 1's"),
]
PORT = 8099
PERIOD_US = 20_000
LOOP = (sys.executable, "-I", "-S", "-c", "while True: pass")


@dataclass(frozen=True)
class Case:
    """What is arranged, and what must be found."""

    name: str
    kinds: tuple[str, ...]
    """Any of these; where it is a bound, there must be no warning, else no other warning."""
    server: tuple[str, ...] = ()
    """Options of the reference server."""
    model: str = "epoll"
    protocol: str = "http"
    tool: str = "wrk"
    connections: int = 16
    threads: int = 1
    duration_s: int = 2
    server_quota: float | None = None
    """Of one CPU."""
    tool_quota: float | None = None
    busy: tuple[str, ...] = ()
    """Whose CPUs a neighbour computes on."""
    together: bool = False
    """Both sides on one CPU."""
    close: bool = False
    rate: int | None = None
    command: tuple[str, ...] = ()
    """In place of the reference server: one that takes datagrams at PORT."""
    rps: bool = False
    """Loopback's packets are received on the server's CPU, not where they were sent."""


# Thresholds were fixed on these.
FIRST = (
    Case("a server that sleeps 5 ms", ("latency",), ("--sleep-us=5000",), "threads", connections=8),
    Case("a tenth of a CPU", ("server",), server_quota=0.1),
    Case("a generator on a busy core", ("generator",), busy=("tool",), connections=64),
    # It has its CPU for 1 ms in 20: the tool connects all before the server accepts many.
    Case(
        "a backlog of 8",
        ("listen-queue",),
        ("--backlog=8",),
        connections=500,
        duration_s=3,
        server_quota=0.05,
    ),
    Case("two small writes", ("delayed-ack",), ("--two-writes=1", "--nodelay=0")),
    Case("closes after each answer", ("one-request",), ("--keep-alive=0",)),
    Case("a neighbour on the server's core", ("disturbed",), busy=("server",), connections=64),
    Case("ab with a fifth of a CPU", ("generator",), tool="ab", tool_quota=0.2, connections=64),
    Case("one connection", ("latency",), connections=1),
    Case("a server that computes 200 µs", ("server",), ("--work-us=200",)),
    Case("clean and fast", ("latency", "server", "generator", "none")),
)


QUIET = ("latency", "server", "generator", "none")
# Built when the thresholds stood, and run once; docs/figures.md has the score as it came out.
SECOND = (
    Case("answers after 42 ms", ("latency",), ("--sleep-us=42000",), "threads"),
    Case("a pool of two that sleep", ("latency",), ("--sleep-us=10000", "--threads=2"), "pool"),
    Case("wrk with a tenth of a CPU", ("generator",), tool_quota=0.1, connections=64),
    Case("both on one core", ("shared",), together=True, connections=64),
    Case(
        "an echo in two halves",
        ("delayed-ack",),
        ("--two-writes=1", "--nodelay=0"),
        protocol="echo",
        tool="nettax",
    ),
    Case("corked, so one segment", QUIET, ("--two-writes=1", "--nodelay=0", "--cork=1")),
    Case("keep-alive if asked, of wrk", ("one-request",), ("--keep-alive=2",)),
    Case("keep-alive if asked, of ab", QUIET, ("--keep-alive=2",), tool="ab"),
    Case("a connection each, as asked for", QUIET, tool="ab", close=True),
    Case("a hundred to a connection", QUIET, ("--max-requests=100",)),
    Case(
        "a backlog of 4 before a slow server",
        ("listen-queue",),
        ("--backlog=4", "--sleep-us=500"),
        connections=200,
        duration_s=3,
        server_quota=0.05,
    ),
    Case("an open loop at 500 a second", ("none",), tool="nettax", rate=500),
    Case("eight threads on one core", ("server",), ("--work-us=1000",), "threads", connections=8),
    Case(
        "h2load on a pool that computes",
        ("server",),
        ("--work-us=100", "--threads=4"),
        "pool",
        tool="h2load",
        connections=32,
    ),
)


# Takes no datagram: a filter of 4,000 divisions, in the softirq, turns each away.
DEAR = """
import ctypes, signal, socket, struct
divide = struct.pack("HBBI", 0x34, 0, 0, 1)  # BPF_ALU | BPF_DIV | BPF_K
program = struct.pack("HBBI", 0, 0, 0, 7) + 4000 * divide + struct.pack("HBBI", 6, 0, 0, 0)
kept = ctypes.create_string_buffer(program)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dear:
    SO_ATTACH_FILTER = 26
    filter = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(kept))
    dear.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filter)
    dear.bind(("127.0.0.1", PORT))
    signal.pause()
""".replace("PORT", str(PORT))
TAKES_NONE = (sys.executable, "-I", "-S", "-c", DEAR)
# Where the network stack itself is the limit: in the sender's own system calls, and on a CPU that
# is given nothing else to do.
NETWORK = (
    Case("dear to receive, by the sender", ("network",), tool="sockperf", command=TAKES_NONE),
    Case(
        "dear to receive, on a CPU apart",
        ("network",),
        tool="sockperf",
        command=TAKES_NONE,
        rps=True,
    ),
)


def judged(case: Case) -> tuple[LoadRun, Verdict]:
    where = dict(zip(("tool", "server"), cpus.online()[-2:], strict=True))
    if case.together:
        where["tool"] = where["server"]
    served = (str(PROGRAM), case.model, case.protocol, f"--port={PORT}", *case.server)
    words = case.command or served
    kind: Kind = "http" if case.protocol == "http" else "echo"
    protocol: Literal["tcp", "udp"] = "tcp"
    if case.command:
        kind, protocol = "stream", "udp"
    with Host() as host, ExitStack() as stack:
        first = host.cgroup("cases", "cpu")
        host.write(first / "cpu.shares", "262144")
        netns = own_network(host)
        if case.rps:
            _receive_on(netns, where["server"])
        for side in case.busy:
            host.spawn([*_within(first), *LOOP], cpus=[where[side]])
        prefix = _within(_quota(first, "server", case.server_quota))
        target = stack.enter_context(
            started(
                host,
                [*prefix, *words],
                PORT,
                protocol=protocol,
                cpus=[where["server"]],
                netns=netns,
            )
        )
        found = run(
            host,
            TOOLS[case.tool],
            Job(
                kind,
                "127.0.0.1",
                PORT,
                connections=1 if case.command else case.connections,
                protocol=protocol,
                threads=case.threads,
                duration_s=case.duration_s,
                keep_alive=not case.close,
                rate=case.rate,
            ),
            target,
            cpus=[where["tool"]],
            netns=netns,
            prefix=_within(_quota(first, "tool", case.tool_quota)),
        )
    return found, verdict(evidence(found))


def _receive_on(netns: str, cpu: int) -> None:
    """Of a namespace that is gone with the case: nothing is left to be undone."""
    path = "/sys/class/net/lo/queues/rx-0/rps_cpus"
    write = ["sh", "-c", f"echo {1 << cpu:x} > {path}"]
    subprocess.run(["ip", "netns", "exec", netns, *write], check=True)


def _quota(above: Path, name: str, share: float | None) -> Path:
    if share is None:
        return above
    cgroup = above / name
    cgroup.mkdir()
    (cgroup / "cpu.cfs_period_us").write_text(str(PERIOD_US))
    (cgroup / "cpu.cfs_quota_us").write_text(str(round(PERIOD_US * share)))
    return cgroup


def _within(cgroup: Path) -> list[str]:
    return ["sh", "-c", f'echo $$ > {cgroup}/cgroup.procs && exec "$@"', "sh"]


def _check(case: Case) -> None:
    found, told = judged(case)
    steal = evidence(found).steal
    if steal >= LIMITS["steal"][0]:
        pytest.skip(f"the hypervisor kept {steal:.0%} of the CPUs' time")
    print(f"\n{case.name}: {told.sentence}", *told.evidence, sep="\n  ")
    assert told.kind in case.kinds
    assert len(told.warnings) == (told.kind not in ("latency", "none") and told.kind != told.bound)
    for side in (found.server, found.generator):
        off = side.mismatch
        assert off is not None and abs(off) < 0.03


@pytest.mark.parametrize("case", FIRST, ids=lambda case: case.name)
def test_known_answer(case: Case, await_quiet: Callable[[], None]) -> None:
    await_quiet()
    _check(case)


@pytest.mark.parametrize("case", SECOND, ids=lambda case: case.name)
def test_second_set(case: Case, await_quiet: Callable[[], None]) -> None:
    await_quiet()
    _check(case)


@pytest.mark.parametrize("case", NETWORK, ids=lambda case: case.name)
def test_network(case: Case, await_quiet: Callable[[], None]) -> None:
    await_quiet()
    _check(case)
