"""The order of runs, the windows that they share, and what an error leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettax.errors import UsageError
from nettax.experiment.schedule import Condition, Run, Schedule, interleave


class Bench:
    """Conditions that write down when they are entered and left, and a measure that does too."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def condition(self, name: str) -> Condition:
        @contextmanager
        def enter() -> Iterator[None]:
            self.log.append(f"+{name}")
            try:
                yield
            finally:
                self.log.append(f"-{name}")

        return enter

    def measure(self) -> int:
        self.log.append("measure")
        return self.log.count("measure")


@given(st.sets(st.text(min_size=1), min_size=1, max_size=6), st.integers(1, 8), st.integers(0))
def test_every_round_has_every_condition_and_a_seed_repeats_it(
    names: set[str], rounds: int, seed: int
) -> None:
    schedule = Schedule.draw(names, rounds, seed)
    assert len(schedule.rounds) == rounds
    assert all(sorted(order) == sorted(names) for order in schedule.rounds)
    assert Schedule.draw(reversed(sorted(names)), rounds, seed) == schedule


def test_a_seed_is_drawn_and_kept() -> None:
    schedule = Schedule.draw("ABCD", 5)
    assert Schedule.draw("ABCD", 5, schedule.seed) == schedule


def test_orders_differ_between_rounds_and_none_is_favoured() -> None:
    schedule = Schedule.draw("AB", 1000, seed=7)
    first = [order[0] for order in schedule.rounds].count("A")
    assert 440 < first < 560  # 500 ± 3.8 standard deviations


@pytest.mark.parametrize(("names", "rounds"), [("", 3), ("A", 0)])
def test_nothing_to_run(names: str, rounds: int) -> None:
    with pytest.raises(UsageError):
        Schedule.draw(names, rounds)


def test_neighbours_share_their_idle_window() -> None:
    bench = Bench()
    schedule = Schedule(0, (("B", "A"), ("A", "B")))
    conditions = {name: bench.condition(name) for name in "AB"}
    runs = list(interleave(schedule, conditions, bench.measure))
    assert runs == [
        Run("B", 0, 1, 2, 3),
        Run("A", 0, 3, 4, 5),
        Run("A", 1, 5, 6, 7),
        Run("B", 1, 7, 8, 9),
    ]
    window = ["measure", "-{}", "measure"]
    expected = ["measure"] + [step.format(name) for name in "BAAB" for step in ["+{}", *window]]
    assert bench.log == expected


def test_an_error_leaves_its_condition_and_is_not_lost() -> None:
    bench = Bench()

    def measure() -> int:
        if bench.measure() == 4:
            raise OSError("link down")
        return 0

    schedule = Schedule(0, (("A", "B"),))
    runs = interleave(schedule, {name: bench.condition(name) for name in "AB"}, measure)
    assert next(runs).condition == "A"
    with pytest.raises(OSError, match="link down") as caught:
        next(runs)
    assert caught.value.__notes__ == ["in round 0, condition B"]
    assert bench.log[-1] == "-B"


def test_no_condition_is_in_force_between_runs() -> None:
    bench = Bench()
    schedule = Schedule(0, (("A",), ("A",)))
    runs = interleave(schedule, {"A": bench.condition("A")}, bench.measure)
    next(runs)
    assert bench.log.count("+A") == bench.log.count("-A") == 1


def test_an_unknown_condition_is_refused() -> None:
    with pytest.raises(KeyError):
        list(interleave(Schedule(0, (("A",),)), {}, lambda: 0))
