"""Interrupts by what raised them: a queue's IRQ, the timer, other CPUs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from nettax.kernel.btf import Layout
from nettax.ledger.rows import IrqShare

__all__ = ["APART", "Lines", "Place", "irq_shares"]

Place: TypeAlias = tuple[int, int]
"""A CPU, and which of its places."""

APART: Final = (
    ("CAL", "function calls"),
    ("RES", "rescheduling"),
    ("IPI", "from other CPUs"),
    ("LOC", "local timer"),
    ("IWI", "IRQ work"),
    ("PLT", "platform"),
    ("ERR", "APIC errors"),
    ("SPU", "spurious"),
    ("TRM", "thermal events"),
    ("THR", "threshold"),
    ("DFR", "deferred errors"),
    ("?", "numbered, but there was no room"),
)
"""Interrupts without a number: `enum apart` in bpf/ledger.h, as x86's /proc/interrupts has them."""


class Lines:
    """How to read the places of struct irq_line that each CPU has; one for each ledger."""

    def __init__(self, line: Layout) -> None:
        """Take the layout of the struct from the BPF object."""
        self._size = line.size
        self.irq: Callable[[bytes], int] = line.field("irq")
        self.count: Callable[[bytes], int] = line.field("count")
        self.ns: Callable[[bytes], int] = line.field("ns")
        self.name: Callable[[bytes], str] = line.field("name")

    def used(self, cpu: int, places: memoryview) -> Iterator[tuple[Place, bytes]]:
        """The places of a CPU that are in use: which, and what is there."""
        words = self._size // 8
        for i, action in enumerate(places.cast("Q")[::words].tolist()):
            if action:
                yield (cpu, i), bytes(places[i * self._size : (i + 1) * self._size])


def irq_shares(
    decode: Lines,
    now: Mapping[Place, bytes],
    then: Mapping[Place, bytes],
    cpus_now: Mapping[int, Any],
    cpus_then: Mapping[int, Any],
) -> Iterator[IrqShare]:
    """Each line that interrupted a CPU between two readings, CPU by CPU.

    Of the first two mappings, struct irq_line; of the others, struct cpu_totals by CPU.
    """
    grown: dict[tuple[str, str, int], list[int]] = {}

    def add(irq: str, name: str, cpu: int, count: int, ns: int) -> None:
        if count:
            # One of the same name may have gone, and come again with another action.
            so_far = grown.setdefault((irq, name, cpu), [0, 0])
            so_far[0] += count
            so_far[1] += ns

    for place, line in now.items():
        before = then.get(place)
        count = decode.count(line) - (decode.count(before) if before else 0)
        ns = decode.ns(line) - (decode.ns(before) if before else 0)
        add(str(decode.irq(line)), decode.name(line), place[0], count, ns)
    for cpu, totals in cpus_now.items():
        earlier = cpus_then[cpu]
        for i, (irq, name) in enumerate(APART):
            count = totals.apart_count[i] - earlier.apart_count[i]
            add(irq, name, cpu, count, totals.apart_ns[i] - earlier.apart_ns[i])
    for (irq, name, cpu), (count, ns) in grown.items():
        yield IrqShare(irq=irq, name=name, cpu=cpu, count=count, time_ns=ns)
