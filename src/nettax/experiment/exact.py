"""What two settings of a server in the kernel cost, in instructions that are the same again.

Guests are booted anew for each repetition; where both settings are of one kernel, each guest runs
both, now the one first and now the other. A guest's clock tells all that its one CPU executes
between an operation's beginning and its end, the client and both sides in the kernel; and a plugin
of QEMU's tells which functions these instructions were, without one more being executed for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from nettax import native
from nettax.errors import NettaxError, UsageError
from nettax.experiment.exact_difference import Difference, differences
from nettax.experiment.exact_functions import (
    Symbol,
    Used,
    kernel_symbols,
    module_symbols,
    of_strings,
    used,
)
from nettax.experiment.exact_setting import Setting
from nettax.lab import kmod
from nettax.lab.vm import Module, Vm, build, kernels, modules
from nettax.lab.vm.blocks import Block, Blocks

__all__ = ["OPERATIONS", "Compared", "Guests", "compare", "series"]

OPERATIONS = {"connection": "echo", "round-trip": "echo", "request": "http"}
"""What is counted, in the order of native/exact.c, and what the server is to speak for it."""

_CLIENT = Path(__file__).with_name("exact_client.py")


@dataclass(frozen=True)
class Guests:
    """One setting, as it ran."""

    setting: Setting
    release: str
    """Of the kernel."""
    boots: tuple[Counted, ...]


@dataclass(frozen=True)
class Counted:
    """What was counted of a setting in one guest, an operation on average."""

    instructions: Mapping[str, float]
    """By operation, by the guest's clock."""
    functions: Mapping[str, Mapping[str, Used]]
    """By operation and function, by the plugin."""


@dataclass(frozen=True)
class Compared:
    """One operation under both settings."""

    operation: str
    total: Difference
    functions: tuple[Difference, ...]
    """Those that differ, the greatest difference first."""
    calls: Mapping[str, tuple[float, float]]
    """By function, how often an operation called it under A and under B."""
    strings: tuple[float, float]
    """Of A's and of B's instructions, those that wipe and copy memory (`of_strings`)."""
    closure: float
    """How far the functions' sum is from the clock's figure, at most: a share of this."""


def compare(
    a: Setting,
    b: Setting,
    *,
    operations: Sequence[str] = (),
    count: int = 500,
    repeat: int = 4,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Guests, Guests, list[Compared]]:
    """Count so many operations of each kind under both, `repeat` times.

    Without ``operations`` all that nettax's own server can do are counted.

    :raises UsageError: a module has no such parameter, or it is not known what it serves.
    :raises MissingFeature: what building or booting takes is missing.
    :raises NettaxError: a guest does not start, or refuses a setting, or the client fails in it.
    """
    first, second, found = series(
        a, b, 1, operations=operations, count=count, repeat=repeat, progress=progress
    )
    return first, second, found[0]


def series(
    a: Setting,
    b: Setting,
    times: int,
    *,
    operations: Sequence[str] = (),
    count: int = 500,
    repeat: int = 4,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Guests, Guests, list[list[Compared]]]:
    """Make a comparison several times over, one after another in each of the guests.

    What `compare` does, at less than a guest for each; what the guests counted is of the first.
    """
    sides = [_Side(each, operations, progress) for each in (a, b)]
    lab = _Lab(count, progress)
    together = sides[0].kernel == sides[1].kernel
    boots: list[tuple[list[Counted], list[Counted]]] = [([], []) for _ in range(times)]
    for number in range(repeat):
        progress(f"counting, {number + 1} of {repeat}")
        order = [0, 1] if number % 2 == 0 else [1, 0]
        for indices in [order] if together else [[index] for index in order]:
            done = lab.counted([sides[index] for index in indices], times)
            for one, counted in zip(boots, done, strict=True):
                for index, each in zip(indices, counted, strict=True):
                    one[index].append(each)
    guests = [
        Guests(each.setting, each.kernel.release, tuple(done))
        for each, done in zip(sides, boots[0], strict=True)
    ]
    found = [
        [_compared(name, count, *one, together=together) for name in sides[0].operations]
        for one in boots
    ]
    return guests[0], guests[1], found


