"""/proc/interrupts and /proc/softirqs: how often each CPU was interrupted, and by what.

Sources: kernel/irq/proc.c and arch/*/kernel/irq.c (show_interrupts), fs/proc/softirqs.c. The
kernel counts in 32 bits: take differences modulo 2³².
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nettax.kernel.files import StrPath, read_text

__all__ = ["Interrupt", "interrupts", "softirqs"]


@dataclass(frozen=True, slots=True)
class Interrupt:
    """One line of /proc/interrupts."""

    name: str
    """The IRQ's number, or the architecture's name: LOC, RES, CAL."""
    per_cpu: Mapping[int, int]
    """Count since boot by online CPU; empty for lines that have one count for the machine."""
    total: int
    description: str
    """Chip, hardware IRQ and actions, or what the architecture says of the line."""


def interrupts(proc: StrPath = "/proc") -> dict[str, Interrupt]:
    """Read /proc/interrupts, by name.

    Offline CPUs have no column, so counts are matched to CPUs by the heading.
    """
    heading, *lines = read_text(f"{proc}/interrupts").splitlines()
    cpus = [int(column.removeprefix("CPU")) for column in heading.split()]
    found = {}
    for line in lines:
        name, _, rest = line.partition(":")
        *counts, last = rest.split(None, len(cpus))
        if len(counts) == len(cpus):
            per_cpu, description = dict(zip(cpus, map(int, counts), strict=True)), last
            total = sum(per_cpu.values())
        else:  # ERR and MIS are one count for the machine and have no description
            per_cpu, description, total = {}, "", int(last)
        name = name.strip()
        found[name] = Interrupt(name, per_cpu, total, " ".join(description.split()))
    return found


def softirqs(proc: StrPath = "/proc") -> dict[str, dict[int, int]]:
    """Read /proc/softirqs: times that each vector was run since boot, by name and possible CPU.

    A run of NET_RX is a pass over many packets, so this counts neither packets nor time.
    """
    heading, *lines = read_text(f"{proc}/softirqs").splitlines()
    cpus = [int(column.removeprefix("CPU")) for column in heading.split()]
    found = {}
    for line in lines:
        name, *counts = line.split()
        found[name.removesuffix(":")] = dict(zip(cpus, map(int, counts), strict=True))
    return found
