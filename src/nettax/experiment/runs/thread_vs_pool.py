"""A thread for each connection against a pool: in the kernel in instructions, outside natively.

In the kernel: the same server with a kthread for each connection, and with a work item, in a guest
that counts. Outside: the reference servers, loaded on this host, a CPU for each side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from nettax.errors import UsageError
from nettax.experiment import exact
from nettax.experiment.estimate import Estimate, median
from nettax.experiment.exact_setting import setting
from nettax.experiment.load import LoadRun
from nettax.experiment.load import run as load
from nettax.experiment.load_target import own_network, started
from nettax.experiment.runs.guests import INSTRUCTION_NS, asked, counting, serving
from nettax.experiment.runs.outcome import Bars, Outcome, Table, Value
from nettax.experiment.schedule import Schedule
from nettax.functions.latency import Latency
from nettax.host import Host
from nettax.kernel import cpus
from nettax.load.tool import Job
from nettax.load.tools import tools
from nettax.servers.server import MODELS, Model, arguments

__all__ = ["run"]

CHAINS = {"kthread": "kthread", "workqueue": "workqueue"}
PORT = 8080
CONNECTIONS = 16
POOL = 4  # threads
SHOWN = 10  # functions
UNTOLD = (
    "Instructions of one emulated CPU: neither what caches and several CPUs would add, nor true "
    "time; they include the client's. What a process's server costs is true time of this host, and "
    "compares those servers with one another, not with the kernel's."
)
Say = Callable[[str], None]


def run(smoke: bool, progress: Say) -> Outcome:
    """Both halves.

    :raises UsageError: fewer than two CPUs are online.
    :raises NettaxError: as the lab's guests and `nettax.experiment.load.run` do.
    """
    online = cpus.online()
    if len(online) < 2:
        raise UsageError("thread-vs-pool takes two CPUs, the tool's and the server's.")
    *_, counted = exact.compare(
        setting("mode=kthread"),
        setting("mode=workqueue"),
        operations=("connection", "round-trip"),
        count=100 if smoke else 500,
        repeat=3 if smoke else 4,
        progress=progress,
    )
    spawned = _spawned(80 if smoke else 400, progress)
    runs, forks = _outside(online[0], online[-1], 1 if smoke else 3, 1 if smoke else 2, progress)
    return Outcome(
        tables=(
            _instructions(counted),
            _functions(counted[0]),
            _delays(spawned, forks),
            _costs(runs),
        ),
        plots=(
            Bars(
                "instructions per connection",
                (
                    ("kthread", counted[0].total.mean_a),
                    ("workqueue", counted[0].total.mean_b),
                ),
            ),
            Bars(
                "µs of the server's CPU a request, each on a connection of its own",
                tuple((model, _us(runs[model, False]).median) for model in MODELS),
            ),
        ),
        meaning=_meaning(counted, spawned, runs),
        untold=UNTOLD,
        raw={
            "instructions": [asdict(one) for one in counted],
            "spawn": spawned,
            "requests": [
                {
                    "model": model,
                    "keep_alive": kept,
                    "rate": [r.result.rate for r in found],
                    "server_us": [_each_us(r) for r in found],
                }
                for (model, kept), found in runs.items()
            ],
        },
    )


def _spawned(count: int, progress: Say) -> dict[str, Any]:
    """How long until somebody runs a connection, by mode and by how many came at once."""
    found = {}
    with counting(progress=progress) as vm:
        for mode, chain in CHAINS.items():
            progress(f"who begins a connection, and when: {mode}")
            with serving(vm, f"mode={mode}"):
                found[mode] = asked(vm, "in_guest", "spawn", chain, count)
    return found


def _outside(
    client: int, server: int, rounds: int, seconds: int, progress: Say
) -> tuple[dict[tuple[Model, bool], list[LoadRun]], tuple[int, int, int]]:
    """Runs by model and whether connections are kept; p50, p99 and most of a thread's fork."""
    conditions = {
        f"{model} {'kept' if kept else 'closed'}": (model, kept)
        for model in MODELS
        for kept in (True, False)
    }
    runs: dict[tuple[Model, bool], list[LoadRun]] = {key: [] for key in conditions.values()}
    (tool,) = tools("http", "nettax")
    with Host() as host:
        netns = own_network(host)

        def once(model: Model, kept: bool) -> LoadRun:
            words = arguments(model, port=PORT, threads=POOL if model == "pool" else 1)
            job = Job("http", "127.0.0.1", PORT, "/", CONNECTIONS, 1, seconds, kept, "tcp")
            with started(host, words, PORT, cpus=[server], netns=netns) as target:
                return load(host, tool, job, target, cpus=[client], netns=netns)

        for number, names in enumerate(Schedule.draw(conditions, rounds).rounds):
            for name in names:
                progress(f"loading reference servers, round {number + 1} of {rounds}: {name}")
                runs[conditions[name]].append(once(*conditions[name]))
        with Latency(("fork",)) as latency:
            once("threads", False)
            forks = latency.read().of("fork")
    return runs, (forks.quantile(0.5), forks.quantile(0.99), forks.most_ns)


