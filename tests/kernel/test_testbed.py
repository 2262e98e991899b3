"""The testbed carries what it is asked to, where it is asked to, and leaves nothing behind.

Another load on the sender's CPU makes a flow late, which it then makes up for: so each test waits
until what it asserts is so.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nettax.errors import UsageError
from nettax.host import Host, namespace, recover
from nettax.kernel import proc_pid
from nettax.lab import Testbed, UdpFlow

Eventually = Callable[[Callable[[], object]], None]

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="a victim needs a CPU of its own"),
]
SENDER, VICTIM = 0, 1


def net_rx(cpu: int) -> int:
    """NET_RX softirqs of a CPU since boot."""
    lines = Path("/proc/softirqs").read_text().splitlines()
    counts = next(line for line in lines if line.lstrip().startswith("NET_RX:"))
    return int(counts.split()[1 + cpu])


def ksoftirqd_ns(cpu: int) -> int:
    """CPU time of a CPU's ksoftirqd since boot."""
    (pid,) = (pid for pid in proc_pid.pids() if proc_pid.comm(pid) == f"ksoftirqd/{cpu}")
    stat = proc_pid.schedstat(pid)
    assert stat is not None
    return stat.cpu_ns


@pytest.mark.parametrize("pps", [50_000, 200_000])
def test_packets_leave_at_the_rate_asked(host: Host, eventually: Eventually, pps: int) -> None:
    with Testbed(host, steer=VICTIM) as bed, bed.udp(pps, cpu=SENDER) as flow:
        start, before = time.monotonic(), flow.sent()

        def on_time() -> bool:
            elapsed = time.monotonic() - start
            return elapsed > 0.5 and abs((flow.sent() - before) / elapsed / pps - 1) < 0.02

        eventually(on_time)


@pytest.mark.parametrize(
    "options", [{}, {"steer": VICTIM}, {"gro": True}, {"threaded": True, "queues": 2}], ids=str
)
def test_what_is_sent_arrives(host: Host, eventually: Eventually, options: dict[str, Any]) -> None:
    with Testbed(host, **options) as bed:
        before = bed.arrived()
        assert before == 0, "the testbed is silent by itself"
        with bed.udp(50_000, cpu=SENDER) as flow:
            eventually(lambda: flow.sent() > 10_000)
        assert bed.arrived() - before == flow.sent() == flow.received() == flow.dropped()


def test_a_burst_is_as_many_packets(host: Host, eventually: Eventually) -> None:
    with Testbed(host) as bed:
        with bed.udp(50_000, cpu=SENDER, batch=1, burst=32) as flow:
            eventually(lambda: flow.sent() > 10_000)
        assert bed.arrived() == flow.sent() == flow.received()


def test_a_reader_reads(host: Host, eventually: Eventually) -> None:
    with Testbed(host) as bed, bed.udp(50_000, cpu=SENDER, reader=VICTIM) as flow:
        eventually(lambda: flow.received() - flow.dropped() > 10_000)


def test_streams_flow(host: Host, eventually: Eventually) -> None:
    with Testbed(host, steer=VICTIM) as bed, bed.tcp(3, SENDER, reader=SENDER) as flow:
        eventually(lambda: flow.received() > 20_000_000)
        received = flow.received()  # before what was sent by then
        assert flow.sent() >= received


def rises(flow: UdpFlow, packets: int) -> Callable[[], bool]:
    goal = flow.sent() + packets
    return lambda: flow.sent() > goal


def test_the_work_is_done_on_the_steered_cpu(host: Host, eventually: Eventually) -> None:
    # A poll that only hands packets to the other CPU is a NET_RX of the sender's too, so what
    # tells is the CPU that never has one: without steering, the victim's.
    with Testbed(host) as bed, bed.udp(100_000, cpu=SENDER) as flow:
        sender, victim = net_rx(SENDER), net_rx(VICTIM)
        eventually(rises(flow, 50_000))
        inline = net_rx(SENDER) - sender
        assert inline > 100 * (net_rx(VICTIM) - victim)
    with Testbed(host, steer=VICTIM) as bed, bed.udp(100_000, cpu=SENDER) as flow:
        victim = net_rx(VICTIM)
        eventually(rises(flow, 50_000))
        assert net_rx(VICTIM) - victim > 100


def test_a_costly_filter_brings_in_ksoftirqd(host: Host, eventually: Eventually) -> None:
    with (
        Testbed(host, steer=VICTIM) as bed,
        bed.udp(200_000, cpu=SENDER, filter_instructions=2000),
    ):
        before = ksoftirqd_ns(VICTIM)
        eventually(lambda: ksoftirqd_ns(VICTIM) - before > 200_000_000)


def test_a_flow_ends_by_itself(host: Host, eventually: Eventually) -> None:
    with Testbed(host) as bed, bed.udp(50_000, cpu=SENDER, limit=0.1) as flow:
        eventually(lambda: flow.sent() >= 4_900)
        eventually(lambda: not flow.running())
        assert flow.sent() <= 5_100


def test_nothing_is_left() -> None:
    children = set(proc_pid.pids())
    with Host() as host, Testbed(host, steer=VICTIM) as bed, bed.udp(50_000):
        names = {bed.sender, bed.receiver}
        assert names <= {path.name for path in namespace.DIRECTORY.iterdir()}
    assert not names & {path.name for path in namespace.DIRECTORY.iterdir()}
    ours = [pid for pid in set(proc_pid.pids()) - children if proc_pid.comm(pid) == "nettax-flow"]
    assert not ours


FLOODER = """
from nettax.host import Host
from nettax.lab import Testbed
with Host() as host, Testbed(host) as bed, bed.udp(50_000) as flow:
    print(flow._sender.process.pid, flow._receiver.process.pid, flush=True)
    flow._sender.process.wait()
"""


def test_killed_its_flood_ends_by_itself_and_the_rest_by_recovery() -> None:
    environment = os.environ | {"PYTHONPATH": ":".join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", FLOODER], stdout=subprocess.PIPE, env=environment
    ) as flooder:
        assert flooder.stdout is not None
        ends = [os.pidfd_open(int(pid)) for pid in flooder.stdout.readline().split()]
        flooder.kill()
        for end in ends:
            assert select.select([end], [], [], 10)[0]
            os.close(end)
    assert list(namespace.DIRECTORY.glob(f"nettax-{flooder.pid}-*"))
    assert not recover().problems
    assert not list(namespace.DIRECTORY.glob(f"nettax-{flooder.pid}-*"))


@pytest.mark.parametrize(
    "options",
    [
        {"pps": 0},
        {"pps": -1},
        {"size": 1473},
        {"batch": 0},
        {"burst": 65},
        {"burst": 64, "size": 1472},
        {"filter_instructions": 4097},
        {"limit": 0},
        {"limit": float("nan")},
    ],
    ids=str,
)
def test_a_flow_that_cannot_be(host: Host, options: dict[str, Any]) -> None:
    with Testbed(host) as bed, pytest.raises(UsageError):
        bed.udp(**options)


def test_a_cpu_that_is_not_there(host: Host) -> None:
    with pytest.raises(UsageError):
        Testbed(host, steer=4095)
    with Testbed(host) as bed, pytest.raises(UsageError), bed.udp(cpu=4095):
        pass
