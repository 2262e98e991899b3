"""Several tools on one server, or one several times, interleaved: medians, and ratios of pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nettax.experiment.environment import Environment, environment
from nettax.experiment.estimate import Estimate, median, paired_ratio
from nettax.experiment.load import LoadRun
from nettax.experiment.schedule import Schedule
from nettax.load.tool import Tool

__all__ = ["MEASURES", "Comparison", "Measure", "compare"]


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure of a run."""

    name: str
    heading: str
    of: Callable[[LoadRun], float | None]


def _each(run: LoadRun, ns: int) -> float:
    return ns / 1e3 / max(1, run.result.done)


def _p50(run: LoadRun) -> float | None:
    latency = run.result.latency
    found = latency.quantile(0.5) if latency else None
    return None if found is None else found / 1e3


MEASURES = (
    Measure("rate", "req/s", lambda run: run.result.rate),
    Measure("server_us", "server", lambda run: _each(run, run.server.parts_ns)),
    Measure("generator_us", "tool", lambda run: _each(run, run.generator.parts_ns)),
    Measure(
        "net_us", "of which net", lambda run: _each(run, run.server.net_ns + run.generator.net_ns)
    ),
    Measure("p50_us", "p50 µs", _p50),
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """All runs, and what they amount to."""

    tools: tuple[str, ...]
    """As they were asked for; ratios are to the first."""
    rounds: int
    duration_s: int
    seed: int
    runs: Mapping[str, tuple[LoadRun, ...]]
    """By tool, in the order of rounds."""
    estimates: Mapping[str, Mapping[str, Estimate | None]]
    """By tool and measure."""
    ratios: Mapping[str, Mapping[str, Estimate | None]]
    """By tool, the first left out, and measure: of each round's pair of runs."""
    environment: Environment


def compare(
    tools: Sequence[Tool],
    rounds: int,
    duration_s: int,
    run: Callable[[Tool], LoadRun],
    *,
    seed: int | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Comparison:
    """Run every tool once a round, in an order drawn afresh for each.

    :raises UsageError: there is nothing to run.
    """
    by_name = {tool.name: tool for tool in tools}
    schedule = Schedule.draw(by_name, rounds, seed)
    runs: dict[str, list[LoadRun]] = {name: [] for name in by_name}
    done = 0
    for names in schedule.rounds:
        for name in names:
            runs[name].append(run(by_name[name]))
            done += 1
            progress(done, rounds * len(by_name))
    first = next(iter(by_name))
    return Comparison(
        tools=tuple(by_name),
        rounds=rounds,
        duration_s=duration_s,
        seed=schedule.seed,
        runs={name: tuple(found) for name, found in runs.items()},
        estimates={
            name: {m.name: _median(_values(found, m)) for m in MEASURES}
            for name, found in runs.items()
        },
        ratios={
            name: {m.name: _ratio(_values(found, m), _values(runs[first], m)) for m in MEASURES}
            for name, found in runs.items()
            if name != first
        },
        environment=environment(),
    )


def _values(runs: Sequence[LoadRun], measure: Measure) -> list[float | None]:
    return [measure.of(run) for run in runs]


def _median(values: Sequence[float | None]) -> Estimate | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _ratio(values: Sequence[float | None], bases: Sequence[float | None]) -> Estimate | None:
    pairs = [(a, b) for a, b in zip(values, bases, strict=True) if a is not None and b]
    return paired_ratio([a for a, _ in pairs], [b for _, b in pairs]) if pairs else None
