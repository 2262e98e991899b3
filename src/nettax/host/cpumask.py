"""Sets of CPUs as the kernel writes them: masks ``00000000,00000003`` and lists ``0,2-5``.

Both forms are those of lib/bitmap-str.c in the kernel's tree: a mask is hexadecimal in groups of
32 bits, the most significant first.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nettax.errors import UsageError

_GROUP = 32
_ONLINE = Path("/sys/devices/system/cpu/online")


def format_mask(cpus: Iterable[int]) -> str:
    """Write CPUs as a mask; none is ``0``.

    :raises UsageError: a CPU is negative.
    """
    bits = 0
    for cpu in cpus:
        if cpu < 0:
            raise UsageError(f"there is no CPU {cpu}: CPUs count from 0.")
        bits |= 1 << cpu
    groups = [bits & 0xFFFFFFFF]
    while bits := bits >> _GROUP:
        groups.insert(0, bits & 0xFFFFFFFF)
    return ",".join([f"{groups[0]:x}", *(f"{group:08x}" for group in groups[1:])])


def parse_mask(text: str) -> frozenset[int]:
    """Read a mask as sysfs prints it, with or without leading zeros and commas.

    :raises UsageError: it is not a mask.
    """
    groups = text.strip().split(",")
    digits = groups[0] + "".join(group.rjust(_GROUP // 4, "0") for group in groups[1:])
    if not digits or not set(digits) <= set("0123456789abcdefABCDEF"):
        raise UsageError(f"{text!r} is not a CPU mask: write hexadecimal, such as 3 or 1,00000000.")
    bits = int(digits, 16)
    return frozenset(cpu for cpu in range(bits.bit_length()) if bits >> cpu & 1)


def parse_list(text: str) -> frozenset[int]:
    """Read a list of CPUs and ranges, such as ``0,2-5``; an empty text is no CPU.

    :raises UsageError: it is not such a list.
    """
    cpus: set[int] = set()
    for item in filter(None, text.strip().split(",")):
        first, dash, last = item.partition("-")
        try:
            span = range(int(first), int(last if dash else first) + 1)
        except ValueError:
            span = range(0)
        if not span:
            raise UsageError(f"{text!r} is not a list of CPUs: write it as 0,2-5.")
        cpus.update(span)
    return frozenset(cpus)


def existing(cpus: Iterable[int]) -> frozenset[int]:
    """Return ``cpus`` if there are any and each is online.

    :raises UsageError: otherwise.
    """
    wanted = frozenset(cpus)
    online = parse_list(_ONLINE.read_text())
    if not wanted:
        raise UsageError("no CPU was named: name at least one.")
    if absent := wanted - online:
        raise UsageError(f"no CPU {min(absent)} is online: choose from {sorted(online)}.")
    return wanted
