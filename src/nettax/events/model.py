"""What every recording becomes: an array of fixed-size events, and the tables beside them.

All events are of one numpy dtype, `EVENT`, 40 bytes each. What `id`, `a`, `b`, `c` and `value`
mean depends on the kind:

=================  ==============  ==============  =============  ======  ========================
kind               id              a               b              c       value
=================  ==============  ==============  =============  ======  ========================
HARDIRQ_ENTRY      IRQ             –               –              –       –
HARDIRQ_EXIT       IRQ             1: handled      –              –       –
VECTOR_ENTRY/EXIT  CPU's vector    of VECTOR_NAMES –              –       –
SOFTIRQ_RAISE      softirq vector  –               –              –       –
SOFTIRQ_ENTRY      softirq vector  –               –              –       –
SOFTIRQ_EXIT       softirq vector  –               –              –       –
NAPI_POLL          device          work, packets   budget         –       address of the NAPI
SWITCH             next pid        prev's state    prev's prio    next's  ns that prev was billed
WAKEUP             woken pid       its CPU         its priority   1: new  –
MIGRATE            moved pid       from CPU        to CPU         –       –
FORK               child's pid     –               –              –       –
EXIT               pid             –               –              –       –
PACKET             device          length, bytes   protocol       port    socket's cookie, or 0
LOST               –               –               –              –       number of events lost
BEGIN, END         –               –               –              –       –
=================  ==============  ==============  =============  ======  ========================

`pid` is always the task that was on the CPU; at a SWITCH the one that leaves. It is -1 where the
recording does not tell. A – field is 0. The state of a SWITCH is 0 if prev could have run on, and
otherwise the kernel's bits, as the recording has them: they differ from tool to tool and from
kernel to kernel, which is why PREEMPTED and DEAD are flags.

Some things are told within the stream, because they change what the events around them mean. LOST
says that events of this CPU (of all, if `cpu` is `EVERY_CPU`) went missing between its previous
event and this one; `value` 0: how many is not told there. BEGIN and END bound the time in which a
CPU was recorded, where the recorder knows it. `value` of a SWITCH counts only with the flag BILLED:
what the scheduler charged prev (`sum_exec_runtime`) since it was switched in, or since BEGIN.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[Any]
    EventArray = npt.NDArray[np.void]
    """Of dtype EVENT."""
    EVENT: np.dtype[np.void]

__all__ = [
    "EVENT",
    "EVERY_CPU",
    "IPI_NAMES",
    "MOST_DAMAGE",
    "NO_PID",
    "VECTOR_NAMES",
    "Array",
    "Damage",
    "EventArray",
    "Flag",
    "Kind",
    "Machine",
    "Recording",
    "Tables",
    "Task",
    "Tasks",
    "note_damage",
]

_FIELDS: Final = (
    ("time_ns", "<u8"),  # of the recording's clock; see Recording.clock
    ("pid", "<i4"),
    ("cpu", "<u2"),
    ("kind", "u1"),
    ("flags", "u1"),
    ("id", "<i4"),
    ("a", "<i4"),
    ("b", "<i4"),
    ("c", "<i4"),
    ("value", "<u8"),
)


@cache
def _event() -> np.dtype[np.void]:
    import numpy

    return numpy.dtype(list(_FIELDS))


def __getattr__(name: str) -> Any:
    """Numpy takes longer to import than a table of victims: who asks for EVENT imports it."""
    if name == "EVENT":
        return _event()
    if name in ("Array", "EventArray"):
        return object  # for annotations
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


EVERY_CPU: Final = 0xFFFF
MOST_DAMAGE: Final = 100  # parts that are listed
NO_PID: Final = -1


class Kind(IntEnum):
    """Of an event; the numbers are part of nettax's file format and are never reused."""

    HARDIRQ_ENTRY = 1
    HARDIRQ_EXIT = 2
    VECTOR_ENTRY = 3
    """An interrupt that passes no irq_handler_entry: x86's irq_vectors, and IPIs elsewhere."""
    VECTOR_EXIT = 4
    SOFTIRQ_RAISE = 5
    SOFTIRQ_ENTRY = 6
    SOFTIRQ_EXIT = 7
    NAPI_POLL = 8
    """After the poll; it began at the one before, or where its softirq did."""
    SWITCH = 9
    WAKEUP = 10
    MIGRATE = 11
    FORK = 12
    EXIT = 13
    PACKET = 14
    LOST = 15
    BEGIN = 16
    END = 17


class Flag(IntFlag):
    """Of an event."""

    IRQ_EXIT = 1
    """SOFTIRQ_ENTRY: run as a hard IRQ ended. With neither flag, the trigger is not known."""
    BH_ENABLE = 2
    """SOFTIRQ_ENTRY: run by the task's own system call."""
    PREEMPTED = 4
    """SWITCH: prev did not want to leave."""
    BILLED = 8
    """SWITCH, END: `value` holds what prev (at END: the task on the CPU) was billed, in ns."""
    DEAD = 16
    """SWITCH: prev has ended; its pid may be used again."""


