"""The ledger against other witnesses of the same seconds: perf, /proc/softirqs, run_delay."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nettax.canary import Canary
from nettax.host import Host, spawn
from nettax.kernel import cpus, proc_pid
from nettax.kernel.interrupts import interrupts, softirqs
from nettax.lab import Testbed
from nettax.ledger import Ledger
from nettax.ledger.rows import VECTORS

VICTIM = cpus.online()[-1]
LIMIT_S = 200.0  # for perf to begin or to end, in a guest on a busy host
EVENTS = ("softirq_entry", "softirq_exit", "irq_handler_entry", "irq_handler_exit")
# Not irq_work: its exit may not be sampled (arch/x86/include/asm/trace/irq_vectors.h).
IPIS = ("call_function_single", "call_function", "reschedule", "local_timer")
# perf script -F comm,tid,cpu,time,event,trace --ns
LINE = re.compile(
    r"^(?P<comm>.{1,16}?)\s+(?P<tid>-?\d+)\s+\[(?P<cpu>\d+)\]\s+(?P<s>\d+)\.(?P<ns>\d{9}):\s+"
    r"(?:\w+:)?(?P<event>\w+):\s+(?P<trace>.*)$"
)


@contextmanager
def flooded(pps: int | None, filter_instructions: int = 0) -> Iterator[Canary]:
    """A canary on the CPU to which a flow of packets is steered."""
    with (
        Host() as host,
        Testbed(host, steer=VICTIM) as bed,
        Canary(VICTIM) as canary,
        bed.udp(pps, filter_instructions=filter_instructions) as flow,
    ):
        while not flow.sent():
            time.sleep(0.005)
        yield canary
        assert flow.running(), "the flow ended before the measurement did"


@dataclass
class Replay:
    """NET_RX time and runs by (CPU, pid), summed from perf's text; hard IRQs inside taken out."""

    net_rx_ns: dict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))
    net_rx_runs: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    hard_start: dict[int, int] = field(default_factory=dict)
    soft_start: dict[int, int] = field(default_factory=dict)
    nested: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    def event(self, cpu: int, tid: int, at: int, name: str, trace: str) -> None:
        if name.startswith("softirq"):
            self._softirq(cpu, tid, at, name, trace)
        elif name.endswith("_entry"):
            self.hard_start[cpu] = at
        elif cpu in self.hard_start:
            self.nested[cpu] += at - self.hard_start.pop(cpu)

    def _softirq(self, cpu: int, tid: int, at: int, name: str, trace: str) -> None:
        if "vec=3 " not in trace:
            return
        if name == "softirq_entry":
            self.soft_start[cpu], self.nested[cpu] = at, 0
        elif cpu in self.soft_start:
            self.net_rx_ns[cpu, tid] += at - self.soft_start.pop(cpu) - self.nested[cpu]
            self.net_rx_runs[cpu] += 1


@contextmanager
def perf_record(path: Path, log: Path) -> Iterator[Callable[[], None]]:
    """Open the events, disabled; the yielded function enables them and returns when all are.

    That is fast under a flood, and opening them is not: in a guest it outlasted the flow.
    """
    events = [f"irq:{name}" for name in EVENTS]
    events += [f"irq_vectors:{name}_{end}" for name in IPIS for end in ("entry", "exit")]
    selection = [word for event in events for word in ("-e", event)]
    # perf needs tracefs: mounted here for perf alone, unless the host has it.
    mount = 'grep -q " tracefs " /proc/mounts || mount -t tracefs none /sys/kernel/tracing;'
    command = ["perf", "record", "-a", "-k", "CLOCK_MONOTONIC", "-m", "4096", "-o", str(path)]
    names = [path.with_name(name) for name in ("control", "answer")]
    for name in names:
        os.mkfifo(name)
    command += ["--delay=-1", f"--control=fifo:{names[0]},{names[1]}"]
    control, answer = (os.open(name, os.O_RDWR | os.O_CLOEXEC) for name in names)
    with log.open("wb") as out:
        child = spawn(
            ["unshare", "--mount", "sh", "-c", mount + ' exec "$@"', "sh", *command, *selection],
            stdout=out,
            stderr=out,
        )

    def obey(order: bytes) -> None:
        os.write(control, order + b"\n")
        deadline = time.monotonic() + LIMIT_S
        while not select.select([answer], [], [], 0.1)[0]:
            assert child.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "perf record did not answer"
        os.read(answer, 64)

    try:
        obey(b"ping")
        yield lambda: obey(b"enable")
    finally:
        child.send_signal(2)
        child.wait(LIMIT_S)
        os.close(control)
        os.close(answer)


