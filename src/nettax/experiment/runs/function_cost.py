"""What a kernel function costs, and what its tracer: the same round trips, traced and not.

In a guest that counts, so what a tracer adds is not hidden by noise; and each tracer's count of
calls is held against what is known: a round trip with the server in the kernel is two sends, of
which the graph tracer, which is run by the client's process and leaves that out, sees one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nettax.experiment.runs.guests import INSTRUCTION_NS, asked, counting, serving
from nettax.experiment.runs.outcome import Bars, Outcome, Table, Value

__all__ = ["run"]

FUNCTION = "tcp_sendmsg"
SHOWN = 12  # rows of the call tree
ALL = "graph, all below"
UNTOLD = (
    "Instructions of one emulated CPU, not time: a cache miss costs as much as a hit, and a trap, "
    "as kprobes may take, as much as its instructions. The call tree's figures have the graph "
    "tracer's own work in them, which the first table tells."
)
Say = Callable[[str], None]


def run(smoke: bool, progress: Say) -> Outcome:
    """Round trips under each tracer.

    :raises NettaxError: as the lab's guests do
    """
    count = 100 if smoke else 400
    progress(f"what {FUNCTION} costs, and what its tracers do")
    with counting(progress=progress) as vm, serving(vm, "mode=kthread"):
        seen = asked(vm, "in_guest_tracers", FUNCTION, count)
    bare = seen["tracers"][0]["per_round_trip_ns"]
    return Outcome(
        tables=(_tracers(seen, bare), _calls(seen), _tree(seen)),
        plots=(
            Bars(
                "instructions per round trip",
                tuple(
                    (each["tracer"], each["per_round_trip_ns"] / INSTRUCTION_NS)
                    for each in seen["tracers"]
                ),
            ),
        ),
        meaning=_meaning(seen, bare),
        untold=UNTOLD,
        raw=seen,
    )


def _tracers(seen: Any, bare: float) -> Table:
    rows: list[tuple[Value, ...]] = [
        (
            each["tracer"],
            round(each["per_round_trip_ns"] / INSTRUCTION_NS),
            each["per_round_trip_ns"] / bare,
            None
            if each["calls"] is None
            else round((each["per_round_trip_ns"] - bare) / each["each"] / INSTRUCTION_NS),
            each["calls"],
            each["expected"],
        )
        for each in seen["tracers"]
    ]
    return Table(
        f"{FUNCTION} under its tracers; in instructions",
        ("tracer", "round trip", "× untraced", "added a call", "calls seen", "made"),
        tuple(rows),
    )


def _calls(seen: Any) -> Table:
    rows: list[tuple[Value, ...]] = [
        (
            each["tracer"],
            *(round(each[name] / INSTRUCTION_NS) for name in ("p50_ns", "p99_ns", "most_ns")),
        )
        for each in seen["tracers"]
        if each["calls"]
    ]
    return Table(
        f"a call of {FUNCTION} by each tracer's own account; in instructions",
        ("tracer", "p50", "p99", "most"),
        tuple(rows),
    )


def _tree(seen: Any) -> Table:
    rows: list[tuple[Value, ...]] = [
        (
            "  " * node["depth"] + node["name"],
            node["count"],
            round(node["total_ns"] / node["of"] / INSTRUCTION_NS),
            round(node["self_ns"] / node["of"] / INSTRUCTION_NS),
        )
        for node in seen["tree"][:SHOWN]
    ]
    return Table(
        f"what {FUNCTION} calls, the dearest first; instructions for each call of {FUNCTION}",
        ("function", "calls", "total", "self"),
        tuple(rows),
    )


def _meaning(seen: Any, bare: float) -> str:
    by_name = {each["tracer"]: each["per_round_trip_ns"] / bare for each in seen["tracers"]}
    alone, shallow, whole = (by_name[name] for name in ("graph, only it", "graph, depth 1", ALL))
    missed = [e["tracer"] for e in seen["tracers"] if e["calls"] not in (None, e["expected"])]
    counted = (
        "Each tracer counted the calls that were made."
        if not missed
        else f"Not all calls were counted by: {', '.join(missed)}."
    )
    return (
        f"A round trip takes {round(bare / INSTRUCTION_NS):,} instructions when nobody looks. A "
        f"kprobe and kretprobe on {FUNCTION} make that {by_name['kprobe, BPF']:.2f} times as many; "
        f"the graph tracer {alone:.2f} with no other function traced, {shallow:.2f} one call deep, "
        f"as then every function that the kernel calls asks whether it is deeper, and {whole:.2f} "
        "for all below: what it says of small functions is mostly itself. Limit it by name, not by "
        f"depth. {counted}"
    )
