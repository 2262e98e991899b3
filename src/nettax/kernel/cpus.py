"""CPU numbers: which exist, and the two ways in which Linux and its tools write sets of them.

A set of CPUs is a sorted tuple of distinct numbers. A *list* reads ``0,2-5`` (perf's ``-C``,
sysfs' ``*_list``); a *mask* reads ``3`` or ``1,00000000``: hexadecimal, 32 bits to a group, as
the kernel prints bitmaps (lib/vsprintf.c, ``%*pbl`` and ``%*pb``).
"""

from __future__ import annotations

from collections.abc import Iterable

from nettax.errors import UsageError
from nettax.kernel.files import StrPath, read_text

__all__ = ["format_list", "format_mask", "online", "parse_list", "parse_mask", "possible", "select"]

# Far above CONFIG_NR_CPUS of any architecture (x86: 8192); it bounds what `0-999999999` costs.
_LIMIT = 1 << 16
_GROUP_BITS = 32


def online(sys: StrPath = "/sys") -> tuple[int, ...]:
    """Return the CPUs that run tasks now."""
    return parse_list(read_text(f"{sys}/devices/system/cpu/online"))


def possible(sys: StrPath = "/sys") -> tuple[int, ...]:
    """Return the CPUs that this boot could ever have; per-CPU BPF maps have one slot for each."""
    return parse_list(read_text(f"{sys}/devices/system/cpu/possible"))


def select(text: str, sys: StrPath = "/sys") -> tuple[int, ...]:
    """Return the CPUs that a user asked for with ``-C``.

    :raises UsageError: if the list is malformed, is empty, or names a CPU that is not online.
    """
    chosen = parse_list(text)
    if not chosen:
        raise UsageError("no CPU is named: give a list such as 0,2-5")
    running = online(sys)
    if absent := sorted(set(chosen) - set(running)):
        raise UsageError(
            f"CPU {format_list(absent)} is not online: this host runs {format_list(running)}"
        )
    return chosen


def parse_list(text: str) -> tuple[int, ...]:
    """Parse ``0,2-5``; blank text is the empty set, as in ``/sys/devices/system/cpu/isolated``.

    :raises UsageError: if a part is neither a number nor a rising range.
    """
    if not text.strip():
        return ()
    chosen: set[int] = set()
    for part in text.strip().split(","):
        first, dash, last = part.partition("-")
        low = _number(first, part)
        high = _number(last, part) if dash else low
        if high < low:
            raise UsageError(f"CPU range {part!r} falls: write {high}-{low}")
        chosen.update(range(low, high + 1))
    return tuple(sorted(chosen))


def format_list(cpus: Iterable[int]) -> str:
    """Write a set of CPUs as the shortest list: ``0,2-5``."""
    ranges: list[tuple[int, int]] = []
    for cpu in sorted(set(cpus)):
        if ranges and cpu == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], cpu)
        else:
            ranges.append((cpu, cpu))
    return ",".join(f"{low}" if low == high else f"{low}-{high}" for low, high in ranges)


def parse_mask(text: str) -> tuple[int, ...]:
    """Parse a hexadecimal mask such as ``f`` or ``1,00000000``.

    :raises UsageError: if a group is not one to eight hexadecimal digits.
    """
    value = 0
    for group in text.strip().split(","):
        if not 1 <= len(group) <= _GROUP_BITS // 4 or set(group) - set("0123456789abcdefABCDEF"):
            raise UsageError(f"CPU mask {text.strip()!r} is not hexadecimal groups like 1,0000000f")
        value = value << _GROUP_BITS | int(group, 16)
    return tuple(cpu for cpu in range(value.bit_length()) if value >> cpu & 1)


def format_mask(cpus: Iterable[int]) -> str:
    """Write a set of CPUs as a mask that the kernel's bitmap_parse() (lib/bitmap-str.c) takes."""
    value = 0
    for cpu in cpus:
        value |= 1 << cpu
    groups = []
    while value >> _GROUP_BITS:
        groups.append(f"{value & (1 << _GROUP_BITS) - 1:08x}")
        value >>= _GROUP_BITS
    return ",".join([f"{value:x}", *reversed(groups)])


def _number(digits: str, part: str) -> int:
    # int() alone would take "+1", "1_0" and digits of other scripts.
    if not (digits.isascii() and digits.isdigit()):
        raise UsageError(f"CPU list: {part!r} is neither a CPU nor a range like 2-5")
    number = int(digits) if len(digits) < 9 else _LIMIT
    if number >= _LIMIT:
        raise UsageError(f"CPU list: {part!r} is beyond any kernel's CPUs")
    return number
