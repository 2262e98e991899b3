"""How network work came, as text with histograms and as JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from nettax.events.bursts import Bursts
from nettax.events.distribution import Distribution
from nettax.report.interval import time_text
from nettax.report.table import count, percent, table

__all__ = ["SCHEMA", "csv_text", "document", "text"]

SCHEMA = "nettax.bursts/1"
CSV_COLUMNS = ("count", "sum", "min", "p50", "p90", "p99", "max")
WIDTH = 40  # of the longest bar

# Name of the field, what it is called, and whether it is a time.
DISTRIBUTIONS = (
    ("run_ns", "NET_RX run time", True),
    ("packets_per_poll", "packets per poll", False),
    ("packets_per_run", "packets per NET_RX", False),
    ("rounds", "NET_RX per burst", False),
    ("gap_ns", "gap after a burst", True),
    ("irq_to_run_ns", "IRQ to NET_RX", True),
    ("raise_to_run_ns", "raise to NET_RX", True),
)


def document(bursts: Bursts) -> dict[str, Any]:
    """As the JSON document `nettax.bursts/1`; times in ns."""
    return {
        "schema": SCHEMA,
        **{name: _distribution(getattr(bursts, name)) for name, _, _ in DISTRIBUTIONS},
        "exhausted": bursts.exhausted,
        "runners": {name: asdict(share) for name, share in bursts.runners.items()},
        "squeezed": bursts.squeezed,
    }


def _distribution(values: Distribution) -> dict[str, Any]:
    return {
        "count": values.count,
        "sum": values.sum,
        "min": values.least,
        "p50": values.quantile(0.5),
        "p90": values.quantile(0.9),
        "p99": values.quantile(0.99),
        "max": values.most,
        "octaves": values.octaves(),  # of 0, 1, 2 to 3, 4 to 7, …
    }


def csv_text(bursts: Bursts) -> str:
    """The distributions, one a line, as in the document; without octaves."""
    lines = [",".join(("distribution", *CSV_COLUMNS))]
    for name, _, _ in DISTRIBUTIONS:
        values = _distribution(getattr(bursts, name))
        lines.append(",".join((name, *(str(values[column]) for column in CSV_COLUMNS))))
    return "\n".join(lines) + "\n"


def text(bursts: Bursts, histograms: bool = True) -> str:
    """Quantiles, who ran NET_RX, and histograms."""
    if not bursts.run_ns.count and not bursts.packets_per_poll.count:
        return "No NET_RX softirq and no NAPI poll was recorded."
    parts = [_quantiles(bursts), _runners(bursts), _footer(bursts)]
    if histograms:
        for name, title, is_time in DISTRIBUTIONS:
            values = getattr(bursts, name)
            if values.count:
                parts.append(_histogram(title, values, is_time))
    return "\n\n".join(parts)


def _form(is_time: bool) -> Callable[[int], str]:
    return time_text if is_time else str


def _quantiles(bursts: Bursts) -> str:
    rows = []
    for name, title, is_time in DISTRIBUTIONS:
        values, form = getattr(bursts, name), _form(is_time)
        if not values.count:
            rows.append([title, "0", *["·"] * 5])
            continue
        quantiles = [form(values.quantile(share)) for share in (0.5, 0.9, 0.99)]
        mean = form(round(values.sum / values.count)) if is_time else _mean(values)
        rows.append([title, count(values.count), mean, *quantiles, form(values.most)])
    return table(["bursts", "count", "mean", "median", "90 %", "99 %", "most"], rows)


def _mean(values: Distribution) -> str:
    return f"{values.sum / values.count:.1f}"


def _runners(bursts: Bursts) -> str:
    total = sum(share.ns for share in bursts.runners.values())
    rows = [
        [
            name,
            count(share.runs),
            percent(share.ns, total),
            time_text(share.ns),
            count(share.packets),
            time_text(round(share.ns / share.packets)) if share.packets else "·",
        ]
        for name, share in bursts.runners.items()
        if share.runs
    ]
    return table(["NET_RX run by", "runs", "% of time", "time", "packets", "a packet"], rows)


def _footer(bursts: Bursts) -> str:
    polls = bursts.packets_per_poll.count
    squeezed = "not recorded" if bursts.squeezed is None else str(sum(bursts.squeezed.values()))
    return (
        f"budget used up by {bursts.exhausted} of {polls} polls "
        f"({percent(bursts.exhausted, polls)} %) · squeezed (stopped with work left): {squeezed}"
    )


def _histogram(title: str, values: Distribution, is_time: bool) -> str:
    counts = values.octaves()
    used = [i for i, number in enumerate(counts) if number]
    most = max(counts)
    lines = [f"{title}, {count(values.count)}"]
    for i in range(used[0], used[-1] + 1):
        low, high = (1 << i) >> 1, (1 << i) - 1
        label = f"{time_text(low)} …" if is_time else str(low) if low >= high else f"{low} … {high}"
        bar = "█" * max(round(WIDTH * counts[i] / most), counts[i] > 0)
        lines.append(f"{label:>14}  {count(counts[i]):>6}  {bar}".rstrip())
    return "\n".join(lines)