@pytest.mark.skipif(shutil.which("perf") is None, reason="perf is not installed (linux-perf)")
def test_net_rx_against_perf(tmp_path: Path) -> None:
    data, log = tmp_path / "perf.data", tmp_path / "log"
    with perf_record(data, log) as enable, flooded(50_000) as canary:
        enable()
        with Ledger() as ledger:
            time.sleep(1)
            last = ledger.finish()
        interval = last - ledger.began
    script = subprocess.run(
        ["perf", "script", "-i", data, "--ns", "-F", "comm,tid,cpu,time,event,trace"],
        capture_output=True,
        text=True,
        check=True,
    )
    if "LOST" in script.stdout or "lost" in log.read_text().lower():
        pytest.skip("perf lost events, so it is no oracle for these seconds")

    windows = {cpu: (ledger.began.cpus[cpu].now_ns, last.cpus[cpu].now_ns) for cpu in last.cpus}
    replay = Replay()
    for line in script.stdout.splitlines():
        found = LINE.match(line)
        assert found, line
        cpu, at = int(found["cpu"]), int(found["s"]) * 10**9 + int(found["ns"])
        if windows[cpu][0] <= at <= windows[cpu][1]:
            replay.event(cpu, int(found["tid"]), at, found["event"], found["trace"])

    (row,) = (cpu for cpu in interval.cpus if cpu.cpu == VICTIM)
    assert replay.net_rx_runs[VICTIM] > 100
    assert row.softirq_count["net_rx"] == pytest.approx(replay.net_rx_runs[VICTIM], abs=2)
    on_victim = sum(ns for (cpu, _), ns in replay.net_rx_ns.items() if cpu == VICTIM)
    (task,) = (task for task in interval.tasks if task.pid == canary.pid)
    of_canary = replay.net_rx_ns[VICTIM, canary.pid]
    print(f"NET_RX {replay.net_rx_runs[VICTIM]} runs, {row.softirq_ns['net_rx']} ns of the CPU's,")
    print(f"{task.stolen_ns['net_rx']} of the canary; by perf {on_victim} and {of_canary}")
    # Each takes its time while the other is at work: some 4 µs a run on an emulated CPU.
    assert row.softirq_ns["net_rx"] == pytest.approx(on_victim, rel=0.03)
    share = task.stolen_ns["net_rx"] / row.softirq_ns["net_rx"]
    assert share == pytest.approx(of_canary / on_victim, rel=0.02)


def test_softirq_counts_against_proc() -> None:
    """Bracketed by readings of /proc/softirqs, the counts can only lie between them.

    But for those that ran while a task was on whose events the host hides from all tracing: such
    stretches are in `inferred_ns`, and on a host that hides nothing that is 0.
    """
    with flooded(100_000):
        outer = softirqs()
        with Ledger() as ledger:
            inner = softirqs()
            time.sleep(1)
            inner_end = softirqs()
            last = ledger.finish()
        outer_end = softirqs()
    interval = last - ledger.began
    for cpu in interval.cpus:
        for vector in VECTORS:
            name = vector.upper()
            least = inner_end[name][cpu.cpu] - inner[name][cpu.cpu]
            most = outer_end[name][cpu.cpu] - outer[name][cpu.cpu]
            hidden = least * interval.events.inferred_ns / cpu.wall_ns + interval.events.unmatched
            # /proc counts a softirq as it begins, the ledger as it ends: one may be under way.
            assert least - hidden - 1 <= cpu.softirq_count[vector] <= most + 1, (cpu.cpu, vector)


def test_interrupt_counts_against_proc(tmp_path: Path) -> None:
    """By line of /proc/interrupts, with the same bounds: a disk's queues, timer, IPIs.

    Over all lines they are the ledger's own sums, but for the interrupt in flight at a reading.
    """
    script = "import os; [os.fsync(1) for _ in range(200) if os.write(1, os.urandom(4096))]"
    with flooded(20_000), (tmp_path / "file").open("wb") as file:
        outer = interrupts()
        with Ledger() as ledger:
            inner = interrupts()
            subprocess.run([sys.executable, "-IS", "-c", script], stdout=file, check=True)
            inner_end = interrupts()
            last = ledger.finish()
        outer_end = interrupts()
    interval = last - ledger.began
    counted = {(irq.irq, irq.cpu): irq for irq in interval.irqs}
    assert len(counted) == len(interval.irqs)
    for cpu in interval.cpus:
        known = [name for name in inner if name.isdecimal() or name in ("LOC", "RES", "CAL", "IWI")]
        for name in known:
            least = inner_end[name].per_cpu[cpu.cpu] - inner[name].per_cpu[cpu.cpu]
            most = outer_end[name].per_cpu[cpu.cpu] - outer[name].per_cpu[cpu.cpu]
            hidden = least * interval.events.inferred_ns / cpu.wall_ns + interval.events.unmatched
            found = counted.get((name, cpu.cpu))
            count = found.count if found else 0
            assert least - hidden - 1 <= count <= most + 1, (cpu.cpu, name)
            if found and name.isdecimal():
                assert inner[name].description.endswith(found.name)
        lines = [irq for irq in interval.irqs if irq.cpu == cpu.cpu]
        assert sum(irq.count for irq in lines) == cpu.hardirq_count
        assert sum(irq.time_ns for irq in lines) == pytest.approx(cpu.hardirq_ns, rel=0.01)


