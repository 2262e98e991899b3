"""Chains of events by tracepoints: known numbers of them, and perf's own record of the same."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from nettax.errors import UsageError
from nettax.experiment.trace_cost import STIMULI
from nettax.functions import Latency, LatencyReading
from nettax.functions.latency import stages_of
from nettax.host import Host
from nettax.kernel.kallsyms import Kallsyms
from nettax.lab import Testbed

pytestmark = pytest.mark.needs_root
RUNS = 211
NETTAX = (sys.executable, "-m", "nettax", "trace")


def traced(tracer: Latency, work: Callable[[], object]) -> LatencyReading:
    with tracer as tracing:
        began = tracing.read()
        work()
        return tracing.read() - began


def consistent(seen: LatencyReading, chain: str) -> None:
    """The parts of a chain add up to the whole, to the ns, and nothing was missed."""
    parts = {
        "workqueue": ("queued to begun", "call"),
        "softirq": ("raised to begun", "call"),
        "fork": ("forked to woken", "woken to run"),
        "kthread": stages_of("kthread")[1:],
    }[chain]
    whole = seen.of(chain)
    assert whole.sum_ns == sum(seen.of(chain, part).sum_ns for part in parts)
    assert {seen.of(chain, part).count for part in parts} == {whole.count}
    doubts = seen.doubts
    assert (doubts.no_room, doubts.too_deep, doubts.missed) == (0, 0, 0)


@pytest.mark.parametrize("raw", [False, True])
def test_work_items_of_a_pseudoterminal(raw: bool) -> None:
    """Each byte is one item of flush_to_ldisc(), queued by whoever writes it."""
    with STIMULI["workqueue"]() as once:
        seen = traced(
            Latency(["workqueue"], by="arg", raw_tracepoints=raw),
            lambda: [once() for _ in range(RUNS)],
        )
    consistent(seen, "workqueue")
    symbols = Kallsyms.read()
    counts = {
        symbols.name_at(key.group): histogram.count
        for key, histogram in seen.histograms.items()
        if key.name == "queued to done"
    }
    assert counts["flush_to_ldisc"] == RUNS
    running, waiting = (seen.of("workqueue", name).sum_ns for name in ("running", "waiting"))
    assert running + waiting == seen.of("workqueue", "call").sum_ns


def test_who_queued_it() -> None:
    with STIMULI["workqueue"]() as once:
        seen = traced(Latency(["workqueue"], by="pid"), lambda: [once() for _ in range(RUNS)])
    mine = [
        histogram
        for key, histogram in seen.histograms.items()
        if key.group == os.getpid() and key.name == "queued to done"
    ]
    assert sum(histogram.count for histogram in mine) >= RUNS
    assert seen.names[os.getpid()] == Path("/proc/self/comm").read_text().strip()


def test_softirqs_of_loopback() -> None:
    with STIMULI["softirq"]() as once:
        seen = traced(Latency(["softirq"], by="arg"), lambda: [once() for _ in range(RUNS)])
    consistent(seen, "softirq")
    net_rx = [h for key, h in seen.histograms.items() if key.group == 3 and key.name == "call"]
    assert sum(histogram.count for histogram in net_rx) >= RUNS


def test_forks() -> None:
    def fork() -> None:
        for _ in range(37):
            child = os.fork()
            if not child:
                os._exit(0)
            os.waitpid(child, 0)

    seen = traced(Latency(["fork"], by="pid"), fork)
    consistent(seen, "fork")
    mine = [
        histogram.count
        for key, histogram in seen.histograms.items()
        if key.group == os.getpid() and key.name == "forked to run"
    ]
    # Some hosts hide switches from their supervisor's threads: a child's first is among them.
    assert sum(mine) <= 37 <= sum(mine) + seen.doubts.abandoned


def test_reads_of_concurrent_connections_do_not_mix() -> None:
    """Eight connections, each a number of its own of exchanges: told apart by port."""
    counts = [11 * (number + 1) for number in range(8)]

    def echo(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(1):
                connection.send(data)

    def ask(connection: socket.socket, times: int) -> None:
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(times):
                connection.send(b".")
                connection.recv(1)

    threads, ports = [], []
    with socket.create_server(("127.0.0.1", 0)) as server:
        for number in counts:
            asking = socket.create_connection(server.getsockname())
            ports.append(asking.getsockname()[1])
            threads.append(threading.Thread(target=echo, args=(server.accept()[0],)))
            threads.append(threading.Thread(target=ask, args=(asking, number)))

    def run() -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    seen = traced(Latency(["tcp-read"], by="arg"), run)
    whole = {
        key.group: histogram.count
        for key, histogram in seen.histograms.items()
        if key.name == "received to read"
    }
    assert [whole.get(port) for port in ports] == counts


def test_kernel_threads_of_threaded_napi() -> None:
    """A queue is a thread: eight are asked for, one after another."""

    def make() -> None:
        with Host() as host, Testbed(host, queues=8, threaded=True):
            pass

    seen = traced(Latency(["kthread"], by="pid"), make)
    consistent(seen, "kthread")
    mine = [
        histogram.count
        for key, histogram in seen.histograms.items()
        if key.group == os.getpid() and key.name == "asked to had"
    ]
    assert sum(mine) + seen.doubts.abandoned + seen.doubts.unmatched >= 8


@pytest.mark.skipif(shutil.which("perf") is None, reason="needs perf")
def test_the_same_by_perf(tmp_path: Path) -> None:
    """perf's record of the same events, paired here, has each time to within its own cost."""
    events = "workqueue:workqueue_queue_work,workqueue:workqueue_execute_start"
    data = tmp_path / "perf.data"
    alone = ["unshare", "--mount"]  # perf mounts tracefs, and leaves it so
    record = [*alone, "perf", "record", "-q", "-a", "-k", "CLOCK_MONOTONIC", "-e", events]
    script = (
        "from nettax.experiment.trace_cost import STIMULI\n"
        f"with STIMULI['workqueue']() as once: [once() for _ in range({RUNS})]"
    )
    seen = traced(
        Latency(["workqueue"], by="arg"),
        lambda: subprocess.run(
            [*record, "-o", data, "--", sys.executable, "-c", script], check=True
        ),
    )
    printed = subprocess.run(
        [*alone, "perf", "script", "--ns", "-i", str(data), "-F", "time,event,trace"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    queued: dict[str, float] = {}
    times = []
    for line in printed.splitlines():
        match = re.search(r"([\d.]+): +workqueue:workqueue_(queue_work|execute_start): +(.*)", line)
        assert match, line
        work = re.search(r"work struct[= ](\w+)", match[3])
        assert work, line
        if match[2] == "queue_work" and "flush_to_ldisc" in match[3]:
            queued[work[1]] = float(match[1])
        elif work[1] in queued:
            times.append((float(match[1]) - queued.pop(work[1])) * 1e9)
    symbols = Kallsyms.read()
    (mine,) = (
        histogram
        for key, histogram in seen.histograms.items()
        if symbols.name_at(key.group) == "flush_to_ldisc" and key.name == "queued to begun"
    )
    assert len(times) == mine.count == RUNS
    assert mine.quantile(0.5) == pytest.approx(sorted(times)[RUNS // 2], rel=0.25, abs=3000)


def test_what_this_kernel_refuses() -> None:
    """A function without kprobes: by what evidence, what covers it, and where it works."""
    if Path("/sys/bus/event_source/devices/kprobe").exists():
        pytest.skip("this kernel has kprobes")
    run = subprocess.run(
        [*NETTAX, "latency", "kthread_create_on_node"], capture_output=True, text=True
    )
    assert run.returncode == 77
    assert "CONFIG_KPROBE_EVENTS is off" in run.stderr
    assert "nettax trace latency kthread covers it" in run.stderr
    assert "lab vm run -- nettax trace latency kthread_create_on_node" in run.stderr


def test_the_command_line() -> None:
    run = subprocess.run(
        [*NETTAX, "latency", "fork", "--by", "pid", "--json", "--", "sh", "-c", "true; exit 3"],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 3, run.stderr
    told = json.loads(run.stdout)
    assert told["schema"] == "nettax.latency/1"
    assert [stage["stage"] for stage in told["chains"][0]["stages"]] == list(stages_of("fork"))


def test_nonsense_is_refused() -> None:
    with pytest.raises(UsageError, match="there is no chain"):
        Latency(["forks"])
    with pytest.raises(UsageError, match="name a chain"):
        Latency()
    run = subprocess.run([*NETTAX, "latency", "tcp_*"], capture_output=True, text=True)
    assert run.returncode == 2
    assert "no symbol's name" in run.stderr
