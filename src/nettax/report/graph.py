"""A tree of calls: as text, as a flame graph, as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from html import escape
from itertools import islice
from typing import Any

from nettax.functions.graph import CallTree, Node
from nettax.report.interval import time_text
from nettax.report.table import count
from nettax.report.trace import Cost

__all__ = ["document", "flame_graph", "text"]

SCHEMA = "nettax.graph/1"
_WIDTH, _ROW, _LETTER = 1200, 18, 7.0  # pixels
_LEAST = 0.5  # pixels of a box that is drawn


def text(tree: CallTree, rows: int, cost: Cost | None = None) -> str:
    """For people: each function below what called it, the longest first.

    `cost` is what tracing adds to a call of one function.
    """
    if not tree.root.count:
        return f"{tree.root.name} was not called{_doubts(tree)}"
    head = ("count", "total", "share", "self", "median", "")
    whole = max(tree.root.total_ns, 1)
    lines = [
        head,
        *(_line(branch, node, whole) for branch, node in islice(_drawn(tree.root), rows)),
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(5)]
    shown = [
        "  ".join([*(cell.rjust(w) for cell, w in zip(line, widths, strict=False)), line[5]])
        for line in lines
    ]
    more = sum(1 for _ in tree.root.walk()) - rows
    if more > 0:
        shown.append(f"and {more} more: -n")
    return "\n".join(line.rstrip() for line in shown) + "\n" + _doubts(tree) + _cost(tree, cost)


def _drawn(node: Node, before: str = "", turn: str = "") -> Iterator[tuple[str, Node]]:
    """Each node, the longest first, and what leads to it from the one above."""
    yield before + turn, node
    below = before + {"": "", "├─ ": "│  ", "└─ ": "   "}[turn]
    children = sorted(node.children.values(), key=lambda child: -child.total_ns)
    for child in children:
        yield from _drawn(child, below, "└─ " if child is children[-1] else "├─ ")


def _line(branch: str, node: Node, whole_ns: int) -> tuple[str, ...]:
    return (
        count(node.count),
        time_text(node.total_ns),
        f"{100 * node.total_ns / whole_ns:.1f} %",
        time_text(node.self_ns),
        time_text(node.histogram.quantile(0.5)),
        branch + node.name,
    )


def _doubts(tree: CallTree) -> str:
    taken = f"{time_text(tree.interrupt_ns)} of interrupts taken out"
    return "\n" + " · ".join(
        (
            f"{taken} ({count(tree.interrupts)} functions)" if tree.interrupts else "no interrupts",
            f"{count(tree.lost)} events lost" if tree.lost else "none lost",
            f"{count(tree.cut)} calls cut off by the trace's begin or end"
            if tree.cut
            else "none cut",
        )
    )


def _cost(tree: CallTree, cost: Cost | None) -> str:
    if cost is None:
        return ""
    interval = f"[{cost.low_ns / 1e3:.2f}, {cost.high_ns / 1e3:.2f}]"
    calls = sum(node.count for _, node in tree.root.walk())
    share = 100 * max(cost.added_ns, 0) * calls / max(tree.root.total_ns, 1)
    return (
        f"\ntracing adds {cost.added_ns / 1e3:.2f} µs {interval} to each of {count(calls)} calls: "
        f"≈{share:.0f} % of the total (calibrated now, on and off in turns)"
    )


def document(tree: CallTree, cost: Cost | None = None) -> dict[str, Any]:
    """The same as the document `nettax.graph/1`."""
    return {
        "schema": SCHEMA,
        "root": _node(tree.root),
        "interrupt_ns": tree.interrupt_ns,
        "interrupt_functions": tree.interrupts,
        "tracing_adds": asdict(cost) if cost else None,
        "lost": tree.lost,
        "cut": tree.cut,
    }


def _node(node: Node) -> dict[str, Any]:
    return {
        "name": node.name,
        "count": node.count,
        "total_ns": node.total_ns,
        "self_ns": node.self_ns,
        "median_ns": node.histogram.quantile(0.5),
        "children": [_node(child) for child in node.children.values()],
    }


def flame_graph(tree: CallTree) -> str:
    """An SVG in which a box is as wide as its function's time, above what called it."""
    deepest = max(depth for depth, _ in tree.root.walk())
    height = (deepest + 2) * _ROW
    scale = _WIDTH / max(tree.root.total_ns, 1)
    boxes = "".join(_boxes(tree.root, 0.0, 0, height, scale))
    title = f"{_told(tree.root)}, median {time_text(tree.root.histogram.quantile(0.5))}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'font-family="monospace" font-size="11">'
        f"<style>rect{{stroke:#fff}}g:hover rect{{stroke:#000}}</style>"
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>'
        f'<text x="2" y="13">{escape(title)}</text>{boxes}</svg>\n'
    )


def _told(node: Node) -> str:
    own = f"{time_text(node.self_ns)} of it itself"
    return f"{node.name}: {count(node.count)} calls, {time_text(node.total_ns)}, {own}"


def _boxes(node: Node, x: float, depth: int, height: int, scale: float) -> list[str]:
    width = node.total_ns * scale
    if width < _LEAST:
        return []
    y = height - (depth + 1) * _ROW
    hue = 20 + sum(map(ord, node.name)) % 35  # the same of a name everywhere
    letters = int((width - 4) / _LETTER)
    label = node.name if len(node.name) <= letters else node.name[: max(letters - 1, 0)] + "…"
    shown = f'<text x="{x + 2:.1f}" y="{y + 13}">{escape(label)}</text>' if letters > 2 else ""
    found = [
        f'<g><title>{escape(_told(node))}</title><rect x="{x:.1f}" y="{y}" width="{width:.1f}" '
        f'height="{_ROW - 1}" fill="hsl({hue} 85% 65%)"/>{shown}</g>'
    ]
    for child in node.children.values():
        found += _boxes(child, x, depth + 1, height, scale)
        x += child.total_ns * scale
    return found