def test_displaced_is_within_run_delay() -> None:
    """The kernel's own measure of waiting bounds ours, and most of it is ksoftirqd's doing."""
    with flooded(100_000, 2000) as canary, Ledger() as ledger:
        before = proc_pid.schedstat(canary.pid)
        first = ledger.read()
        time.sleep(2)
        last = ledger.read()
        after = proc_pid.schedstat(canary.pid)
    assert before and after
    delay = after.run_delay_ns - before.run_delay_ns
    (task,) = (task for task in (last - first).tasks if task.pid == canary.pid)
    displaced = sum(task.displaced_ns.values())
    assert task.wait_ns <= delay * 1.01 + 5e6  # one wait may be under way at either end
    assert displaced <= task.wait_ns
    assert displaced >= 0.2 * (last - first).wall_ns
    assert task.displaced_ns["ksoftirqd"] == displaced


def test_triggers() -> None:
    """Steered packets come by interrupt; those of loopback run in the sender's own system call."""
    with flooded(50_000) as canary, Ledger() as ledger:
        time.sleep(0.5)
        steered = ledger.finish() - ledger.began
    (task,) = (task for task in steered.tasks if task.pid == canary.pid)
    total = sum(task.stolen_by_trigger_ns.values())
    assert task.stolen_by_trigger_ns["irq_exit"] >= 0.98 * total

    source = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.1", 0))
while True: s.sendto(bytes(64), s.getsockname()); s.recv(64)
"""
    child = spawn([sys.executable, "-c", source])
    try:
        with Ledger() as ledger:
            time.sleep(0.5)
            own = ledger.finish() - ledger.began
    finally:
        child.kill()
        child.wait()
    (sender,) = (task for task in own.tasks if task.pid == child.pid)
    net_rx = sender.stolen_ns["net_rx"]
    assert net_rx > 0.02 * own.wall_ns
    assert sender.stolen_by_trigger_ns["bh_enable"] >= 0.95 * net_rx


def test_busy_loop_is_billed_what_it_ran() -> None:
    """A loop alone on its CPU: on-CPU, billed and the scheduler's own record are one figure.

    That record is of its last tick, which may be late on a busy host. So the loop is stopped at
    both ends of what is billed, and runs at both ends of what is on-CPU.
    """
    with Canary(VICTIM) as canary, stopped(canary.pid), Ledger() as ledger:
        os.kill(canary.pid, signal.SIGCONT)
        first = ledger.read()
        time.sleep(1)
        running = ledger.read() - first
        with stopped(canary.pid):
            whole = ledger.finish() - ledger.began
    (task,) = (task for task in running.tasks if task.pid == canary.pid)
    (cpu,) = (cpu for cpu in running.cpus if cpu.cpu == VICTIM)
    # A wait that began with events which this host hides is not seen.
    unseen = 0.02 * cpu.wall_ns + running.events.inferred_ns
    assert task.oncpu_ns == pytest.approx(cpu.wall_ns - task.wait_ns, abs=unseen)
    (task,) = (task for task in whole.tasks if task.pid == canary.pid)
    (cpu,) = (cpu for cpu in whole.cpus if cpu.cpu == VICTIM)
    # The kernel leaves the hypervisor's steal out of the bill; the clock goes on meanwhile.
    assert task.billed_ns == pytest.approx(task.oncpu_ns - cpu.steal_ns, abs=0.03 * cpu.wall_ns)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Off its CPU, and so with all that it ran in its record, until it is continued."""
    os.kill(pid, signal.SIGSTOP)
    try:
        deadline = time.monotonic() + 60
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < deadline, "it does not stop"
            time.sleep(0.001)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