def _instructions(counted: list[exact.Compared]) -> Table:
    return Table(
        "in the kernel: instructions",
        ("per", "kthread", "workqueue", "ratio", "repeats within %"),
        tuple(
            (
                one.operation,
                round(one.total.mean_a),
                round(one.total.mean_b),
                one.total.ratio if one.total.differs else "no difference",
                100 * one.total.spread,
            )
            for one in counted
        ),
    )


def _functions(connection: exact.Compared) -> Table:
    return Table(
        "functions that differ most, in instructions per connection",
        ("function", "kthread", "workqueue", "more"),
        tuple(
            (one.name, round(one.mean_a), round(one.mean_b), round(one.difference))
            for one in connection.functions[:SHOWN]
        ),
    )


def _delays(spawned: dict[str, Any], forks: tuple[int, int, int]) -> Table:
    rows: list[tuple[Value, ...]] = [
        (
            f"{mode}, {together} at once",
            "instructions",
            *(round(times[name] / INSTRUCTION_NS) for name in ("p50_ns", "p99_ns", "most_ns")),
        )
        for mode, by_number in spawned.items()
        for together, times in by_number.items()
    ]
    rows.append(("thread of a process", "µs", *(ns / 1e3 for ns in forks)))
    return Table(
        "until somebody runs a connection: a thread made, an item begun",
        ("who", "in", "p50", "p99", "most"),
        tuple(rows),
    )


def _each_us(run: LoadRun) -> float:
    return run.server.billed_ns / 1e3 / run.result.done


def _us(runs: list[LoadRun]) -> Estimate:
    return median([_each_us(run) for run in runs])


def _costs(runs: dict[tuple[Model, bool], list[LoadRun]]) -> Table:
    return Table(
        f"outside: {CONNECTIONS} connections, a CPU for each side; µs of the server's CPU a "
        "request",
        ("server", "req/s kept", "µs kept", "req/s closed", "µs closed"),
        tuple(
            (
                model if model != "pool" else f"pool of {POOL}",
                *(
                    value
                    for kept in (True, False)
                    for value in (
                        median([r.result.rate for r in runs[model, kept]]),
                        _us(runs[model, kept]),
                    )
                ),
            )
            for model in MODELS
        ),
    )


def _meaning(
    counted: list[exact.Compared],
    spawned: dict[str, Any],
    runs: dict[tuple[Model, bool], list[LoadRun]],
) -> str:
    connection, talk = counted
    more = f"{talk.total.ratio:.2f} times as much" if talk.total.differs else "as much"
    alone, together = (spawned["kthread"][number]["p50_ns"] for number in ("1", "8"))
    threads, pool, epoll = (
        _us(runs[model, False]).median for model in ("threads", "pool", "epoll")
    )
    dearer = (
        f"{connection.total.ratio:.2f} times as much" if connection.total.differs else "as much"
    )
    return (
        f"In the kernel a connection costs {dearer} with a thread of its own as with a work item, "
        f"and a round trip on it {more}. Threads are made by kthreadd, one after the other: of "
        f"eight that are asked for at once the median one takes {together / alone:.1f} times as "
        "long as one alone. Outside, a request on a connection of its own takes "
        f"{threads:.1f} µs of CPU with a thread for each, {pool:.1f} with a pool, {epoll:.1f} with "
        "epoll."
    )
