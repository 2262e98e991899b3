"""What a kernel thread costs to make: here, in true time, and in the lab, in instructions.

The threads are those of threaded NAPI (`nettax.experiment.runs.kthreads`), which any kernel makes
at will. Here their making is followed by tracepoints: on the host as it is, beside a busy process
on each CPU, and under packets, in turns. In the lab also by the function that makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict
from typing import Any

from nettax.canary import Canary
from nettax.experiment.estimate import median
from nettax.experiment.runs.guests import INSTRUCTION_NS, asked, counting
from nettax.experiment.runs.kthreads import QUEUES, times_of
from nettax.experiment.runs.outcome import Bars, Outcome, Table, Value
from nettax.experiment.schedule import Schedule
from nettax.functions.chains import CHAINS
from nettax.functions.histogram import Histogram
from nettax.functions.latency import Doubts, Latency
from nettax.host import Host
from nettax.kernel import cpus
from nettax.lab.testbed import Testbed

__all__ = ["natively", "run"]

FUNCTION = "kthread_create_on_node"
KERNELS = ("6.1", "6.12")
WHOLE, *PARTS = CHAINS["kthread"].stages
MOSTLY_NS = 200_000
PPS = 100_000
UNTOLD = (
    "On this host the times hold the tracepoints' own cost, well below 1 µs, and are this "
    "machine's. The lab's are instructions of one emulated CPU: what cache misses, a second CPU "
    "and its waking add is not in them, nor are µs. The function's hold its kprobe's own, which "
    "the chain's do not."
)
Say = Callable[[str], None]
Native = dict[str, list[dict[str, Histogram]]]
"""By condition, for each round, the times of each stage."""


def _span(ns: int) -> str:
    return f"{ns / 1e3:.0f} µs" if ns < 1_000_000 else f"{ns / 1e6:.1f} ms"


def run(smoke: bool, progress: Say) -> Outcome:
    """Both halves.

    :raises NettaxError: as `Latency`, `Testbed` and the lab's guests do.
    """
    native, doubts = natively(2 if smoke else 16, progress)
    counted = {}
    for kernel in KERNELS[: 1 if smoke else None]:
        progress(f"kernel threads made in a guest with Linux {kernel}")
        with counting(kernel, progress=progress) as vm:
            counted[kernel] = asked(vm, "in_guest_kthreads", FUNCTION, 1 if smoke else 4)
    return Outcome(
        tables=(_native(native), _stages(native), _counted(counted)),
        plots=tuple(_plot(name, _all(rounds, WHOLE)) for name, rounds in native.items()),
        meaning=_meaning(native, doubts, counted),
        untold=UNTOLD,
        raw={
            "made": {name: QUEUES * len(rounds) for name, rounds in native.items()},
            "native": {
                name: {stage: _raw(_all(rounds, stage)) for stage in (WHOLE, *PARTS)}
                for name, rounds in native.items()
            },
            "doubts": asdict(doubts),
            "lab": counted,
        },
    )


def natively(rounds: int, progress: Say) -> tuple[Native, Doubts]:
    """Threads made on this host, in each condition in turns; and what was not followed to its end.

    :raises NettaxError: as `Latency` and `Testbed` do.
    """
    with Host() as host:
        conditions: dict[str, Callable[[], AbstractContextManager[object]]] = {
            "as it is": nullcontext,
            "beside a busy process on each CPU": _busy,
            f"beside {PPS:,} packets/s": lambda: _packets(host),
        }
        found: Native = {name: [] for name in conditions}
        with Latency(("kthread",), by="pid") as latency:
            for number, names in enumerate(Schedule.draw(conditions, rounds).rounds):
                progress(f"kernel threads made on this host, round {number + 1} of {rounds}")
                for name in names:
                    with conditions[name]():
                        found[name].append(times_of(host, latency))
            return found, latency.read().doubts


@contextmanager
def _busy() -> Iterator[None]:
    with ExitStack() as stack:
        for cpu in cpus.online():
            stack.enter_context(Canary(cpu))
        yield


@contextmanager
def _packets(host: Host) -> Iterator[None]:
    """From the first CPU to the last: one spins between its packets, one takes interrupts."""
    online = cpus.online()
    with Testbed(host, steer=online[-1]) as testbed, testbed.udp(pps=PPS, cpu=online[0]):
        yield


def _all(rounds: list[dict[str, Histogram]], stage: str) -> Histogram:
    return sum((each.get(stage, Histogram()) for each in rounds), Histogram())


def _mostly(times: Histogram) -> float:
    """The share that is within `MOSTLY_NS`, in per cent."""
    within = sum(slot.count for slot in times if slot.high_ns <= MOSTLY_NS)
    return 100 * within / times.count if times.count else 0.0


def _native(native: Native) -> Table:
    rows: list[tuple[Value, ...]] = []
    for name, rounds in native.items():
        times = _all(rounds, WHOLE)
        rows.append(
            (
                name,
                QUEUES * len(rounds),
                times.count,
                median([each[WHOLE].quantile(0.5) / 1e3 for each in rounds if WHOLE in each]),
                *(ns / 1e3 for ns in (times.quantile(0.9), times.quantile(0.99), times.most_ns)),
                median([_mostly(each[WHOLE]) for each in rounds if WHOLE in each]),
            )
        )
    return Table(
        f"kernel threads on this host, {WHOLE}; µs",
        ("host", "made", "seen", "p50", "p90", "p99", "most", f"% within {MOSTLY_NS // 1000}"),
        tuple(rows),
    )


def _stages(native: Native) -> Table:
    return Table(
        "where the time goes on this host; median, µs",
        ("stage", *native),
        tuple(
            (stage, *(_all(rounds, stage).quantile(0.5) / 1e3 for rounds in native.values()))
            for stage in (WHOLE, *PARTS)
        ),
    )


def _counted(counted: dict[str, Any]) -> Table:
    rows: list[tuple[Value, ...]] = [
        (
            f"{kernel}: {prefix}{stage}",
            seen["made"],
            times["count"],
            *(round(times[of] / INSTRUCTION_NS) for of in ("p50_ns", "p99_ns", "most_ns")),
        )
        for kernel, seen in counted.items()
        for way, prefix in (("chain", ""), ("function", f"{FUNCTION}, "))
        for stage, times in sorted(seen[way].items(), key=lambda one: _order(one[0]))
    ]
    return Table(
        "in the lab, by the chain of events and by the function; instructions",
        ("what", "made", "seen", "p50", "p99", "most"),
        tuple(rows),
    )


def _order(stage: str) -> int:
    stages = (*CHAINS["kthread"].stages, "call", "running", "waiting")
    return stages.index(stage)


def _plot(name: str, times: Histogram) -> Bars:
    return Bars(
        f"threads by {WHOLE}, {name}",
        tuple(
            (f"{_span(slot.low_ns)} to {_span(slot.high_ns)}", slot.count)
            for slot in times.octaves()
        ),
    )


def _meaning(native: Native, doubts: Doubts, counted: dict[str, Any]) -> str:
    totals = {name: _all(rounds, WHOLE) for name, rounds in native.items()}
    alone, busy, packets = totals.values()
    parts = {stage: _all(native["as it is"], stage).sum_ns for stage in PARTS}
    longest = max(parts, key=lambda stage: parts[stage])
    each = "; ".join(
        f"{_instructions(seen['chain'][WHOLE])} instructions on Linux {kernel}, of which "
        f"{_instructions(seen['function']['running'])} are of the one who asked"
        for kernel, seen in counted.items()
    )
    missed = [name for name, times in totals.items() if times.count != QUEUES * len(native[name])]
    seen = (
        "Every thread that was made was seen."
        if not missed
        else f"Not every thread that was made was followed to its end ({', '.join(missed)}): "
        f"{doubts.abandoned} abandoned, {doubts.unmatched} unmatched, {doubts.missed} missed."
    )
    return (
        f"On this host half the threads are had within {alone.quantile(0.5) / 1e3:.0f} µs of being "
        f"asked for and {_mostly(alone):.0f} % within {MOSTLY_NS // 1000} µs; the longest takes "
        f"{alone.most_ns / 1e6:.1f} ms. {_mostly(busy):.0f} % do beside a busy process on each CPU "
        f"and {_mostly(packets):.0f} % beside packets: the one who asks sleeps until kthreadd and "
        "then the new thread have run, so each waits for a CPU in turn. The most time goes from "
        f"{longest}. In the lab a thread takes {each}; the rest is kthreadd's, which copies "
        f"itself, and the new thread's own. {seen}"
    )


def _instructions(times: dict[str, float]) -> str:
    return f"{times['p50_ns'] / INSTRUCTION_NS:,.0f}"


def _raw(times: Histogram) -> dict[str, Any]:
    return {
        "count": times.count,
        "mean_ns": times.mean_ns,
        "p50_ns": times.quantile(0.5),
        "p90_ns": times.quantile(0.9),
        "p99_ns": times.quantile(0.99),
        "most_ns": times.most_ns,
    }
