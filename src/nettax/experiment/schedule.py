"""Conditions measured in random order, each between two idle windows.

A host drifts: it warms up, its neighbours come and go. Measured one after the other, two
conditions would carry that drift as a difference. So each round runs every condition once, in an
order drawn afresh, and an idle window stands between any two::

    idle  B  idle  A  idle  C  idle | A  idle  C  idle  B  idle | …

Neighbours share the window between them, so n runs cost n + 1 idle windows.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, TypeVar

from nettax.errors import UsageError

__all__ = ["Condition", "Run", "Schedule", "interleave"]

T = TypeVar("T")

Condition = Callable[[], AbstractContextManager[object]]
"""Makes a context manager that brings the condition about, steady once it is entered."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Which condition runs when; enough, with the conditions, to repeat an experiment."""

    seed: int
    rounds: tuple[tuple[str, ...], ...]
    """The names of all conditions, once a round, in the order of their runs."""

    @classmethod
    def draw(cls, names: Iterable[str], rounds: int, seed: int | None = None) -> Schedule:
        """Draw the order of each round from `seed`, or from a seed drawn for the purpose.

        :raises UsageError: if there is nothing to run.
        """
        names = sorted(set(names))
        if not names or rounds < 1:
            raise UsageError("an experiment needs at least one condition and one round")
        if seed is None:
            seed = secrets.randbits(32)
        generator = random.Random(seed)  # noqa: S311 (repeatable is what it has to be)
        orders = (tuple(generator.sample(names, len(names))) for _ in range(rounds))
        return cls(seed, tuple(orders))


@dataclass(frozen=True, slots=True)
class Run(Generic[T]):
    """One window under a condition and the idle windows on either side of it."""

    condition: str
    round: int
    before: T
    value: T
    after: T


def interleave(
    schedule: Schedule, conditions: Mapping[str, Condition], measure: Callable[[], T]
) -> Iterator[Run[T]]:
    """Run a schedule, calling `measure` once in each window, idle ones included.

    Each run is yielded when its second idle window is over, no condition being in force. An error
    of a condition or of `measure` ends the experiment: it propagates once the condition has been
    left, with a note of the run that it struck.

    :raises KeyError: if the schedule names a condition that is not given.
    """
    before = measure()
    for number, names in enumerate(schedule.rounds):
        for name in names:
            try:
                with conditions[name]():
                    value = measure()
                after = measure()
            except Exception as error:
                error.add_note(f"in round {number}, condition {name}")
                raise
            yield Run(name, number, before, value, after)
            before = after
