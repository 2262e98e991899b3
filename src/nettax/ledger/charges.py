"""What a task, or a group of tasks, was charged: one vector of times and counts.

Vectors are what the ledger computes with: subtracting and adding them is cheap, whatever they
hold, while rows (`nettax.ledger.rows`) are for reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import add, sub
from typing import Any, Final

from nettax.ledger.rows import KTHREADS, TRIGGERS, VECTORS

__all__ = ["FIELDS", "Charges"]

FIELDS: Final = (
    "oncpu_ns",
    "own_ns",
    "billed_ns",
    "hardirq_ns",
    "softirq_ns",
    "trigger_ns",
    "displaced_ns",
    "wait_ns",
    "interrupts",
    "switches",
    "wakeup_ns",
    "waived_ns",
)
"""Of struct charges in bpf/ledger.h, in its order; three of them are arrays."""

SOFTIRQS = slice(4, 4 + len(VECTORS))
STOLEN = slice(3, SOFTIRQS.stop)
BY_TRIGGER = slice(STOLEN.stop, STOLEN.stop + len(TRIGGERS))
DISPLACED = slice(BY_TRIGGER.stop, BY_TRIGGER.stop + len(KTHREADS))
WAIT, INTERRUPTS, SWITCHES, WAKEUP, WAIVED = range(DISPLACED.stop, DISPLACED.stop + 5)
LENGTH = WAIVED + 1
SOURCES = ("hardirq", *VECTORS)
SHARED = (
    "billed_ns",
    "oncpu_ns",
    "own_ns",
    "stolen_ns",
    "stolen_by_trigger_ns",
    "displaced_ns",
    "wait_ns",
    "interrupts",
    "switches",
    "wakeup_ns",
    "waived_ns",
)


class Charges:
    """Times in ns and counts, as named in `TaskShare`; of one task, or added up over several."""

    __slots__ = ("values",)

    def __init__(self, values: tuple[int, ...] = (0,) * LENGTH) -> None:
        """`values`: the fields of struct charges, arrays laid flat; by default nothing."""
        self.values = values

    @classmethod
    def total(cls, parts: Iterable[Charges]) -> Charges:
        """The sum; of nothing, zero."""
        rows = [part.values for part in parts]
        return cls(tuple(map(sum, zip(*rows, strict=True)))) if rows else cls()

    def __add__(self, other: Charges) -> Charges:
        return Charges(tuple(map(add, self.values, other.values)))

    def __sub__(self, earlier: Charges) -> Charges:
        return Charges(tuple(map(sub, self.values, earlier.values)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Charges) and self.values == other.values

    def __hash__(self) -> int:
        return hash(self.values)

    def __repr__(self) -> str:
        return f"Charges({self.values})"

    def fields(self) -> dict[str, Any]:
        """The fields of `TaskShare` and `GroupShare` that tell charges, by name."""
        return {name: getattr(self, name) for name in SHARED}

    @property
    def oncpu_ns(self) -> int:
        return self.values[0]

    @property
    def own_ns(self) -> int:
        return self.values[1]

    @property
    def billed_ns(self) -> int:
        return self.values[2]

    @property
    def hardirq_ns(self) -> int:
        """The part of `stolen_ns` that is hard IRQs."""
        return self.values[3]

    @property
    def softirq_ns(self) -> tuple[int, ...]:
        """The rest of `stolen_ns`, in the order of `VECTORS`."""
        return self.values[SOFTIRQS]

    @property
    def stolen_ns(self) -> Mapping[str, int]:
        """By `hardirq` or softirq vector."""
        return dict(zip(SOURCES, self.values[STOLEN], strict=True))

    @property
    def stolen_by_trigger_ns(self) -> Mapping[str, int]:
        return dict(zip(TRIGGERS, self.values[BY_TRIGGER], strict=True))

    @property
    def displaced_ns(self) -> Mapping[str, int]:
        return dict(zip(KTHREADS, self.values[DISPLACED], strict=True))

    @property
    def wait_ns(self) -> int:
        return self.values[WAIT]

    @property
    def interrupts(self) -> int:
        return self.values[INTERRUPTS]

    @property
    def switches(self) -> int:
        return self.values[SWITCHES]

    @property
    def wakeup_ns(self) -> int:
        return self.values[WAKEUP]

    @property
    def waived_ns(self) -> int:
        return self.values[WAIVED]

    @property
    def taken_ns(self) -> int:
        """Stolen and displaced together."""
        return sum(self.values[STOLEN]) + sum(self.values[DISPLACED])

    @property
    def kept_off_ns(self) -> int:
        """All that kept it from running: what was stolen, and its waiting for whatever reason."""
        return sum(self.values[STOLEN]) + self.values[WAIT]
