"""A load run for people: what the tool says, what a request cost whom, and the verdict.

Also as the document `nettax.load/1`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from nettax.experiment.estimate import Estimate
from nettax.experiment.evidence import evidence
from nettax.experiment.load import LoadRun
from nettax.experiment.load_compare import MEASURES, Comparison
from nettax.experiment.load_sides import Side
from nettax.experiment.verdict import Verdict, verdict
from nettax.load.histogram import Histogram
from nettax.load.tool import several
from nettax.report.table import count, safe, table

__all__ = ["comparison_document", "comparison_text", "document", "text"]

SCHEMA = "nettax.load/1"
QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0))
BAR = 40
KEPT = ("Tcp.", "TcpExt.", "Udp.")


def text(run: LoadRun) -> str:
    """One run for people."""
    judged = verdict(evidence(run))
    parts = [_head(run), _costs(run)]
    if run.result.latency and run.result.latency.total:
        parts.append(_latency(run.result.latency))
    parts += [_counters(run), _judged(judged), _doubt(run)]
    return "\n\n".join(parts)


def _head(run: LoadRun) -> str:
    result, job = run.result, run.job
    unit = result.unit
    each = "flow" if (job.kind, job.protocol) == ("stream", "udp") else "connection"
    lines = [
        f"{run.tool} {run.version}: {job.connections} {each}{'s' * (job.connections != 1)} to "
        f"{job.host}:{job.port}, {result.elapsed_ns / 1e9:.2f} s",
        f"{result.done:,} {several(unit)}, {result.rate:,.0f} a second"
        + (f", {result.bytes * 1e3 / result.elapsed_ns:,.1f} MB/s" if result.bytes else "")
        + (f"; errors: {_pairs(result.errors)}" if result.errors else "; no errors"),
    ]
    if job.protocol == "tcp" and unit != "MB":
        share = run.opened / max(1, result.done)
        lines.append(f"{run.opened:,} connections by the kernel's count, {share:.3g} a {unit}")
    if result.note:
        lines.append(f"({result.note})")
    return "\n".join(map(safe, lines))


def _pairs(errors: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {number:,}" for kind, number in errors.items())


def _costs(run: LoadRun) -> str:
    """µs of CPU for each request, by who had it and what it was."""
    done = max(1, run.result.done)

    def us(ns: float) -> str:
        return f"{ns / 1e3 / done:.2f}" if ns else "·"

    def row(name: str, which: Side) -> list[str]:
        irq = which.hardirq_ns + which.softirq_ns
        parts = (which.user_ns, which.system_ns, which.net_ns, irq, which.wakeup_ns)
        return [name, *map(us, (*parts, -which.waived_ns, which.parts_ns))]

    away = run.elsewhere
    others = (
        ("ksoftirqd", away.kthreads_ns),
        ("over idle", away.idle_net_ns),
        ("in others", away.other_net_ns),
    )
    columns = ("user", "system", "net", "irq", "wakeup", "waived", "all")
    total = sum((run.server.parts_ns, run.generator.parts_ns, *(ns for _, ns in others)))
    rows = [
        row("server", run.server),
        *(row(f"  {name}", part) for name, part in run.parts.items()),
        row(run.tool, run.generator),
        *([name, "·", "·", us(ns), "·", "·", "·", us(ns)] for name, ns in others),
        ["all", *[""] * (len(columns) - 1), us(total)],
    ]
    head = [f"µs of CPU a {run.result.unit}", *columns]
    checks = ", ".join(
        f"{name} {100 * off:+.2f} %"
        for name, which in (("server", run.server), (run.tool, run.generator))
        if (off := which.mismatch) is not None
    )
    return table(head, rows) + f"\nagainst the CPU time that the kernel billed: {checks}"


def _latency(latency: Histogram) -> str:
    quantiles = "  ".join(
        f"{name} {_time(latency.quantile(share) or 0)}" for name, share in QUANTILES
    )
    octaves: dict[int, int] = {}
    for bucket in latency:
        # Two rows an octave: from 2ⁿ, and from 1.5 · 2ⁿ.
        low = max(1, bucket.low_ns)
        power = 1 << (low.bit_length() - 1)
        edge = power + power // 2 if low >= power + power // 2 else power
        octaves[edge] = octaves.get(edge, 0) + bucket.count
    most = max(octaves.values())
    rows = [
        [
            _time(edge).rjust(8),
            f"{100 * number / latency.total:.1f}".rjust(6),
            "█" * max(1, round(BAR * number / most)),
        ]
        for edge, number in sorted(octaves.items())
        if number / latency.total >= 0.0005 or edge == max(octaves)
    ]
    return f"{table(['latency from', '%', ''], rows, left=3)}\n{quantiles}"


def _time(ns: int) -> str:
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns} ns"


def _counters(run: LoadRun) -> str:
    names = (
        ("listen overflows", "TcpExt.ListenOverflows"),
        ("listen drops", "TcpExt.ListenDrops"),
        ("SYNs again", "TcpExt.TCPSynRetrans"),
        ("retransmits", "Tcp.RetransSegs"),
        ("delayed ACKs", "TcpExt.DelayedACKs"),
        ("resets sent", "Tcp.OutRsts"),
        ("UDP drops", "Udp.RcvbufErrors"),
    )
    grown = [f"{label} {run.counters[key]:,}" for label, key in names if run.counters.get(key)]
    before, after = run.time_wait
    grown.append(f"TIME-WAIT {before} → {after}")
    packets = f"{run.softnet['processed']:,} packets received on this host"
    dropped = run.softnet["dropped"]
    return "kernel: " + "; ".join([*grown, packets, *([f"{dropped} dropped"] if dropped else [])])


def _judged(judged: Verdict) -> str:
    return "\n".join([judged.sentence, *(f"  {fact}" for fact in judged.evidence)])


def _doubt(run: LoadRun) -> str:
    events = run.events
    return (
        f"lost {events.lost} · unmatched {events.unmatched} · inferred "
        f"{100 * events.inferred_ns / run.wall_ns / len(run.cpus):.1f} %\n"
        f"nettax itself: {run.own_cost.cpu_ns / 1e6:.0f} ms of CPU"
    )


def document(run: LoadRun) -> dict[str, Any]:
    """One run for machines: integers in ns, bytes and counts; shares from 0 to 1."""
    return {"schema": SCHEMA, **_run(run)}


def _run(run: LoadRun) -> dict[str, Any]:
    seen = evidence(run)
    judged = verdict(seen)
    latency = run.result.latency
    return {
        "tool": {"name": run.tool, "version": run.version},
        "job": asdict(run.job),
        "result": {
            "unit": run.result.unit,
            "done": run.result.done,
            "elapsed_ns": run.result.elapsed_ns,
            "errors": dict(run.result.errors),
            "connections": run.result.connections,
            "bytes": run.result.bytes,
            "note": run.result.note,
            "latency_ns": None
            if latency is None
            else {
                "buckets": [[b.low_ns, b.high_ns, b.count] for b in latency],
                **{name: latency.quantile(share) for name, share in QUANTILES},
            },
        },
        "server": _side(run.server),
        "server_functions": {name: _side(part) for name, part in run.parts.items()},
        "generator": _side(run.generator),
        "elsewhere": asdict(run.elsewhere),
        "connections_opened": run.opened,
        "sockets": asdict(run.sockets),
        "counters": {
            name: number
            for name, number in run.counters.items()
            if number and name.startswith(KEPT)
        },
        "softnet": dict(run.softnet),
        "time_wait": list(run.time_wait),
        "evidence": asdict(seen),
        "verdict": asdict(judged),
        "wall_ns": run.wall_ns,
        "events": asdict(run.events),
        "own_cost": asdict(run.own_cost),
        "accounting": run.accounting.mode,
    }


def _side(which: Side) -> dict[str, Any]:
    return {
        **asdict(which),
        "system_ns": which.system_ns,
        "parts_ns": which.parts_ns,
        "mismatch": which.mismatch,
    }


def comparison_text(result: Comparison) -> str:
    """Several tools, or several runs, for people."""
    head = ["tool", *(measure.heading for measure in MEASURES), "conn/req", "verdict"]
    rows = []
    for name in result.tools:
        runs = result.runs[name]
        kinds = [verdict(evidence(run)).kind for run in runs]
        common = max(set(kinds), key=kinds.count)
        agreed = kinds.count(common)
        opened = sum(run.opened for run in runs) / max(1, sum(run.result.done for run in runs))
        rows.append(
            [
                name,
                *(_estimate(result.estimates[name][measure.name]) for measure in MEASURES),
                f"{opened:.3g}",
                common if agreed == len(kinds) else f"{common} ({agreed} of {len(kinds)})",
            ]
        )
    parts = [
        f"median of {result.rounds} interleaved run{'s' * (result.rounds != 1)} of "
        f"{result.duration_s} s [interval]; CPU in µs a request:",
        table(head, rows),
    ]
    if len(result.tools) > 1:
        first = result.tools[0]
        parts.append(
            table(
                [f"ratio to {first}", *(measure.heading for measure in MEASURES)],
                [
                    [name, *(_estimate(result.ratios[name][m.name], 3) for m in MEASURES)]
                    for name in result.tools[1:]
                ],
            )
        )
    for name in result.tools:
        judged = verdict(evidence(result.runs[name][-1]))
        parts.append(f"{name}, the last run: {judged.sentence}")
    worst = max(
        (
            abs(off)
            for runs in result.runs.values()
            for run in runs
            for which in (run.server, run.generator)
            if (off := which.mismatch) is not None
        ),
        default=0.0,
    )
    parts.append(f"against the CPU time that the kernel billed: at most {100 * worst:.2f} % apart")
    return "\n\n".join(parts)


def _estimate(estimate: Estimate | None, digits: int = 0) -> str:
    if estimate is None:
        return "·"

    def shown(value: float) -> str:
        if digits:
            return f"{value:.{digits}f}"
        return count(value) if value >= 1000 else f"{value:.3g}"

    if estimate.n == 1:
        return shown(estimate.median)
    return f"{shown(estimate.median)} [{shown(estimate.low)}, {shown(estimate.high)}]"


def comparison_document(result: Comparison) -> dict[str, Any]:
    """The same for machines, every run in it."""

    def estimates(found: Mapping[str, Estimate | None]) -> dict[str, Any]:
        return {name: asdict(value) if value else None for name, value in found.items()}

    return {
        "schema": SCHEMA,
        "seed": result.seed,
        "rounds": result.rounds,
        "tools": [
            {
                "name": name,
                "estimates": estimates(result.estimates[name]),
                "ratios": estimates(result.ratios.get(name, {})),
                "runs": [_run(run) for run in result.runs[name]],
            }
            for name in result.tools
        ],
        "environment": asdict(result.environment),
    }
