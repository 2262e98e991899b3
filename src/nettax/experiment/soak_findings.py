"""What a soak found, from its journal: growth with its interval, drift, errors by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nettax.experiment.slope import Slope, slope
from nettax.experiment.soak_journal import Record, Sample
from nettax.load.histogram import Histogram

__all__ = ["Drift", "Findings", "Growth", "findings"]

WARM_UP = 0.2
"""Of a part of the run, and at least until twice as many seconds have passed as clients stall:
until caches, pools and arenas have the size that they stay at."""
PAGES_BYTES = 64 << 10
"""Growth of memory below this, over the whole run, is that of a few pages and no leak."""
FEW_FDS = 2


@dataclass(frozen=True, slots=True)
class Growth:
    """How something of the server's grew, over the longest part of the run after its warm-up."""

    first: int
    last: int
    most: int
    per_hour: Slope | None
    per_connection: Slope | None
    grows: bool
    """Its interval is above zero, and it grew by more than what comes and goes."""


@dataclass(frozen=True, slots=True)
class Drift:
    """Times of the first third of the run, and of the last, in ns."""

    first_p50_ns: int
    last_p50_ns: int
    first_p99_ns: int
    last_p99_ns: int


@dataclass(frozen=True, slots=True)
class Findings:
    """All of it."""

    elapsed_s: float
    segments: int
    samples: int
    due: int
    answered: int
    unanswered: int
    opened: int
    rude: Mapping[str, int]
    statuses: Mapping[str, int]
    client_errors: Mapping[str, int]
    rude_errors: Mapping[str, int]
    server_errors: Mapping[str, int]
    memory: Growth | None
    fds: Growth | None
    most_threads: int
    most_time_wait: int
    last_time_wait: int
    server_cpu_ns: int
    latency: Histogram
    drift: Drift | None


def findings(record: Record) -> Findings:
    """Add a journal up."""
    samples = record.samples
    part = _longest(samples, 2 * record.plan.stall_s)
    return Findings(
        record.elapsed_s,
        record.segments,
        len(samples),
        sum(s.due for s in samples),
        sum(s.answered for s in samples),
        sum(s.unanswered for s in samples),
        sum(s.opened for s in samples),
        _sum(s.rude for s in samples),
        _sum(s.statuses for s in samples),
        _sum(s.client_errors for s in samples),
        _sum(s.rude_errors for s in samples),
        _sum(s.server_errors for s in samples),
        _growth(part, [s.rss_bytes for s in part], PAGES_BYTES),
        _growth(part, [s.fds for s in part], FEW_FDS),
        max((s.threads for s in samples), default=0),
        max((s.time_wait for s in samples), default=0),
        samples[-1].time_wait if samples else 0,
        sum(s.server_cpu_ns for s in samples),
        _latency(samples),
        _drift(samples),
    )


def _longest(samples: Iterable[Sample], settle_s: float) -> list[Sample]:
    """The samples of one server: of the part that has most, less its warm-up."""
    by_segment: dict[int, list[Sample]] = {}
    for sample in samples:
        by_segment.setdefault(sample.segment, []).append(sample)
    longest = max(by_segment.values(), key=len, default=[])
    settle_s = max(settle_s, WARM_UP * sum(s.wall_ns for s in longest) / 1e9)
    ran_s = 0.0
    for settled, sample in enumerate(longest):
        ran_s += sample.wall_ns / 1e9
        if ran_s >= settle_s:
            return longest[settled:]
    return []


def _sum(each: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for counts in each:
        total.update(counts)
    return dict(total.most_common())


def _growth(part: list[Sample], sizes: list[int | None], noise: int) -> Growth | None:
    seconds = connections = 0.0
    xs, by_connections, ys = [], [], []
    for sample, size in zip(part, sizes, strict=True):
        seconds += sample.wall_ns / 1e9
        connections += sample.opened
        if size is not None:
            xs.append(seconds / 3600)
            by_connections.append(connections)
            ys.append(size)
    if not ys:
        return None
    per_hour = slope(xs, ys)
    grows = per_hour is not None and per_hour.low > 0 and per_hour.value * (xs[-1] - xs[0]) > noise
    return Growth(ys[0], ys[-1], max(ys), per_hour, slope(by_connections, ys), grows)


def _latency(samples: Iterable[Sample]) -> Histogram:
    return Histogram(_sum_buckets(samples))


def _sum_buckets(samples: Iterable[Sample]) -> dict[int, int]:
    total: Counter[int] = Counter()
    for sample in samples:
        for bucket, count in sample.latency.items():
            total[int(bucket)] += count
    return dict(total)


def _drift(samples: tuple[Sample, ...]) -> Drift | None:
    third = len(samples) // 3
    if not third:
        return None
    first, last = _latency(samples[:third]), _latency(samples[-third:])
    times = [each.quantile(share) for share in (0.5, 0.99) for each in (first, last)]
    if any(time is None for time in times):
        return None
    return Drift(*(time for time in times if time is not None))
