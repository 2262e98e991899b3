"""Times of calls, as text with a plot, and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nettax.functions.histogram import Histogram
from nettax.functions.latency import LatencyReading, Stage
from nettax.report.interval import time_text
from nettax.report.table import count, safe, table

__all__ = ["Cost", "Traced", "document", "plot", "text"]

SCHEMA = "nettax.latency/1"
_EIGHTHS = " ▏▎▍▌▋▊▉"
_SHARES = (0.5, 0.9, 0.99)


@dataclass(frozen=True, slots=True)
class Cost:
    """What tracing added to one run of a chain, by a calibration: ns, and the interval's ends."""

    added_ns: float
    low_ns: float
    high_ns: float
    inside_ns: int | None = None
    """What of it is within the times shown; None: not known."""


@dataclass(frozen=True, slots=True)
class Traced:
    """A trace, with what the figures need beside them."""

    reading: LatencyReading
    backend: str
    stages: Mapping[str, tuple[str, ...]]
    """Of each chain or function, in order; the whole first."""
    costs: Mapping[str, Cost]
    group_name: Callable[[str, int], str]
    """The name of a chain's group."""
    by: str | None = None


def text(traced: Traced, rows: int) -> str:
    """For people: a plot of each chain, its stages, its groups, and what is doubtful."""
    parts = []
    for chain, stages in traced.stages.items():
        whole = traced.reading.of(chain, stages[0])
        if not whole.counts:
            parts.append(f"{chain}: nothing in {time_text(traced.reading.time_ns)}")
            continue
        parts.append(f"{chain}: {stages[0]}\n\n{plot(whole)}")
        stage_rows = [_row(name, traced.reading.of(chain, name)) for name in stages]
        parts.append(table(["stage", *_HEAD], stage_rows))
        if traced.by:
            parts.append(_groups(traced, chain, stages[0], rows))
        if cost := traced.costs.get(chain):
            parts.append(_cost(cost, whole))
    parts.append(_footer(traced))
    return "\n\n".join(parts)


_HEAD = ("count", "mean", "least", *(f"p{100 * share:g}" for share in _SHARES), "most", "in all")


def _row(name: str, histogram: Histogram) -> list[str]:
    if not histogram.counts:
        return [name, "·", *["·"] * (len(_HEAD) - 1)]
    quantiles = [histogram.quantile(share) for share in _SHARES]
    times = [round(histogram.mean_ns), histogram.least_ns, *quantiles, histogram.most_ns]
    return [
        name,
        count(histogram.count),
        *map(time_text, times),
        time_text(histogram.sum_ns),
    ]


def _groups(traced: Traced, chain: str, stage: str, rows: int) -> str:
    found = [
        (key.group, histogram)
        for key, histogram in traced.reading.histograms.items()
        if (key.chain, key.name) == (chain, stage)
    ]
    found.sort(key=lambda row: -row[1].sum_ns)
    lines = [_row(traced.group_name(chain, group), histogram) for group, histogram in found[:rows]]
    if len(found) > rows:
        rest = sum((histogram for _, histogram in found[rows:]), Histogram())
        lines.append(_row(f"{len(found) - rows} more", rest))
    return table([str(traced.by), *_HEAD], lines)


def _cost(cost: Cost, whole: Histogram) -> str:
    return _added(cost, whole.quantile(0.5)) + _inside(cost, whole)


def _added(cost: Cost, middle: int) -> str:
    interval = f"[{cost.low_ns / 1e3:.2f}, {cost.high_ns / 1e3:.2f}]"
    how = "(calibrated now, on and off in turns)"
    if cost.low_ns <= 0:
        return f"tracing adds too little to tell from the noise of this host: {interval} µs {how}"
    share = f", {100 * cost.added_ns / middle:.1f} % of the median" if middle else ""
    return f"tracing adds {cost.added_ns / 1e3:.2f} µs {interval} to each{share} {how}"


def _inside(cost: Cost, whole: Histogram) -> str:
    if cost.inside_ns is None:
        return ""
    middle, mean = (max(ns - cost.inside_ns, 0) for ns in (whole.quantile(0.5), whole.mean_ns))
    return (
        f"\nof it {cost.inside_ns / 1e3:.2f} µs is in each time above, by a function that does "
        f"next to nothing: without, the median is {time_text(round(middle))}, "
        f"the mean {time_text(round(mean))}"
    )


def _footer(traced: Traced) -> str:
    doubts = {name: value for name, value in asdict(traced.reading.doubts).items() if value}
    told = " · ".join(f"{name.replace('_', ' ')} {value}" for name, value in doubts.items())
    return f"{time_text(traced.reading.time_ns)} by {traced.backend} · " + (
        told or "none missed, none unmatched"
    )


def plot(histogram: Histogram, width: int = 40) -> str:
    """A histogram as bars, a line for each quarter to whole octave; as many lines as fit."""
    for parts in (4, 2, 1):
        slots = histogram.octaves(parts)
        if len(slots) <= 24:
            break
    most = max(slot.count for slot in slots)
    rows = [
        [
            time_text(slot.low_ns),
            count(slot.count) if slot.count else "·",
            _bar(slot.count, most, width),
        ]
        for slot in slots
    ]
    at = max(len(row[0]) for row in rows)
    of = max(len(row[1]) for row in rows)
    return "\n".join(f"{low:>{at}} … {n:>{of}}  {bar}".rstrip() for low, n, bar in rows)


def _bar(value: int, most: int, width: int) -> str:
    """Something is shown for anything: a bar of an eighth at least."""
    eighths = max(round(8 * width * value / most), 1 if value else 0)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def document(traced: Traced) -> dict[str, Any]:
    """The same as the document `nettax.latency/1`; times are integers in ns."""
    reading = traced.reading
    return {
        "schema": SCHEMA,
        "duration_ns": reading.time_ns,
        "backend": traced.backend,
        "by": traced.by,
        "chains": [
            {
                "name": chain,
                "stages": [_stage(chain, name, reading) for name in stages],
                "groups": _group_documents(traced, chain, stages),
                "tracing_adds": asdict(traced.costs[chain]) if chain in traced.costs else None,
            }
            for chain, stages in traced.stages.items()
        ],
        "doubts": asdict(reading.doubts),
    }


def _stage(chain: str, name: str, reading: LatencyReading) -> dict[str, Any]:
    return {"stage": name, **_histogram(reading.of(chain, name))}


def _group_documents(
    traced: Traced, chain: str, stages: Sequence[str]
) -> list[dict[str, Any]] | None:
    if not traced.by:
        return None
    groups = sorted({key.group for key in traced.reading.histograms if key.chain == chain})
    return [
        {
            "group": group,
            "name": safe(traced.group_name(chain, group)),
            "stages": [
                {"stage": name, **_histogram(traced.reading.histograms[Stage(chain, name, group)])}
                for name in stages
                if Stage(chain, name, group) in traced.reading.histograms
            ],
        }
        for group in groups
    ]


def _histogram(histogram: Histogram) -> dict[str, Any]:
    return {
        "count": histogram.count,
        "sum_ns": histogram.sum_ns,
        "least_ns": histogram.least_ns,
        "most_ns": histogram.most_ns,
        **{f"p{100 * share:g}_ns": histogram.quantile(share) for share in _SHARES},
        "slots": [asdict(slot) for slot in histogram],
    }
