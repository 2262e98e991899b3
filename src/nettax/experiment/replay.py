"""A recording through the ledger's rules, told in the ledger's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nettax.events.model import Kind, Recording, Tables, Task
from nettax.events.replay import Accounts, CpuAccount, Replay, TaskAccount, replay
from nettax.ledger.charges import Charges
from nettax.ledger.rows import KINDS, KTHREADS, VECTORS, CpuShare, Events, TaskShare

if TYPE_CHECKING:
    from nettax.events.bursts import Bursts

__all__ = ["Replayed", "replayed", "replayed_with_bursts"]

CLOCKED = ("wakeup_ns", "waived_ns")  # told by the scheduler's clock, in no recording
# What only switches tell, and so what a recording without them leaves unknown.
_OF_SLICES: Final = frozenset(
    {"idle_ns", "own_ns", "oncpu_ns", "residual_ns", "wait_ns", "displaced_ns", "switches"}
)
_IPIS: Final = frozenset({Kind.VECTOR_ENTRY, Kind.VECTOR_EXIT})


@dataclass(frozen=True, slots=True)
class Replayed:
    """The ledger of a recording: who had each CPU, and what was taken from whom."""

    start_ns: int
    """Of the recording's clock."""
    wall_ns: int
    cpus: tuple[CpuShare, ...]
    tasks: tuple[TaskShare, ...]
    """Every task that ran or waited, or from which something was taken; in no order."""
    unknown: frozenset[str]
    """Fields of these rows that the recording cannot tell: their values mean nothing."""
    unbilled: frozenset[tuple[int, int]]
    """Tasks, by pid and start, of which it does not tell all that they were billed."""
    events: Events
    recorded: int
    """How many events."""
    histograms: Mapping[str, tuple[int, ...]]
    """Run times, as in an Interval of the live ledger."""
    toll: None = None


def replayed(recording: Recording) -> Replayed:
    """Read all of a recording, and settle its accounts."""
    return _settled(recording, replay(recording))


def replayed_with_bursts(recording: Recording) -> tuple[Replayed, Bursts]:
    """The same, and how network work came, by one reading."""
    from nettax.events.bursts import bursts  # numpy

    player = Replay.of(recording)
    counted = bursts(recording, player.passing(recording.rows()))
    return _settled(recording, player.finish()), counted


def _settled(recording: Recording, accounts: Accounts) -> Replayed:
    unknown = _unknown(recording, accounts)
    cpus = tuple(_cpu_share(account, recording, accounts.sliced) for account in accounts.cpus)
    tasks = tuple(_task_share(task, recording.tables) for task in accounts.tasks)
    return Replayed(
        start_ns=accounts.start_ns,
        wall_ns=accounts.end_ns - accounts.start_ns,
        cpus=cpus,
        tasks=tasks,
        unknown=unknown,
        unbilled=frozenset(
            (row.pid, row.start_ns)
            for row, task in zip(tasks, accounts.tasks, strict=True)
            if not task.billed
        ),
        events=Events(accounts.lost, accounts.unmatched, accounts.inferred_ns, 0),
        recorded=accounts.events,
        histograms={
            name: tuple(slots)
            for name, slots in zip((*VECTORS, "hardirq", "poll"), accounts.histograms, strict=True)
            if any(slots)
        },
    )


def _unknown(recording: Recording, accounts: Accounts) -> frozenset[str]:
    unknown = {"steal_ns", "unkept_ns", *CLOCKED}  # of the live ledger only
    if not accounts.sliced:
        unknown |= _OF_SLICES
    if not any(task.billed for task in accounts.tasks):
        unknown.add("billed_ns")
    if recording.kinds is not None and not _IPIS & recording.kinds:
        unknown.add("ipi_count")
    return frozenset(unknown)


def _named(names: tuple[str, ...], values: Sequence[int]) -> dict[str, int]:
    return dict(zip(names, values, strict=True))


def _cpu_share(account: CpuAccount, recording: Recording, sliced: bool) -> CpuShare:
    stolen = {
        "hardirq": account.stolen_hardirq_ns,
        **_named(VECTORS, account.stolen_softirq_ns),
    }
    kthread = _named(KTHREADS, account.kthread_ns)
    wall = account.end_ns - account.start_ns
    booked = account.idle_ns + account.idle_interrupted_ns + account.own_ns
    booked += sum(stolen.values()) + sum(kthread.values())
    squeezed = recording.squeezed
    return CpuShare(
        cpu=account.cpu,
        online=True,
        wall_ns=wall,
        idle_ns=account.idle_ns,
        idle_interrupted_ns=account.idle_interrupted_ns,
        own_ns=account.own_ns,
        stolen_ns=stolen,
        kthread_ns=kthread,
        residual_ns=wall - booked if sliced else 0,
        unkept_ns=0,
        hardirq_ns=account.hard_ns,
        softirq_ns=_named(VECTORS, account.soft_ns),
        softirq_count=_named(VECTORS, account.soft_count),
        hardirq_count=account.interrupts,
        ipi_count=account.ipis,
        polls=account.polls,
        packets=account.packets,
        softirq_packets=account.softirq_packets,
        squeezed=None if squeezed is None else squeezed.get(account.cpu, 0),
        switches=account.switches,
        steal_ns=0,
        toll_ns=None,
    )


def _task_share(account: TaskAccount, tables: Tables) -> TaskShare:
    task = tables.tasks.at(account.pid, account.last_ns) or Task(account.pid, 0, f":{account.pid}")
    return TaskShare(
        pid=account.pid,
        tgid=account.pid if task.tgid is None else task.tgid,
        start_ns=task.start_ns or 0,
        comm=task.comm,
        kind=KINDS[account.kind],
        cgroup=task.cgroup,
        cpu=account.cpu,
        exited=account.exited,
        followed=False,
        **Charges((*account.sums, *[0] * len(CLOCKED))).fields(),
        toll_ns=None,
    )
