"""What a working set lost, in parts: text, and the document `nettax.working-set/1`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from nettax.canary.working_set import Speed
from nettax.experiment.estimate import Estimate
from nettax.experiment.working_set import Experiment, Observation, SizeResult
from nettax.report.table import count, table

__all__ = [
    "experiment_document",
    "experiment_text",
    "observation_document",
    "observation_text",
    "size_text",
]

SCHEMA = "nettax.working-set/1"
SURE = 0.9
"""The least confidence of an interval that is worth a conclusion: that of five rounds is more."""
BUSY = 0.05
"""More than this of the canary's time taken in the control, by others, hides what is looked for."""
NO_REFERENCE = "no reference: run it with --idle when the host is quiet"


def size_text(size: int) -> str:
    """A size as one gives it: 0, 64K, 256M."""
    for unit, of in (("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)):
        if size and size % of == 0:
            return f"{size // of}{unit}"
    return str(size)


def observation_document(seen: Observation, idle: Speed | None) -> dict[str, Any]:
    """A working set beside whatever runs; what only the experiment can tell is null."""
    parts = seen.parts(idle) if idle else {}
    estimates = {name: asdict(estimate) for name, estimate in parts.items()}
    return {
        "schema": SCHEMA,
        "mode": "live",
        "victim_cpu": seen.cpu.cpu,
        "sizes": [
            {
                "size_bytes": seen.size,
                "huge_bytes": seen.huge_bytes,
                "speed": asdict(seen.speed),
                "idle_speed": asdict(idle) if idle else None,
                **{name: estimates.get(name) for name in ("loss", "direct", "slower")},
                "shared": None,
                "indirect": None,
            }
        ],
        "windows": [
            {"start_ns": w.start_ns, "wall_ns": w.wall_ns, **asdict(Speed.of(w))}
            for w in seen.windows
        ],
        "task": asdict(seen.task),
        "cpu_share": asdict(seen.cpu),
    }


def observation_text(seen: Observation, idle: Speed | None) -> str:
    """A working set beside whatever runs, for people."""
    task, wall = seen.task, seen.cpu.wall_ns
    speed = seen.speed

    def share(ns: float) -> str:
        return f"{100 * ns / wall:.1f} %"

    had = f"had {100 * speed.kept:.1f} % of the time, at {1e9 / speed.clean_rate:.1f} ns a turn"
    toll = f", ≈toll {share(task.toll_ns.estimate)}" if task.toll_ns else ""
    rows = [
        ("its own clock", had),
        ("the kernel", f"billed it {share(task.billed_ns)}"),
        (
            "the ledger",
            f"own {share(task.own_ns)}, stolen {share(sum(task.stolen_ns.values()))}, "
            f"waited {share(task.wait_ns)}{toll}",
        ),
    ]
    head = (
        f"A working set of {size_text(seen.size)} on CPU {seen.cpu.cpu} for {wall / 1e9:.1f} s"
        f"{_pages(seen.size, seen.huge_bytes)}"
    )
    lines = [head, "\n".join(f"  {name:<14} {what}" for name, what in rows)]
    if idle is None:
        lines.append(NO_REFERENCE)
    else:
        parts = seen.parts(idle)
        lines.append(
            table(
                ["of its undisturbed speed", "%", "interval"],
                [
                    ["lost", *_cells(parts["loss"])],
                    ["  direct: time that was taken", *_cells(parts["direct"])],
                    ["  slower in the time it had", *_cells(parts["slower"])],
                ],
            )
            + "\n\nslower: indirect cost (what interrupts left cold), and what other CPUs do to\n"
            "the caches and the memory that it shares with them. --load parts the two."
        )
    return "\n\n".join(lines)


def experiment_document(result: Experiment) -> dict[str, Any]:
    """The experiment; shares as {median, low, high, n, confidence}."""
    return {
        "schema": SCHEMA,
        "mode": "load",
        "victim_cpu": result.victim_cpu,
        "sender_cpu": result.sender_cpu,
        "sizes": [
            {
                "size_bytes": each.size,
                "huge_bytes": each.huge_bytes,
                "turn_ns": asdict(each.turn_ns),
                **{name: asdict(estimate) for name, estimate in each.measures.items()},
                "rounds": [asdict(one) for one in each.rounds],
            }
            for each in result.sizes
        ],
        "pps": result.pps,
        "window_s": result.window_s,
        "seed": result.seed,
        "toll": asdict(result.toll) if result.toll else None,
        "environment": asdict(result.environment),
    }


def experiment_text(result: Experiment) -> str:
    """The experiment, for people."""
    first = result.sizes[0]
    pages = "2 MiB pages where the kernel gave them" if result.huge_pages else "4 KiB pages"
    head = (
        f"A working set on CPU {result.victim_cpu}, {count(result.pps)} packets/s from CPU "
        f"{result.sender_cpu}; {pages}; median of {len(first.rounds)}\n"
        f"rounds of {result.window_s:g} s windows [interval], % of its undisturbed speed:"
    )
    rows = [
        [
            size_text(each.size),
            *(_percent(each.measures[name]) for name in ("loss", "direct")),
            *(_with_interval(each.measures[name]) for name in ("shared", "indirect")),
            f"{each.measures['indirect_ns_per_interrupt'].median / 1e3:.1f}",
        ]
        for each in result.sizes
    ]
    witness = [
        [
            size_text(each.size),
            f"{each.turn_ns.median:.0f}",
            _percent(each.measures["ledger"]),
            _with_interval(each.measures["apart"]),
            count(each.measures["interrupts_per_s"].median),
            count(each.measures["packets_per_s"].median),
            _percent(each.measures["control_direct"]),
            count(each.measures["control_packets_per_s"].median),
        ]
        for each in result.sizes
    ]
    return "\n\n".join(
        (
            head,
            table(["size", "lost", "direct", "shared", "indirect", "µs/irq"], rows),
            "direct: time taken, by its own clock. shared: slower because of the other CPU,\n"
            "which in the control does all the network's work. indirect: slower still when\n"
            "that is done here. In each round,\n"
            "(1 − lost) = (1 − direct) (1 − shared) (1 − indirect). µs/irq: of indirect.",
            table(
                [
                    *("size", "ns/turn", "ledger", "direct−ledger", "irq/s", "pkt/s"),
                    *("control %", "control pkt/s"),
                ],
                witness,
            ),
            f"ledger: stolen + waited + toll{'' if result.toll else ' (none: not calibrated)'}; "
            "control: time taken\nthere, and packets.",
            "\n".join(_sentence(each) for each in result.sizes),
        )
    )


def _sentence(each: SizeResult) -> str:
    """How much more was lost than time, and whether the interval holds nothing."""
    more, name = each.measures["more"], size_text(each.size)
    interval = f"{100 * more.median:.1f} [{100 * more.low:.1f}, {100 * more.high:.1f}]"
    if more.confidence < SURE:
        return f"{name}: too few rounds to tell: {interval} % of its speed."
    if more.low > 0:
        return f"{name}: beside the time taken, {interval} % of its speed went to cold caches."
    busy = each.measures["control_direct"].median
    hint = (
        f"\n  others took {100 * busy:.0f} % of its time: repeat it on a quiet host"
        if busy > BUSY
        else ""
    )
    return f"{name}: no indirect cost shows: {interval} % of its speed.{hint}"


def _pages(size: int, huge_bytes: int) -> str:
    if not size:
        return ""
    return f", {100 * huge_bytes / size:.0f} % in huge pages" if huge_bytes else ", 4 KiB pages"


def _percent(estimate: Estimate) -> str:
    return f"{100 * estimate.median:.1f}"


def _cells(estimate: Estimate) -> list[str]:
    return [_percent(estimate), f"[{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"]


def _with_interval(estimate: Estimate) -> str:
    middle, low, high = (100 * x for x in (estimate.median, estimate.low, estimate.high))
    return f"{middle:+.1f} [{low:+.1f}, {high:+.1f}]"
