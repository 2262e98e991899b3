"""The tutorial, run for real: ``python docs/tutorial/why_slow.py [--short] [--write]``.

A service is pinned to one CPU; a neighbour's packets are steered to the same one. The script runs
the tutorial's commands one after the other and prints what they print; ``--write`` puts that into
the page beside this file. Two namespaces, one flow and one service are made, all through
`nettax.Host`: journalled, and gone at the end, however it comes. Needs root and two CPUs; takes a
minute, with ``--short`` some fifteen seconds. Nothing is written of a host that is not quiet.
"""

from __future__ import annotations

import argparse
import os
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "_ext"))

import recorded  # noqa: E402  (found by the line above)

from nettax.experiment.estimate import Estimate, median, paired_ratio  # noqa: E402
from nettax.experiment.schedule import Run, Schedule, interleave  # noqa: E402
from nettax.experiment.watch import off  # noqa: E402
from nettax.host import Host  # noqa: E402
from nettax.kernel import cpus, proc_pid  # noqa: E402
from nettax.lab import Testbed, UdpFlow  # noqa: E402
from nettax.lab.device import Device  # noqa: E402
from nettax.lab.testbed import DEVICE  # noqa: E402

MASK_FILE = "queues/rx-0/rps_cpus"
# Against whatever else runs on this host; ksoftirqd and others have 1024 each.
WEIGHTS = {"cpu.weight": "2000", "cpu.shares": "20480"}  # of cgroup version 2, and 1
LEAST_CHECKED_NS = 500_000_000
PPS, BURST = 300_000, 2  # packets a second; two an interrupt, as from a NIC that coalesces
TRIGGERS = """\
import json, sys
(task,) = json.load(sys.stdin)["tasks"]
for name, ns in task["stolen_by_trigger_ns"].items():
    print(f"{name:10} {ns / 1e6:8.1f} ms")"""


@dataclass(frozen=True)
class Pace:
    """How long the steps take."""

    seconds: int = 2
    window_s: float = 0.7
    rounds: int = 10
    most_waiting: float = 0.05
    """Stop when the service waited for more of the time: somebody else's work is another story."""
    least_billed: float = 0.92
    """Stop when the service was billed for less of its CPU: it was not the only one there."""


SHORT = Pace(seconds=1, window_s=0.4, rounds=1, most_waiting=1.0, least_billed=0.0)


@dataclass(frozen=True)
class Window:
    """What the service and the flow did in one window."""

    jobs_per_s: float
    packets_per_s: float


