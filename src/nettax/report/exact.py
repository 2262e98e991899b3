"""Two settings beside each other, in instructions: the tables and the document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nettax.experiment.exact import Compared, Guests
from nettax.experiment.exact_difference import Difference
from nettax.lab.vm import qemu
from nettax.report.table import table

__all__ = ["SHOWN", "document", "text"]

SHOWN = 12
"""Functions of an operation in the text; the document has all."""
_MEANING = """\
Counted under emulation, on one CPU: instructions, the client's included. They tell how much
code each design runs, on any machine alike. What several CPUs, caches or waiting make of it
cannot be seen there, and no time is told."""


def text(a: Guests, b: Guests, found: Sequence[Compared]) -> str:
    """For a terminal."""
    parts = [_heads(a, b), _totals(found)]
    parts += [_functions(each) for each in found if each.functions]
    return "\n\n".join([*parts, _MEANING])


def _heads(a: Guests, b: Guests) -> str:
    lines = [f"{letter}  {_said(guests)}" for letter, guests in (("A", a), ("B", b))]
    return "\n".join(lines)


def _said(guests: Guests) -> str:
    setting = guests.setting
    words = [f"Linux {guests.release}"]
    words += [f"module={setting.module}"] if setting.module else []
    words += [*setting.parameters, *(f"{name}={value}" for name, value in setting.sysctls)]
    return "  ".join(words)


def _totals(found: Sequence[Compared]) -> str:
    rows = [
        [
            each.operation,
            f"{each.total.mean_a:,.0f}",
            f"{each.total.mean_b:,.0f}",
            f"{each.total.ratio:.4f}",
            f"{each.total.spread:.3%}",
            _verdict(each.total),
        ]
        for each in found
    ]
    head = ["instructions per", "A", "B", "A / B", "repeats within", "difference"]
    return table(head, rows)


def _verdict(total: Difference) -> str:
    """What may be said; the interval is of the difference, in % of the lesser."""
    base = min(total.mean_a, total.mean_b)
    if not total.differs:
        return f"no difference above {max(total.margin, total.least) / base:.2%}"
    more, less = ("A", "B") if total.difference > 0 else ("B", "A")
    share = abs(total.difference) / base
    return f"{more} {share:.2%} ±{total.margin / base:.2%} above {less}"


def _functions(each: Compared) -> str:
    rows = []
    for one in each.functions[:SHOWN]:
        calls = each.calls[one.name]
        rows.append(
            [
                one.name,
                f"{one.mean_a:,.0f}",
                f"{one.mean_b:,.0f}",
                f"{one.difference:+,.0f}",
                f"{one.difference / each.total.mean_b:+.1%}",
                *(f"{number:,.2f}" for number in calls),
            ]
        )
    head = [f"functions, per {each.operation}", "A", "B", "A - B", "of B", "calls A", "calls B"]
    lines = [table(head, rows)]
    if more := len(each.functions) - len(rows):
        rest = sum(one.difference for one in each.functions[SHOWN:])
        lines.append(f"and {more} more, {rest:+,.0f} together (--json has all)")
    unnamed = each.total.difference - sum(one.difference for one in each.functions)
    lines.append(f"all others together, each too alike to be named: {unnamed:+,.0f}")
    a, b = each.strings
    if abs(a - b) > abs(each.total.difference) / 10:
        lines.append(
            f"of all, wiping and copying memory, an instruction a byte: A {a:,.0f}, B {b:,.0f}"
        )
    return "\n".join(lines)


def document(a: Guests, b: Guests, count: int, found: Sequence[Compared]) -> dict[str, Any]:
    """For programs."""
    return {
        "schema": "nettax.lab.compare/2",
        "qemu": ".".join(map(str, qemu.installed().version())),
        "a": _guests(a),
        "b": _guests(b),
        "count": count,
        "operations": [
            {
                "operation": each.operation,
                "instructions": _numbers(each.total),
                "functions": [
                    {
                        "function": one.name,
                        **_numbers(one),
                        "calls_a": each.calls[one.name][0],
                        "calls_b": each.calls[one.name][1],
                    }
                    for one in each.functions
                ],
                "string_instructions": {"a": each.strings[0], "b": each.strings[1]},
                "closure": each.closure,
            }
            for each in found
        ],
    }


def _guests(guests: Guests) -> dict[str, Any]:
    setting = guests.setting
    return {
        "kernel": guests.release,
        "module": str(setting.module) if setting.module else None,
        "parameters": list(setting.parameters),
        "sysctls": dict(setting.sysctls),
    }


def _numbers(one: Difference) -> dict[str, Any]:
    return {
        "a": list(one.a),
        "b": list(one.b),
        "ratio": one.ratio if one.mean_b else None,
        "difference": one.difference,
        "interval": [one.low, one.high],
        "spread": one.spread,
        "differs": one.differs,
    }
