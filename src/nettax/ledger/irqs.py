"""Interrupts by what raised them: a queue's IRQ, the timer, other CPUs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from nettax.kernel.btf import Layout
from nettax.ledger.rows import IrqShare

__all__ = ["APART", "Lines", "irq_shares"]

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
    """How to read struct irq_key and struct irq_line; one for each ledger."""

    def __init__(self, key: Layout, line: Layout) -> None:
        """Take the layouts of the structs from the BPF object."""
        self.irq: Callable[[bytes], int] = key.field("irq")
        self.cpu: Callable[[bytes], int] = key.field("cpu")
        self.count: Callable[[bytes], int] = line.field("count")
        self.ns: Callable[[bytes], int] = line.field("ns")
        self.name: Callable[[bytes], str] = line.field("name")


def irq_shares(
    decode: Lines,
    now: Mapping[bytes, bytes],
    then: Mapping[bytes, bytes],
    cpus_now: Mapping[int, Any],
    cpus_then: Mapping[int, Any],
) -> Iterator[IrqShare]:
    """Each line that interrupted a CPU between two readings, CPU by CPU.

    Of the first two mappings, struct irq_line by struct irq_key; of the others, struct cpu_totals.
    """
    grown: dict[tuple[str, str, int], list[int]] = {}

    def add(irq: str, name: str, cpu: int, count: int, ns: int) -> None:
        if count:
            # One of the same name may have gone, and come again with another action.
            so_far = grown.setdefault((irq, name, cpu), [0, 0])
            so_far[0] += count
            so_far[1] += ns

    for key, line in now.items():
        before = then.get(key)
        count = decode.count(line) - (decode.count(before) if before else 0)
        ns = decode.ns(line) - (decode.ns(before) if before else 0)
        add(str(decode.irq(key)), decode.name(line), decode.cpu(key), count, ns)
    for cpu, totals in cpus_now.items():
        earlier = cpus_then[cpu]
        for i, (irq, name) in enumerate(APART):
            count = totals.apart_count[i] - earlier.apart_count[i]
            add(irq, name, cpu, count, totals.apart_ns[i] - earlier.apart_ns[i])
    for (irq, name, cpu), (count, ns) in grown.items():
        yield IrqShare(irq=irq, name=name, cpu=cpu, count=count, time_ns=ns)