class Stage:
    """The service, the neighbour's namespaces, and where the packets go."""

    def __init__(self, host: Host, bed: Testbed, directory: Path) -> None:
        self.sender_cpu, self.cpu = cpus.online()[-2:]
        self.bed = bed
        self.flow: UdpFlow | None = None
        self._counter = directory / "counter"
        self._counter.write_bytes(bytes(8))
        self.log = directory / "signer.log"
        self.cgroup = host.cgroup("tutorial", "cpu")
        for name, weight in WEIGHTS.items():
            if (self.cgroup / name).exists():
                host.write(self.cgroup / name, weight)
        with self.log.open("wb") as log:
            self.service: Popen[bytes] = host.spawn(
                [sys.executable, HERE / "service.py", self._counter],
                cpus=[self.cpu],
                cgroup=self.cgroup,
                stdout=log,
            )

        self._checked = time.monotonic_ns(), proc_pid.schedstat(self.service.pid)

    def jobs(self) -> int:
        """How many the service has done."""
        (number,) = struct.unpack("=Q", self._counter.read_bytes())
        return int(number)

    def check_alone(self, pace: Pace, *, stopped: bool = False) -> None:
        """See that nobody but the packets kept the service from its CPU since the last time.

        :raises RuntimeError: somebody did, or it was billed for too little; see `Pace`.
        """
        now = time.monotonic_ns(), proc_pid.schedstat(self.service.pid)
        (then, before), (at, after), self._checked = self._checked, now, now
        if not before or not after:
            return
        waited = (after.run_delay_ns - before.run_delay_ns) / (at - then)
        billed = (after.cpu_ns - before.cpu_ns) / (at - then)
        if at - then < LEAST_CHECKED_NS:  # the bill is a tick behind
            billed = 1.0
        if waited > pace.most_waiting or (billed < pace.least_billed and not stopped):
            raise RuntimeError(
                "this host is too busy for the tutorial: try again when it is quiet.\n"
                f"The service was billed {billed:.1%} of its CPU and waited {waited:.1%} of the "
                f"time; others want CPU {self.cpu}, too"
            )

    def steer(self, cpu: int) -> None:
        """Hand the packets to this CPU, as the fix does by hand."""
        with Device(self.bed.receiver, DEVICE) as device:
            device.write(MASK_FILE, cpus.format_mask([cpu]))

    @contextmanager
    def traffic(self, cpu: int) -> Iterator[None]:
        """The neighbour's packets, handled on this CPU."""
        self.steer(cpu)
        with self.bed.udp(PPS, cpu=self.sender_cpu, burst=BURST, cgroup=self.cgroup) as flow:
            recorded.wait_for(flow.sent)
            self.flow = flow
            try:
                yield
            finally:
                self.flow = None

    def window(self, seconds: float) -> Window:
        """What is done while this process sleeps."""
        start, jobs, sent = time.monotonic(), self.jobs(), self.flow.sent() if self.flow else 0
        time.sleep(seconds)
        jobs, sent = self.jobs() - jobs, (self.flow.sent() if self.flow else 0) - sent
        wall = time.monotonic() - start
        return Window(jobs / wall, sent / wall)

    def log_lines(self, seconds: int) -> str:
        """What the service itself says of the next seconds."""
        already = len(self.log.read_text().splitlines())
        recorded.wait_for(lambda: len(self.log.read_text().splitlines()) >= already + 1 + seconds)
        return f"# tail -n {seconds} signer.log\n" + "".join(
            self.log.read_text().splitlines(keepends=True)[-seconds:]
        )


def story(stage: Stage, pace: Pace) -> Iterator[tuple[str, str]]:
    """The steps, in order: names of the page's blocks, and what the commands print."""
    pid, seconds = stage.service.pid, pace.seconds
    recorded.wait_for(stage.jobs)
    yield "before", stage.log_lines(seconds)
    with stage.traffic(stage.cpu):
        yield "log", stage.log_lines(seconds)
        top = f"top -b -d {seconds} -n 2 -p {pid} | tail -n 2"
        yield "top", recorded.command(["sh", "-c", top], top)
        yield "stat", recorded.nettax("stat", "-d", seconds, "-n", 4)
        pipe = f"nettax stat -p {pid} -d {seconds} --json | python3 triggers.py"
        yield "triggers", _triggers(pid, seconds, pipe)
        enter = f"ip netns exec {stage.bed.receiver}"
        look = f"{enter} cat /sys/class/net/{DEVICE}/{MASK_FILE}"
        yield "mask", recorded.command(look.split())
        os.kill(pid, signal.SIGSTOP)
        try:
            canary = recorded.nettax("canary", "-C", stage.cpu, "-d", seconds, cgroup=stage.cgroup)
            yield "canary", f"# kill -STOP {pid}\n{canary}# kill -CONT {pid}"
        finally:
            os.kill(pid, signal.SIGCONT)
        mask = cpus.format_mask([stage.sender_cpu])
        fix = f"{enter} sh -c 'echo {mask} > /sys/class/net/{DEVICE}/{MASK_FILE}'"
        yield "fix", recorded.command(["sh", "-c", fix], fix)
        yield "after", recorded.nettax("stat", "-d", seconds, "-n", 4)


def _triggers(pid: int, seconds: int, shown: str) -> str:
    done = recorded.command(
        ["sh", "-c", f'{sys.executable} -m nettax stat -p {pid} -d {seconds} --json | '
         f'{sys.executable} -c "$0"', TRIGGERS], shown)  # fmt: skip
    return f"# cat triggers.py\n{TRIGGERS}\n{done}"


