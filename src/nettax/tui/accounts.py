"""The figures of a task or a group that the tables show, by the names of their columns; in ns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from nettax.ledger import Charges, CpuShare
from nettax.ledger.rows import VECTORS

__all__ = ["FIGURES", "cpu_parts", "task_parts"]

RX, TX = VECTORS.index("net_rx"), VECTORS.index("net_tx")


def _net(charges: Charges) -> int:
    softirqs = charges.softirq_ns
    return softirqs[RX] + softirqs[TX]


def _softirq(charges: Charges) -> int:
    softirqs = charges.softirq_ns
    return sum(softirqs) - softirqs[RX] - softirqs[TX]


def _displaced(charges: Charges) -> int:
    # The rest of what was taken: adding up `displaced_ns` would make a dict first.
    return charges.taken_ns - charges.hardirq_ns - sum(charges.softirq_ns)


FIGURES: Final[Mapping[str, Callable[[Charges], int]]] = {
    "billed": lambda charges: charges.billed_ns,
    "own": lambda charges: charges.own_ns,
    "taken": lambda charges: charges.taken_ns,
    "hardirq": lambda charges: charges.hardirq_ns,
    "net": _net,
    "softirq": _softirq,
    "displaced": _displaced,
    "waited": lambda charges: charges.wait_ns,
}


def task_parts(charges: Charges) -> dict[str, int]:
    """What a bar of a task is made of: what it got, and what was taken from it."""
    return {name: FIGURES[name](charges) for name in PARTS}


PARTS: Final = ("own", "hardirq", "net", "softirq", "displaced")


def cpu_parts(cpu: CpuShare) -> dict[str, int]:
    """What a bar of a CPU is made of; what is missing to its wall time is the residual."""
    stolen = cpu.stolen_ns
    net = stolen["net_rx"] + stolen["net_tx"]
    return {
        "own": cpu.own_ns,
        "hardirq": stolen["hardirq"],
        "net": net,
        "softirq": sum(stolen.values()) - stolen["hardirq"] - net,
        "kthread": sum(cpu.kthread_ns.values()),
        "idle-irq": cpu.idle_interrupted_ns,
        "idle": cpu.idle_ns,
    }
