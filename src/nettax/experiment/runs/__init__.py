"""Experiments by name: each answers one question with a table, a plot and a paragraph.

An experiment is a module here with a function ``run(smoke, progress)`` that gives an `Outcome`;
`EXPERIMENTS` has its name and the question. Several take kernels of the lab.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from nettax.errors import UsageError
from nettax.experiment.runs.outcome import Bars, Outcome, Table, Value

__all__ = ["EXPERIMENTS", "Bars", "Outcome", "Table", "Value", "run"]

EXPERIMENTS = {
    "thread-vs-pool": "A thread for each connection, or a pool: what does each cost?",
    "bound-vs-unbound": "Workqueues: who waits for long work items, and where do items run?",
    "echo-burst": "Many connections at once: who is answered, and when?",
    "kthread-cost": "How long does making a kernel thread take, and what is it spent on?",
    "function-cost": "What does a kernel function cost, and what its tracer?",
}
"""By name, the question."""


def run(
    name: str, *, smoke: bool = False, progress: Callable[[str], None] = lambda _: None
) -> Outcome:
    """Run one.

    :param smoke: less of everything: to see that it works, not for its figures.
    :param progress: is told what takes long.
    :raises UsageError: there is none of this name.
    :raises NettaxError: as its parts do: the lab's guests, the ledger, the load tools.
    """
    if name not in EXPERIMENTS:
        raise UsageError(f"there is no experiment {name!r}: {', '.join(EXPERIMENTS)}.")
    module = import_module(f"nettax.experiment.runs.{name.replace('-', '_')}")
    outcome: Outcome = module.run(smoke=smoke, progress=progress)
    return outcome