# The `a` of VECTOR_ENTRY and VECTOR_EXIT; tracepoints are called NAME_entry and NAME_exit.
VECTOR_NAMES: Final = (
    "call_function_single",
    "call_function",
    "reschedule",
    "ipi",
    "local_timer",
    "irq_work",
    "x86_platform_ipi",
    "error_apic",
    "spurious_apic",
    "thermal_apic",
    "threshold_apic",
    "deferred_error_apic",
)
IPI_NAMES: Final = VECTOR_NAMES[:4]
"""Those of them by which CPUs call each other."""


@dataclass(frozen=True, slots=True)
class Task:
    """Who a pid was from some time on."""

    pid: int
    since_ns: int
    """When the recording first knew this; 0: from its beginning."""
    comm: str
    tgid: int | None = None
    start_ns: int | None = None
    """Since boot: with `pid`, the task's identity. None: not recorded."""
    kthread: bool | None = None
    cgroup: str | None = None


class Tasks:
    """Who each pid was, over time."""

    def __init__(self) -> None:
        self._rows: dict[int, list[Task]] = {}
        self._noted: list[Task] = []

    def add(self, task: Task) -> None:
        """Note a task; one that says nothing new is dropped. Times may come in any order."""
        rows = self._rows.setdefault(task.pid, [])
        place = bisect_right(rows, task.since_ns, key=lambda row: row.since_ns)
        if place:
            before = rows[place - 1]
            if _who(before) == _who(task):
                return
        rows.insert(place, task)
        self._noted.append(task)

    def noted(self, after: int) -> list[Task]:
        """Those that were added after the first so many, in the order in which they were."""
        return self._noted[after:]

    def history(self, pid: int) -> tuple[Task, ...]:
        """Who it was, in order of time."""
        return tuple(self._rows.get(pid, ()))

    def at(self, pid: int, time_ns: int) -> Task | None:
        """Who it was then; before the first that is known, that first one."""
        rows = self._rows.get(pid)
        if not rows:
            return None
        return rows[max(bisect_right(rows, time_ns, key=lambda row: row.since_ns) - 1, 0)]

    def comm(self, pid: int, time_ns: int) -> str:
        """Its name then; `swapper` for pid 0, and `:PID` for a task that was never named."""
        if pid == 0:
            return "swapper"
        task = self.at(pid, time_ns)
        return task.comm if task else f":{pid}"

    def __iter__(self) -> Iterator[Task]:
        return iter(self._noted)

    def __len__(self) -> int:
        return len(self._noted)


def _who(task: Task) -> tuple[object, ...]:
    return (task.comm, task.tgid, task.start_ns, task.kthread, task.cgroup)


@dataclass(slots=True)
class Tables:
    """What the numbers in events stand for. They fill as a recording is read."""

    tasks: Tasks = field(default_factory=Tasks)
    devices: dict[int, str] = field(default_factory=dict)
    """Names by the `id` of NAPI_POLL and PACKET: an ifindex, or a number of the reader's own."""
    irqs: dict[int, str] = field(default_factory=dict)
    """The handler's name, by IRQ."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it was recorded; None where the recording does not tell."""

    hostname: str | None = None
    release: str | None = None
    """Of the kernel."""
    arch: str | None = None
    cpus: int | None = None
    """How many were online."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A part of the recording that could not be read."""

    offset: int
    """In the file, bytes (in text: of the line)."""
    what: str
    """In a few words, for the user."""


def note_damage(damage: list[Damage], offset: int, what: str) -> None:
    """Add to a list of damage, unless it is long enough to tell that all is corrupt."""
    if len(damage) < MOST_DAMAGE:
        damage.append(Damage(offset, what))
    elif len(damage) == MOST_DAMAGE:
        damage.append(Damage(offset, "from here on there is more that is not listed"))


class Recording(ABC):
    """A file of events, open for reading: a context manager.

    What is known before reading is in `machine`, `clock`, `kinds`, `vectors`; the `tables`, the
    times and the `damage` are complete once `chunks()` is exhausted.
    """

    path: Path
    format: str
    """`nettax`, `perf.data`, `perf script`, `trace.dat` or `ftrace`."""
    machine: Machine
    clock: str | None
    """`CLOCK_MONOTONIC`, or what else the times are of, in the recording tool's words."""
    kinds: frozenset[Kind] | None
    """Kinds that were recorded, so that none of them means none happened; None: not told."""
    vectors: frozenset[int] | None
    """Softirq vectors that were recorded; None: all, or not told."""
    tables: Tables
    damage: list[Damage]
    squeezed: Mapping[int, int] | None = None
    """NET_RX softirqs that ended with work left, by CPU, over the recording; None: not recorded."""
    untraced: Mapping[str, int] | None = None
    """`softirqs`, `switches` and `packets` that the kernel counted and hid; None: not told."""

    @abstractmethod
    def rows(self) -> Iterator[memoryview]:
        """All events, in the order of their times, as bytes: rows of EVENT, of bounded number.

        Each call reads from the beginning. What it gives is good until the next is asked for. What
        cannot be read is told in `damage`.
        """

    def chunks(self) -> Iterator[EventArray]:
        """The same as arrays to keep."""
        import numpy

        for rows in self.rows():
            yield numpy.frombuffer(rows, _event()).copy()

    @abstractmethod
    def close(self) -> None:
        """Close the file. May be called twice."""

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
