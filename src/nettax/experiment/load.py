"""One run of a load tool on a server: what it did, what it cost whom, and what the kernel counted.

The generator runs in a cgroup of its own, and so does a server that was started for the run. The
ledger runs beside them. Its window begins just before the generator starts and ends when it has;
shares of time are of the time that the tool says it ran.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired

from nettax.errors import NettaxError
from nettax.experiment import load_kmod
from nettax.experiment.load_sides import Elsewhere, Side, elsewhere, side
from nettax.experiment.load_target import Target
from nettax.experiment.load_watch import Sockets, Watch
from nettax.host import Host
from nettax.kernel import cpu_stat, net_counters, softnet
from nettax.kernel.accounting import Accounting
from nettax.ledger import Charges, CpuShare, Events, Interval, Ledger, OwnCost, TaskCharges
from nettax.load.tool import Job, Result, Said, Tool

__all__ = ["LoadRun", "run"]

PATIENCE_S = 20
"""That a tool may take beyond its duration: a lost SYN is sent again after 1, 3, 7 s."""
STEP_S = 0.05


@dataclass(frozen=True, slots=True)
class LoadRun:
    """All that was measured of one run."""

    tool: str
    version: str
    job: Job
    result: Result
    server: Side
    generator: Side
    elsewhere: Elsewhere
    sockets: Sockets
    counters: Mapping[str, int]
    """Growth of the server's namespace's counters, by ``TcpExt.ListenOverflows``."""
    softnet: Mapping[str, int]
    """Growth of the host's, over all CPUs."""
    time_wait: tuple[int, int]
    """Sockets in TIME-WAIT before and after."""
    cpus: tuple[CpuShare, ...]
    wall_ns: int
    """The window of the ledger."""
    events: Events
    own_cost: OwnCost
    accounting: Accounting
    parts: Mapping[str, Side] = field(default_factory=dict)
    """Of a server in the kernel: by the function that ran a thread or a work item."""

    @property
    def opened(self) -> int:
        """Connections that the server's namespace took, by the kernel's count."""
        return self.counters["Tcp.PassiveOpens"]


def run(
    host: Host,
    tool: Tool,
    job: Job,
    target: Target,
    *,
    cpus: Iterable[int] | None = None,
    netns: str | None = None,
    prefix: Sequence[str] = (),
    progress: Callable[[float], None] = lambda seconds: None,
) -> LoadRun:
    """Run a tool once on a server that listens.

    :param cpus: where the generator may run.
    :param netns: the namespace in which it runs.
    :param prefix: a command that becomes the tool: ``taskset 1``.
    :param progress: is told now and then how many seconds have passed.
    :raises UsageError: the tool is not installed, or cannot do the job.
    :raises MissingPrivilege: the ledger may not be loaded.
    :raises NettaxError: the tool failed, did not end, or printed what is not understood.
    """
    version = tool.tell_version()
    job = replace(job, keep_alive=job.keep_alive and tool.keeps)
    with host.temporarily(), tempfile.TemporaryDirectory(prefix="nettax-load-") as scratch:
        directory = Path(scratch)
        command = [*prefix, tool.find(), *tool.command(job, directory)]
        cgroup = host.cgroup("generator")
        with (
            (directory / "stdout").open("wb") as out,
            (directory / "stderr").open("wb") as err,
            Ledger(by_cgroup=True, functions=target.functions) as ledger,
        ):
            before = _Counts.take(target)
            child = host.spawn(
                command,
                cpus=cpus,
                netns=netns,
                cgroup=cgroup,
                stdin=PIPE,
                stdout=out,
                stderr=err,
            )
            with Watch(target, child.pid) as watch:
                _follow(child, job, ledger, watch, progress, tool, directory)
            interval = ledger.finish() - ledger.began
            after = _Counts.take(target)
            generator_usage = cpu_stat.usage(cgroup)
            _let_go(child, tool)
        result = _result(tool, job, _said(directory, tool), child.returncode)
        generator_id = cgroup.stat().st_ino
    if target.functions:
        of_server = [task for task in interval.charges if task.followed]
        by_function = load_kmod.parts(interval, target.functions)
        charges = Charges.total(by_function.values())
    else:
        of_server = _members(interval, target.cgroup_id, before.processes | after.processes)
        by_function = {}
        charges = _charges(interval, target.cgroup_id, of_server)
    of_generator = _members(interval, generator_id, frozenset())
    both = [*of_server, *of_generator]
    apart = bool(interval.accounting.interrupts_apart)
    usage, placed = after.usage - before.usage, watch.placed("server")
    server = side(of_server, charges, usage, placed, result.elapsed_ns, apart)
    generator = side(
        of_generator,
        _charges(interval, generator_id, of_generator),
        generator_usage,
        watch.placed("generator"),
        result.elapsed_ns,
        apart,
    )
    return LoadRun(
        tool=tool.name,
        version=version,
        job=job,
        result=result,
        server=server,
        generator=generator,
        elsewhere=elsewhere(interval, both, server, generator),
        sockets=watch.sockets,
        counters=net_counters.difference(after.counters, before.counters),
        softnet=net_counters.difference(after.softnet, before.softnet),
        time_wait=(before.time_wait, after.time_wait),
        cpus=interval.cpus,
        wall_ns=interval.wall_ns,
        events=interval.events,
        own_cost=interval.own_cost,
        accounting=interval.accounting,
        parts={
            name: side((), charges, usage, placed, result.elapsed_ns, apart)
            for name, charges in by_function.items()
        },
    )


