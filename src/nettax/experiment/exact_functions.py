"""Which functions of the kernel a guest's instructions were, and how often each was called."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from nettax.lab.vm.blocks import Block

__all__ = ["CLIENT", "Symbols", "Used", "used"]

CLIENT = "(user space)"
"""What is not the kernel's: the client."""
_KERNEL = 1 << 63
# What GCC appends to the names of copies and parts; their numbers differ from build to build.
_VARIANT = re.compile(r"\.(?:constprop|isra|part|cold|llvm)(?:\.\d+)?")


class Used(NamedTuple):
    """What one operation took of one function, on average."""

    instructions: float
    """Its own: not those of what it called."""
    calls: float


class Symbols:
    """Names by address, of a kernel that is at the same addresses in each boot (nokaslr)."""

    def __init__(self, kallsyms: str, module: str, code: int) -> None:
        """From /proc/kallsyms, read while the module was loaded, its code at ``code``."""
        kernel: list[tuple[int, str]] = []
        own: list[tuple[int, str]] = []
        for line in kallsyms.splitlines():
            address, kind, name, *where = line.split()
            if kind in "tTwW":
                symbol = int(address, 16), _VARIANT.sub("", name)
                (own if where == [f"[{module}]"] else kernel).append(symbol)
        self._kernel = sorted(kernel)
        self._module = sorted(own)
        self._code = code

    def at(self, code: int) -> tuple[list[int], list[str]]:
        """Starts and names while the module's code is at ``code``."""
        moved = [(address - self._code + code, name) for address, name in self._module]
        both = sorted([*self._kernel, *moved])
        return [address for address, _ in both], [name for _, name in both]


def used(
    blocks: Iterable[Block], phase: int, table: tuple[list[int], list[str]], count: int
) -> Mapping[str, Used]:
    """By function, what each of ``count`` operations of a phase took.

    A function counts as called when its first instruction is executed. Functions of one name are
    one.
    """
    starts, names = table
    instructions: dict[str, int] = {}
    calls: dict[str, int] = {}
    for address, size, times in blocks:
        if not times[phase]:
            continue
        name, begins = CLIENT, False
        if address & _KERNEL:
            index = bisect_right(starts, address) - 1
            name, begins = names[index], starts[index] == address
        instructions[name] = instructions.get(name, 0) + size * times[phase]
        if begins:
            calls[name] = calls.get(name, 0) + times[phase]
    return {
        name: Used(total / count, calls.get(name, 0) / count)
        for name, total in instructions.items()
    }
