"""How long a guest of the lab takes to run a command, and where the time goes.

Budget: `uname -r` in 15 s, with the kernel in the cache.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.text import ratio
from nettax.experiment.estimate import Estimate, median
from nettax.lab.vm import Vm
from nettax.report.table import table

__all__ = ["Boots", "boots", "text"]

RUNS = 6
BUDGET_S = 15.0
CASES: Mapping[str, Mapping[str, Any]] = {
    "6.1, 2 CPUs": {"kernel": "6.1"},
    "6.1, exact": {"kernel": "6.1", "exact": True},
    "6.12, 2 CPUs": {"kernel": "6.12"},
}
PHASES = ("before", "kernel", "init", "command")


@dataclass(frozen=True, slots=True)
class Boots:
    """One kind of guest."""

    name: str
    whole_s: Estimate
    """From nothing to the command's output."""
    phases_s: Mapping[str, Estimate]
    """By the guest's clock, but for what is before its kernel, and the command."""


def boots(repeats: int = RUNS, progress: Callable[[str], None] = lambda _: None) -> list[Boots]:
    """Boot each kind of guest `repeats` times, in turns."""
    lives: dict[str, list[dict[str, float]]] = {name: [] for name in CASES}
    for number in range(repeats):
        for name, arguments in CASES.items():
            progress(f"lab: {name}, {number + 1} of {repeats}")
            lives[name].append(_life(arguments))
    return [
        Boots(
            name,
            median([life["whole"] for life in found]),
            {
                phase: median([life[phase] for life in found])
                for phase in PHASES
                if phase in found[0]
            },
        )
        for name, found in lives.items()
    ]


def _life(arguments: Mapping[str, Any]) -> dict[str, float]:
    with Vm(**arguments) as vm:
        began = time.monotonic()
        vm.run(["uname", "-r"])
        command = time.monotonic() - began
        log = vm.run(["dmesg"]).stdout.decode(errors="replace")
    found = re.search(r"^\[ *(\d+\.\d+)\] Run /init", log, re.MULTILINE)
    assert found, "the kernel's log has no word of its first process"
    life = {"whole": vm.boot_s + command, "command": command}
    if not arguments.get("exact"):  # where its clock counts something else
        kernel, ready = float(found[1]), vm.ready_ns / 1e9
        life |= {"before": vm.boot_s - ready, "kernel": kernel, "init": ready - kernel}
    return life


def text(result: list[Boots]) -> str:
    """A table."""
    rows = [
        [
            *(each.name, ratio(each.whole_s, 2)),
            *(ratio(each.phases_s[p], 2) if p in each.phases_s else "·" for p in PHASES),
        ]
        for each in result
    ]
    n = result[0].whole_s.n
    late = [each.name for each in result if each.whole_s.high > BUDGET_S]
    return "\n\n".join(
        (
            f"A guest's `uname -r`, seconds: median of {n} runs each [95 % interval]:",
            table(["guest", "in all", *PHASES], rows),
            f"In the budget of {BUDGET_S:g} s: {'all but ' + ', '.join(late) if late else 'all'}.",
        )
    )