@dataclass(frozen=True, slots=True)
class _Counts:
    """What is read before and after."""

    usage: cpu_stat.CpuUsage
    counters: Mapping[str, int]
    softnet: Mapping[str, int]
    time_wait: int
    processes: frozenset[int]

    @classmethod
    def take(cls, target: Target) -> _Counts:
        try:
            counters = net_counters.counters(target.pid)
            sockets = net_counters.sockstat(target.pid)
            usage = target.usage()
        except OSError:
            raise NettaxError(f"the server (pid {target.pid}) has ended.") from None
        rows = softnet.softnet_stat().values()
        return cls(
            usage,
            counters,
            {
                name: sum(getattr(row, name) for row in rows)
                for name in ("processed", "dropped", "time_squeeze")
            },
            sockets.get("TCP.tw", 0),
            target.processes(),
        )


def _follow(
    child: Popen[bytes],
    job: Job,
    ledger: Ledger,
    watch: Watch,
    progress: Callable[[float], None],
    tool: Tool,
    directory: Path,
) -> None:
    """Wait until the load is over; meanwhile look at the server, and make room in the ledger."""
    begun = time.monotonic()
    while True:
        try:
            child.wait(STEP_S)
        except TimeoutExpired:
            passed = time.monotonic() - begun
            if tool.over and _is_over(tool, job, directory / "stdout"):
                return
            if passed > job.duration_s + PATIENCE_S:
                raise NettaxError(
                    f"{tool.name} has not ended {PATIENCE_S} s after its {job.duration_s} s: does "
                    "the server answer?"
                ) from None
            watch.look()
            ledger.reap()
            progress(passed)
        else:
            return


def _is_over(tool: Tool, job: Job, out: Path) -> bool:
    speakers = min(job.threads, job.connections) if tool.over_by_thread else 1
    return out.read_text(errors="replace").count(tool.over) >= speakers


def _let_go(child: Popen[bytes], tool: Tool) -> None:
    """End what it reads, for which one waits that tells its figures only now."""
    try:
        child.communicate(timeout=tool.ends_within_s or PATIENCE_S)
    except TimeoutExpired:
        if tool.ends_within_s:
            child.kill()
            child.wait()
            return
        raise NettaxError(f"{tool.name} does not end, though its load is over.") from None


def _result(tool: Tool, job: Job, said: Said, code: int) -> Result:
    if code not in tool.fine:
        raise NettaxError(f"{tool.name} failed: {_reason(said, code)}")
    result = tool.parse(job, said)
    if not result.elapsed_ns or not result.done:
        told = ", ".join(f"{kind} {count}" for kind, count in result.errors.items())
        raise NettaxError(
            f"{tool.name} had no answer in {job.duration_s} s (its errors: {told or 'none'}): "
            f"is it a server of {job.kind} that listens at port {job.port}?"
        )
    return result


def _members(
    interval: Interval, cgroup_id: int | None, processes: frozenset[int]
) -> list[TaskCharges]:
    """The tasks of a side: those in its cgroup, or of its processes."""
    if cgroup_id is None:
        return [task for task in interval.charges if task.tgid in processes]
    return [task for task in interval.charges if task.cgroup_id == cgroup_id]


def _charges(interval: Interval, cgroup_id: int | None, tasks: Sequence[TaskCharges]) -> Charges:
    """What a side was charged: as the kernel added it up for a cgroup, else over tasks."""
    if cgroup_id is None:
        return Charges.total(task.charges for task in tasks)
    return interval.cgroups.get(cgroup_id, Charges())


def _said(directory: Path, tool: Tool) -> Said:
    def text(name: str) -> str:
        path = directory / name
        return path.read_text(errors="replace") if path.exists() else ""

    return Said(text("stdout"), text("stderr"), {name: text(name) for name in tool.files})


def _reason(said: Said, code: int) -> str:
    lines = (said.err.strip() or said.out.strip()).splitlines()
    last = lines[-1] if lines else "it printed nothing"
    return f"{last} (exit status {code})" if code else last
