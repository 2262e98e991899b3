"""The demo's result: a table, one plain sentence, and the JSON document `nettax.demo/1`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from nettax.experiment.demo import Demo
from nettax.experiment.estimate import Estimate
from nettax.report.table import count, table

__all__ = ["document", "text"]

SCHEMA = "nettax.demo/1"
SHARES = ("billed", "own", "stolen", "displaced", "waited", "toll", "loss")


def document(result: Demo) -> dict[str, Any]:
    """The result for machines: shares of wall time as {median, low, high, n, confidence}."""
    return {
        "schema": SCHEMA,
        "conditions": [
            {
                "name": condition.name,
                **{
                    name: asdict(estimate) if estimate else None
                    for name, estimate in condition.measures.items()
                },
                "runs": [asdict(run) for run in result.runs if run.condition == condition.name],
            }
            for condition in result.conditions
        ],
        "runs": [asdict(run) for run in result.runs],
        "seed": result.seed,
        "window_s": result.window_s,
        "victim_cpu": result.victim_cpu,
        "sender_cpu": result.sender_cpu,
        "toll": asdict(result.toll),
        "environment": asdict(result.environment),
    }


def text(result: Demo) -> str:
    """The result for people."""
    head = ["condition", *SHARES, "residual", "without toll"]
    rows = [
        [
            condition.name,
            *(_percent(condition.measures[name]) for name in SHARES),
            _with_interval(condition.measures["residual"]),
            _with_interval(condition.measures["residual_without_toll"]),
        ]
        for condition in result.conditions
    ]
    rates = [
        [
            condition.name,
            _count(condition.measures["packets_per_s"]),
            _number(condition.measures["ns_per_packet"]),
            _count(condition.measures["interrupts_per_s"]),
            _percent(condition.measures["booked_residual"], 3),
        ]
        for condition in result.conditions
    ]
    runs = len(result.runs) // len(result.conditions)
    return "\n\n".join(
        (
            f"A canary on CPU {result.victim_cpu}, packets sent from CPU {result.sender_cpu}; "
            f"% of wall time,\nmedian of {runs} interleaved runs of {result.window_s:g} s "
            "[interval]:",
            table(head, rows),
            "residual = loss − (stolen + displaced + waited + toll): what the canary's own clock\n"
            "says, less what the ledger says; in each run, beyond its idle neighbours, so medians\n"
            "need not add up. The toll is an estimate, calibrated beforehand.",
            table(["condition", "sent/s", "ns/packet", "irq/s", "unbooked %"], rates),
            sentence(result),
        )
    )


def sentence(result: Demo) -> str:
    """What was seen, in words."""
    heavy, handoff = result["heavy"], result["ksoftirqd"]
    return (
        f"Under the heavy flow the kernel billed the canary {_percent(heavy['billed'])} % of the "
        f"CPU;\nby its own clock it lost {_percent(heavy['loss'])} %. Packets took "
        f"{_percent(heavy['stolen'])} % in interrupts and softirqs, and\nentering and leaving the "
        f"interrupts about {_percent(heavy['toll'])} %. With dearer packets it lost\n"
        f"{_percent(handoff['loss'])} %, {_percent(handoff['displaced'])} % of the time waiting "
        "while ksoftirqd had the CPU."
    )


def _percent(estimate: Estimate | None, digits: int = 1) -> str:
    return "·" if estimate is None else f"{100 * estimate.median:.{digits}f}"


def _with_interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return "·"
    middle, low, high = (100 * x for x in (estimate.median, estimate.low, estimate.high))
    return f"{middle:+.1f} [{low:+.1f}, {high:+.1f}]"


def _count(estimate: Estimate | None) -> str:
    return "·" if estimate is None else count(estimate.median)


def _number(estimate: Estimate | None) -> str:
    return "·" if estimate is None else f"{estimate.median:.0f}"