def _compared(
    name: str, count: int, a: Sequence[Counted], b: Sequence[Counted], *, together: bool
) -> Compared:
    clocks = [one.instructions[name] for one in a], [one.instructions[name] for one in b]
    functions = [one.functions[name] for one in a], [one.functions[name] for one in b]
    total, found = differences(clocks, functions, count, together=together)
    off = [
        abs(sum(each.instructions for each in used.values()) / clock - 1)
        for used, clock in zip(functions[0] + functions[1], clocks[0] + clocks[1], strict=True)
    ]
    calls = {
        each.name: (_calls(functions[0], each.name), _calls(functions[1], each.name))
        for each in found
    }
    strings = (
        fmean(map(of_strings, functions[0])),
        fmean(map(of_strings, functions[1])),
    )
    return Compared(name, total, tuple(found), calls, strings, max(off))


def _calls(boots: Sequence[Mapping[str, Used]], name: str) -> float:
    return sum(one[name].calls for one in boots if name in one) / len(boots)


class _Side:
    """A setting, and what is prepared of it before guests boot."""

    def __init__(
        self, setting: Setting, operations: Sequence[str], progress: Callable[[str], None]
    ) -> None:
        self.setting = setting
        self.kernel = kernels.find(setting.kernel, progress)
        source = setting.module or kmod.source()
        files = build.built(self.kernel, Module(source), progress).files
        if len(files) != 1:
            raise UsageError(f"{source} makes {len(files)} modules: give the sources of one.")
        self._file = files[0]
        content = self._file.read_bytes()
        self._has = modules.parameters_of(content)
        self._functions = modules.functions_of(content)
        for name in (word.partition("=")[0] for word in setting.parameters):
            if name not in self._has and name != "port":
                raise UsageError(
                    f"the module of {source} has no parameter {name}: "
                    f"it has {', '.join(sorted(self._has)) or 'none'}."
                )
        if not operations and "protocol" not in self._has:
            raise UsageError(
                f"what the module of {source} serves is not known: give --operation "
                "connection and round-trip (of an echo server), or request (of HTTP)."
            )
        self.operations = tuple(operations or OPERATIONS)

    def plan(self, phase: int) -> dict[str, object]:
        """For exact_client.py; phases are numbered from this on."""
        order = list(OPERATIONS)
        return {
            "module": str(self._file),
            "sysctls": dict(self.setting.sysctls),
            "port": self.setting.port,
            "operations": [
                (name, order.index(name), phase + n, self._parameters(OPERATIONS[name]))
                for n, name in enumerate(self.operations)
            ],
        }

    def _parameters(self, protocol: str) -> list[str]:
        words = [w for w in self.setting.parameters if w.partition("=")[0] in self._has]
        return [*words, *([f"protocol={protocol}"] if "protocol" in self._has else [])]

    def made(
        self,
        said: Mapping[str, Any],
        phase: int,
        blocks: Sequence[Block],
        kernel: Sequence[Symbol],
        count: int,
    ) -> Counted:
        """Of what the client and the plugin counted."""
        functions = {}
        for n, name in enumerate(self.operations):
            own = module_symbols(self._functions, said["code"][name])
            functions[name] = used(blocks, phase + n, [*kernel, *own], count)
        return Counted(said["instructions"], functions)


class _Lab:
    """Guests to count in."""

    def __init__(self, count: int, progress: Callable[[str], None]) -> None:
        self._count = count
        self._progress = progress
        self._symbols: dict[str, list[Symbol]] = {}  # by release

    def counted(self, sides: Sequence[_Side], times: int) -> list[list[Counted]]:
        """Boot a guest, and count these in turn, so many times."""
        phases = [1 + n * len(side.operations) for n, side in enumerate(sides)]
        plan = {
            "library": native.PATH,
            "count": self._count,
            "settings": [side.plan(phase) for side, phase in zip(sides, phases, strict=True)],
        }
        release = sides[0].kernel.release
        found = []
        with (
            Blocks() as blocks,
            Vm(
                sides[0].setting.kernel, exact=True, blocks=blocks, progress=self._progress
            ) as guest,
        ):
            for _ in range(times):
                said = _told(guest, plan)
                if release not in self._symbols:
                    text = guest.run(["cat", "/proc/kallsyms"]).stdout.decode()
                    self._symbols[release] = kernel_symbols(text)
                executed = blocks.read()
                found.append(
                    [
                        side.made(each, phase, executed, self._symbols[release], self._count)
                        for side, phase, each in zip(sides, phases, said["settings"], strict=True)
                    ]
                )
        return found


def _told(guest: Vm, plan: Mapping[str, object]) -> Any:
    """What the client prints."""
    done = guest.run(["python3", "-IS", _CLIENT, json.dumps(plan)])
    if done.code:
        raise NettaxError(f"the client failed in the guest:\n{done.stderr.decode().strip()}")
    said = json.loads(done.stdout)
    if "refused" in said:
        raise NettaxError(said["refused"])
    return said
