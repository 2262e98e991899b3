"""Which functions of the kernel a guest's instructions were, and how often each was called."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from nettax.lab.vm.blocks import Block
from nettax.lab.vm.modules import Function

__all__ = [
    "CLIENT",
    "Symbol",
    "Used",
    "kernel_symbols",
    "module_symbols",
    "of_strings",
    "used",
]

CLIENT = "(user space)"
"""What is not the kernel's: the client."""
_KERNEL = 1 << 63
# What GCC appends to the names of copies and parts; their numbers differ from build to build.
_VARIANT = re.compile(r"\.(?:constprop|isra|part|cold|llvm)(?:\.\d+)?")
# What arch/x86/lib has to wipe and to copy memory, by `rep stos` and `rep movs`.
_STRINGS = re.compile(
    r"(?:clear_page|rep_stos|rep_movs|copy_user|(?:__)?mem(?:set|cpy|move))(?:_\w+)?"
)


class Symbol(NamedTuple):
    """Where a function begins."""

    address: int
    name: str


class Used(NamedTuple):
    """What one operation took of one function, on average."""

    instructions: float
    """Its own: not those of what it called."""
    calls: float


def kernel_symbols(kallsyms: str) -> list[Symbol]:
    """Of a kernel that is at the same addresses in each boot (nokaslr): /proc/kallsyms."""
    split = (line.split() for line in kallsyms.splitlines())
    return [
        Symbol(int(address, 16), _VARIANT.sub("", name))
        for address, kind, name, *_ in split
        if kind in "tTwW"
    ]


def module_symbols(functions: Iterable[Function], sections: Mapping[str, int]) -> list[Symbol]:
    """Of a module, loaded where its sections are."""
    return [
        Symbol(sections[section] + offset, _VARIANT.sub("", name))
        for section, offset, name in functions
        if section in sections
    ]


def used(
    blocks: Iterable[Block], phase: int, symbols: Iterable[Symbol], count: int
) -> Mapping[str, Used]:
    """By function, what each of ``count`` operations of a phase took.

    A function counts as called when its first instruction is executed. Functions of one name are
    one.
    """
    table = sorted(symbols)
    starts = [symbol.address for symbol in table]
    instructions: dict[str, int] = {}
    calls: dict[str, int] = {}
    for address, size, times in blocks:
        if not times[phase]:
            continue
        name, begins = CLIENT, False
        if address & _KERNEL:
            found = table[bisect_right(starts, address) - 1]
            name, begins = found.name, found.address == address
        instructions[name] = instructions.get(name, 0) + size * times[phase]
        if begins:
            calls[name] = calls.get(name, 0) + times[phase]
    return {
        name: Used(total / count, calls.get(name, 0) / count)
        for name, total in instructions.items()
    }


def of_strings(functions: Mapping[str, Used]) -> float:
    """Instructions of those functions that wipe and copy memory by one instruction, repeated.

    Emulation counts each repetition: 4096 for a page that is wiped byte by byte.
    """
    return sum(each.instructions for name, each in functions.items() if _STRINGS.fullmatch(name))
