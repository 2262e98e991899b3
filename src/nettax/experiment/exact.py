"""What two settings of a server in the kernel cost, in instructions that are the same again.

Each is booted anew for each repetition, in turns, in a guest that counts: its clock tells all that
its one CPU executes between an operation's beginning and its end, the client and both sides in the
kernel, and a plugin of QEMU's tells which functions these instructions were, without one more
being executed for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nettax import native
from nettax.errors import NettaxError, UsageError
from nettax.experiment.exact_difference import Difference, differences
from nettax.experiment.exact_functions import Symbols, Used, used
from nettax.experiment.exact_setting import Setting
from nettax.lab import kmod
from nettax.lab.vm import Module, Vm, build, kernels, modules
from nettax.lab.vm.blocks import Blocks

__all__ = ["OPERATIONS", "Compared", "Guests", "compare"]

OPERATIONS = {"connection": "echo", "round-trip": "echo", "request": "http"}
"""What is counted, and the protocol that the server is to speak for it. Their order is that of
`enum operation` in native/exact.c, from 1."""

_CLIENT = Path(__file__).with_name("exact_client.py")


@dataclass(frozen=True)
class Guests:
    """One setting, as it ran."""

    setting: Setting
    release: str
    """Of the kernel."""
    boots: tuple[_Counted, ...]


@dataclass(frozen=True)
class _Counted:
    """What one guest counted, an operation on average."""

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
    closure: float
    """How far the functions' sum is from the clock's figure, at most: a share of this."""


def compare(
    a: Setting,
    b: Setting,
    *,
    operations: Sequence[str] = (),
    count: int = 500,
    repeat: int = 3,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Guests, Guests, list[Compared]]:
    """Count so many operations of each kind under both, in `repeat` guests of each.

    Without ``operations`` all that both modules can do are counted.

    :raises UsageError: a module has no such parameter, or it is not known what it serves.
    :raises MissingFeature: what building or booting takes is missing.
    :raises NettaxError: a guest does not start, or refuses a setting, or the client fails in it.
    """
    sides = [_Side(each, operations, progress) for each in (a, b)]
    boots: tuple[list[_Counted], list[_Counted]] = ([], [])
    for number in range(repeat):
        for side, done, name in zip(sides, boots, "AB", strict=True):
            progress(f"counting {name}, guest {number + 1} of {repeat}")
            done.append(side.counted(count))
    guests = [
        Guests(each.setting, each.kernel.release, tuple(done))
        for each, done in zip(sides, boots, strict=True)
    ]
    return guests[0], guests[1], [_compared(name, count, *boots) for name in sides[0].operations]


def _compared(name: str, count: int, a: Sequence[_Counted], b: Sequence[_Counted]) -> Compared:
    clocks = [one.instructions[name] for one in a], [one.instructions[name] for one in b]
    functions = [one.functions[name] for one in a], [one.functions[name] for one in b]
    total, found = differences(clocks, functions, count)
    off = [
        abs(sum(each.instructions for each in used.values()) / clock - 1)
        for used, clock in zip(functions[0] + functions[1], clocks[0] + clocks[1], strict=True)
    ]
    calls = {
        each.name: (_calls(functions[0], each.name), _calls(functions[1], each.name))
        for each in found
    }
    return Compared(name, total, tuple(found), calls, max(off))


def _calls(boots: Sequence[Mapping[str, Used]], name: str) -> float:
    return sum(one[name].calls for one in boots if name in one) / len(boots)


class _Side:
    """A setting, and what can be prepared of it before its guests boot."""

    def __init__(
        self, setting: Setting, operations: Sequence[str], progress: Callable[[str], None]
    ) -> None:
        self.setting = setting
        self.kernel = kernels.find(setting.kernel, progress)
        source = Module(setting.module or kmod.source())
        files = build.built(self.kernel, source, progress).files
        if len(files) != 1:
            raise UsageError(f"{source.directory} makes {len(files)} modules: give one of one.")
        self._file = files[0]
        self._has = modules.parameters_of(self._file.read_bytes())
        self._progress = progress
        for name in (word.partition("=")[0] for word in setting.parameters):
            if name not in self._has and name != "port":
                raise UsageError(
                    f"the module of {source.directory} has no parameter {name}: "
                    f"it has {', '.join(self._has) or 'none'}."
                )
        if not operations and "protocol" not in self._has:
            raise UsageError(
                f"what the module of {source.directory} serves is not known: give --operation "
                "connection and round-trip (of an echo server), or request (of HTTP)."
            )
        self.operations = tuple(operations or OPERATIONS)
        self._symbols: Symbols | None = None

    def counted(self, count: int) -> _Counted:
        """Boot a guest and count."""
        with (
            Blocks() as blocks,
            Vm(self.setting.kernel, exact=True, blocks=blocks, progress=self._progress) as vm,
        ):
            done = vm.run(["python3", "-IS", _CLIENT, json.dumps(self._plan(count))])
            if done.code:
                raise NettaxError(
                    f"the client failed in the guest:\n{done.stderr.decode().strip()}"
                )
            said = json.loads(done.stdout)
            if "refused" in said:
                raise NettaxError(said["refused"])
            if self._symbols is None:
                text = vm.run(["cat", "/proc/kallsyms"]).stdout.decode()
                since = list(said["code"].values())[-1]
                self._symbols = Symbols(text, modules.name_of(self._file.name), since)
            counts = list(blocks.read())
        functions = {
            name: used(counts, _phase(name), self._symbols.at(code), count)
            for name, code in said["code"].items()
        }
        return _Counted(said["instructions"], functions)

    def _plan(self, count: int) -> dict[str, object]:
        """See exact_client.py."""
        return {
            "library": native.PATH,
            "module": str(self._file),
            "sysctls": dict(self.setting.sysctls),
            "port": self.setting.port,
            "count": count,
            "operations": [
                (name, _phase(name), self._parameters(OPERATIONS[name])) for name in self.operations
            ],
        }

    def _parameters(self, protocol: str) -> list[str]:
        words = [w for w in self.setting.parameters if w.partition("=")[0] in self._has]
        return [*words, *([f"protocol={protocol}"] if "protocol" in self._has else [])]


def _phase(operation: str) -> int:
    """Its number in native/exact.c."""
    return list(OPERATIONS).index(operation) + 1