@dataclass(frozen=True)
class Gain:
    """The fix, measured."""

    runs: tuple[Run[Window], ...]

    def of(self, condition: str, get: Callable[[Run[Window]], float]) -> Estimate:
        """The median over a condition's runs."""
        return median([get(run) for run in self.runs if run.condition == condition])

    def speed(self, condition: str) -> Estimate:
        """Jobs, over those of the idle windows on either side."""
        mine = [run for run in self.runs if run.condition == condition]
        idle = [(run.before.jobs_per_s + run.after.jobs_per_s) / 2 for run in mine]
        return paired_ratio([run.value.jobs_per_s for run in mine], idle)

    @property
    def ratio(self) -> Estimate:
        """Jobs with the fix, over those without it in the same round."""
        by = {(run.condition, run.round): run.value.jobs_per_s for run in self.runs}
        rounds = sorted({run.round for run in self.runs})
        return paired_ratio([by["after", r] for r in rounds], [by["before", r] for r in rounds])

    def text(self, window_s: float) -> str:
        """For the page."""
        lines = [f"{'steered':18}{'jobs/s':>8}{'of undisturbed':>24}{'packets/s':>11}"]
        for condition, name in (("before", "to its CPU"), ("after", "to the other CPU")):
            jobs = self.of(condition, lambda run: run.value.jobs_per_s)
            packets = self.of(condition, lambda run: run.value.packets_per_s)
            speed = self.speed(condition)
            share = f"{speed.median:.3f} [{speed.low:.3f}, {speed.high:.3f}]"
            lines.append(f"{name:18}{jobs.median:8.0f}{share:>24}{packets.median:11.0f}")
        gain = self.ratio
        return "\n".join(
            (
                *lines,
                "",
                f"The fix makes it {gain.median:.2f} times as fast "
                f"[{gain.low:.2f}, {gain.high:.2f}]: medians of {gain.n} rounds of "
                f"{window_s:g} s\neach, in random order, with idle windows between them; "
                f"intervals at {100 * gain.confidence:.0f} %.",
            )
        )


def measure(stage: Stage, pace: Pace, seed: int | None = None) -> Gain:
    """Both steerings in turns, each between two windows without traffic."""

    def condition(cpu: int) -> Callable[[], AbstractContextManager[None]]:
        return lambda: stage.traffic(cpu)

    def window() -> Window:
        stage.check_alone(pace)
        return stage.window(pace.window_s)

    conditions = {"before": condition(stage.cpu), "after": condition(stage.sender_cpu)}
    schedule = Schedule.draw(conditions, pace.rounds, seed)
    return Gain(tuple(interleave(schedule, conditions, window)))


def run(pace: Pace) -> tuple[dict[str, str], Gain]:
    """All of it; what the commands printed, by the names of the page's blocks."""
    outputs = {}
    with (
        off(cpus.online()[-1]),  # this script, and the commands that it runs
        tempfile.TemporaryDirectory() as directory,
        Host() as host,
        Testbed(host) as bed,
    ):
        stage = Stage(host, bed, Path(directory))
        for name, output in story(stage, pace):
            outputs[name] = output
            stage.check_alone(pace, stopped=name == "canary")
        gain = measure(stage, pace)
    outputs["gain"] = f"# python3 docs/tutorial/why_slow.py | tail -n 6\n{gain.text(pace.window_s)}"
    return outputs, gain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="ten seconds, with wide intervals")
    parser.add_argument("--write", action="store_true", help="put the outputs into the page")
    options = parser.parse_args()
    if options.short and options.write:
        parser.error("the page is written of whole runs: leave out --short or --write")
    try:
        if options.write:
            recorded.wait_for_quiet()
        outputs, _ = run(SHORT if options.short else Pace())
    except (RuntimeError, TimeoutError) as error:
        sys.exit(f"{error}.\nThe page is as it was" if options.write else f"{error}")
    print("\n\n".join(text.rstrip() for text in outputs.values()))
    if options.write:
        recorded.write(HERE / "index.md", outputs)


if __name__ == "__main__":
    main()
