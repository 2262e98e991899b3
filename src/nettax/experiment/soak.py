"""A soak: a steady load and rude clients for hours, beside the server's sizes and errors."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from nettax.errors import NettaxError, Unsupported, UsageError
from nettax.experiment import soak_journal
from nettax.experiment.load_target import found, started
from nettax.experiment.server_log import ServerLog
from nettax.experiment.soak_errors import MOST_AT_ONCE, LogErrors
from nettax.experiment.soak_journal import Journal, Plan, Sample
from nettax.host import Host
from nettax.kernel import net_counters, proc_pid
from nettax.kernel.files import list_names
from nettax.kernel.memory import process_memory
from nettax.load.open_loop import OpenLoop, OpenLoopReading, http_request
from nettax.load.rude import Rude, RudeKind, RudeReading
from nettax.load.socket_errors import SocketErrors
from nettax.servers import Model, Protocol, ServerStats, serve
from nettax.servers.server import MODELS

__all__ = ["soak"]

DRAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class _Watched:
    """A server, as a soak sees it."""

    host: str
    port: int
    processes: Callable[[], list[int]]
    errors: Callable[[], dict[str, int]]
    """Since its start, "operation errno"."""
    last_words: Callable[[], str]
    errors_by: str
    """How these errors are known."""


def soak(
    plan: Plan,
    path: Path,
    about: Mapping[str, Any],
    *,
    resume: bool = False,
    wait: Callable[[float], bool],
    progress: Callable[[float, float], None] = lambda done, of: None,
) -> str:
    """Run a plan, or what is left of one, and return why it ended: `done`, or `stopped`.

    :param path: of the journal; see `nettax.experiment.soak_journal`.
    :param wait: waits so many seconds; True: the run is to end now.
    :raises UsageError: the plan makes no sense here.
    :raises NettaxError: the server or the generator failed; the journal says so too.
    """
    before = soak_journal.read(path) if resume else None
    done_s = before.elapsed_s if before else 0.0
    if before and done_s >= plan.duration_s:
        raise UsageError(f"{path} has run its {plan.duration_s:g} s: there is nothing to resume.")
    with _server(plan) as server:
        journal = Journal(path, plan, {**about, "errors_by": server.errors_by}, resume=resume)
        try:
            segment = before.segments if before else 0
            why = _run(plan, server, journal, segment, done_s, wait, progress)
        except NettaxError as error:
            journal.end(str(error))
            raise
        journal.end(why)
    return why


def _run(
    plan: Plan,
    server: _Watched,
    journal: Journal,
    segment: int,
    done_s: float,
    wait: Callable[[float], bool],
    progress: Callable[[float, float], None],
) -> str:
    request = _request(plan)
    left_s = plan.duration_s - done_s
    rates = cast(dict[RudeKind, float], plan.rude)
    loop = OpenLoop(
        server.host,
        server.port,
        request,
        protocol="http" if plan.protocol == "http" else "echo",
        rate=plan.rate,
        duration_s=left_s + plan.interval_s,  # it is ended when the time is over
        connections=plan.connections,
        drain_s=DRAIN_S,
    )
    with loop, Rude(server.host, server.port, request, rates, stall_s=plan.stall_s) as rude:
        start = time.monotonic()
        taker = _Taker(server, loop, rude, segment)
        stopped = False
        number = 0
        while not stopped and (ran := time.monotonic() - start) < left_s:
            number += 1
            progress(done_s + ran, plan.duration_s)
            due = min(start + number * plan.interval_s, start + left_s)
            stopped = wait(max(0.0, due - time.monotonic()))
            journal.sample(taker.take())
            if not server.processes():
                said = server.last_words()
                raise NettaxError(
                    f"the server ended after {time.monotonic() - start:.0f} s"
                    f"{': ' + said if said else ''}."
                )
            if not loop.running():
                raise NettaxError("the generator ended before its time.")
    return "stopped" if stopped else "done"


class _Taker:
    """Takes samples: each is what came since the last."""

    def __init__(self, server: _Watched, loop: OpenLoop, rude: Rude, segment: int) -> None:
        self._server, self._loop, self._rude, self._segment = server, loop, rude, segment
        self._last = self._now()

    def _now(self) -> tuple[int, OpenLoopReading, RudeReading, dict[str, int], int]:
        cpu = sum(
            stat.billed_ns for pid in self._server.processes() if (stat := proc_pid.task_stat(pid))
        )
        return (
            time.monotonic_ns(),
            self._loop.read(),
            self._rude.read(),
            self._server.errors(),
            cpu,
        )

    def take(self) -> Sample:
        then, now = self._last, self._now()
        self._last = now
        load = now[1] - then[1]
        pids = self._server.processes()
        sizes = [size for pid in pids if (size := process_memory(pid))]
        fds = [count for pid in pids if (count := _fds(pid)) is not None]
        rude = _less(now[2].done, then[2].done)
        first = pids[0] if pids else "self"
        return Sample(
            segment=self._segment,
            wall_ns=now[0] - then[0],
            rss_bytes=sum(size.resident_bytes for size in sizes) if sizes else None,
            fds=sum(fds) if fds else None,
            threads=sum(len(proc_pid.threads(pid)) for pid in pids),
            server_cpu_ns=max(0, now[4] - then[4]),
            time_wait=_time_wait(first),
            opened=load.connects + sum(rude.values()),
            due=load.due,
            answered=load.answered,
            unanswered=load.unanswered,
            statuses={f"{digit}xx": count for digit, count in load.statuses.items()},
            latency={str(bucket): count for bucket, count in load.latency.counts.items()},
            rude=rude,
            client_errors={" ".join(key): count for key, count in load.errors.items()},
            rude_errors=_less(_joined(now[2].errors), _joined(then[2].errors)),
            server_errors=_less(now[3], then[3]),
        )


def _less(now: Mapping[str, int], then: Mapping[str, int]) -> dict[str, int]:
    return {key: more for key, n in now.items() if (more := n - then.get(key, 0))}


def _joined(counts: Mapping[tuple[str, str], int]) -> dict[str, int]:
    return {" ".join(key): count for key, count in counts.items()}


def _fds(pid: int) -> int | None:
    """Descriptors that a process has; None where it has ended, or may not be looked at."""
    with suppress(OSError):
        return len(list_names(f"/proc/{pid}/fd"))
    return None


def _time_wait(pid: int | str) -> int:
    with suppress(OSError):
        return net_counters.sockstat(pid).get("TCP.tw", 0)
    return 0


def _request(plan: Plan) -> bytes:
    if plan.protocol == "echo":
        return b"n" * (plan.message_bytes - 1) + b"\n"
    where = urlsplit(plan.target)
    target = (where.path or "/") + (f"?{where.query}" if where.query else "")
    return http_request(target if where.scheme else "/", where.netloc or "127.0.0.1")


@contextmanager
def _server(plan: Plan) -> Iterator[_Watched]:
    if plan.target in MODELS:
        with _reference(plan) as server:
            yield server
        return
    where = urlsplit(plan.target)
    host, port = where.hostname, where.port or (80 if where.scheme == "http" else None)
    if where.scheme not in ("http", "echo") or not host or not port:
        raise UsageError(
            f"{plan.target!r} is no target: give http://HOST:PORT/PATH, echo://HOST:PORT, or a "
            f"reference server: {', '.join(MODELS)}."
        )
    with ExitStack() as stack:
        log = LogErrors(Path(os.devnull))
        if plan.server:
            path = stack.enter_context(ServerLog(2 * MOST_AT_ONCE)).path
            log = LogErrors(path)
            # What a server prints of its errors is all that is known of them from outside.
            shell = ["sh", "-c", 'exec "$@" >>"$0" 2>&1', str(path), *plan.server]
            there = stack.enter_context(started(stack.enter_context(Host()), shell, port))
        else:
            there = found(port, pid=plan.pid)
        try:
            traced = stack.enter_context(SocketErrors())
            ways = ["send and receive, by the kernel's tracepoints"]
        except (Unsupported, OSError):
            traced, ways = None, []
        if plan.server:
            ways.append("the words that it prints")

        def processes() -> list[int]:
            return _processes(there.cgroup, there.processes())

        seen: set[int] = set()

        def errors() -> dict[str, int]:
            found = {f"log {name}": count for name, count in log.read().items()}
            if traced:
                seen.update(processes())
                found |= _joined(traced.read(seen))
            return found

        told = " and ".join(ways) or "nothing: it runs already, and BPF may not be used"
        yield _Watched(host, port, processes, errors, lambda: log.last, told)


def _processes(cgroup: Path | None, others: frozenset[int]) -> list[int]:
    if cgroup is None:
        return sorted(pid for pid in others if proc_pid.task_stat(pid))
    with suppress(OSError):
        return [int(word) for word in (cgroup / "cgroup.procs").read_text().split()]
    return []


@contextmanager
def _reference(plan: Plan) -> Iterator[_Watched]:
    model, protocol = cast(Model, plan.target), cast(Protocol, plan.protocol)
    with serve(model, protocol=protocol, **plan.options) as server:

        def errors() -> dict[str, int]:
            return _counted(server.stats())

        yield _Watched(
            "127.0.0.1",
            server.port,
            lambda: [server.pid] if server.alive() else [],
            errors,
            lambda: "",
            "its own counts",
        )


def _counted(stats: ServerStats) -> dict[str, int]:
    found = _joined(stats.errors)
    for name, count in (("idle connection closed", stats.idle), ("answer 4xx", stats.refused)):
        if count:
            found[name] = count
    return found
