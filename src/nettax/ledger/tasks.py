"""Tasks' accounts as the kernel keeps them, and what they were charged between two readings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from operator import sub
from typing import Any, overload

from nettax.errors import NettaxError
from nettax.kernel.btf import Layout
from nettax.ledger.charges import DISPLACED, FIELDS, LENGTH, WAIT, Charges
from nettax.ledger.irqs import Lines
from nettax.ledger.rows import KINDS, CpuShare, TaskShare
from nettax.ledger.toll import Toll

__all__ = ["Decoder", "TaskCharges", "TaskRows", "interrupt_rates", "task_charges"]

EXITED, FOLLOWED = 1, 2  # TASK_EXITED, TASK_FOLLOWED in bpf/ledger.h
WAITING = ("wait_since", "wait_clock", "wait_cpu")


class Decoder:
    """How to read what the maps hold; one for each ledger."""

    def __init__(
        self,
        key: Layout,
        account: Layout,
        cgroup_path: Callable[[int], str | None],
        toll: Toll | None,
        lines: Lines,
    ) -> None:
        """Take the layouts of the structs from the BPF object.

        `cgroup_path`: from a cgroup's id to its path; None if it is gone or there is no v2.

        :raises NettaxError: the object is not of this version of nettax
        """
        if account.names[: len(FIELDS) + len(WAITING)] != FIELDS + WAITING:
            raise NettaxError("the BPF object is of another version of nettax: reinstall nettax")
        self.pid = key.field("pid")
        self.start_ns = key.field("start_ns")
        self.charged = account.leading("wait_cpu")
        self.wait_cpu = account.field("wait_cpu")
        self.tgid = account.field("tgid")
        self.cpu = account.field("cpu")
        self.kind = account.field("kind")
        self.flags = account.field("flags")
        self.comm = account.field("comm")
        self.cgroup_id = account.field("cgroup")
        self.cgroup_path = cgroup_path
        self.toll = toll
        self.lines = lines


class TaskCharges:
    """What one task was charged in an interval; who it is, is decoded as it is asked for."""

    __slots__ = ("_account", "_decoder", "_key", "charges")

    def __init__(self, decoder: Decoder, key: bytes, account: bytes, charges: Charges) -> None:
        """`account` is the later one, of struct task_account."""
        self._decoder = decoder
        self._key = key
        self._account = account
        self.charges = charges

    @property
    def key(self) -> bytes:
        """What identifies the task for as long as the host is up: its pid and start, packed."""
        return self._key

    @property
    def pid(self) -> int:
        return int(self._decoder.pid(self._key))

    @property
    def start_ns(self) -> int:
        """Since boot: with `pid`, the task's identity."""
        return int(self._decoder.start_ns(self._key))

    @property
    def tgid(self) -> int:
        return int(self._decoder.tgid(self._account))

    @property
    def comm(self) -> str:
        return str(self._decoder.comm(self._account))

    @property
    def kind(self) -> str:
        """`task`, or `ksoftirqd`, `napi`, `irq`."""
        return KINDS[self._decoder.kind(self._account)]

    @property
    def cgroup_id(self) -> int:
        """Of the v2 hierarchy."""
        return int(self._decoder.cgroup_id(self._account))

    @property
    def cgroup(self) -> str | None:
        """Its path; None if it is gone, or without cgroup v2."""
        return self._decoder.cgroup_path(self.cgroup_id)

    @property
    def cpu(self) -> int:
        """Where it ran last."""
        return int(self._decoder.cpu(self._account))

    @property
    def exited(self) -> bool:
        return bool(self._decoder.flags(self._account) & EXITED)

    @property
    def followed(self) -> bool:
        return bool(self._decoder.flags(self._account) & FOLLOWED)

    def row(self, interrupts: int, wall_ns: int) -> TaskShare:
        """All of it, given the interrupts and the time of the CPU on which it ran last."""
        charges, toll = self.charges, self._decoder.toll
        return TaskShare(
            pid=self.pid,
            tgid=self.tgid,
            start_ns=self.start_ns,
            comm=self.comm,
            kind=self.kind,
            cgroup=self.cgroup,
            cpu=self.cpu,
            exited=self.exited,
            followed=self.followed,
            **charges.fields(),
            toll_ns=toll.charge(interrupts, wall_ns, of=charges.interrupts) if toll else None,
        )


def interrupt_rates(cpus: Iterable[CpuShare]) -> dict[int, tuple[int, int]]:
    """Interrupts, and the time in which they came in ns, by CPU."""
    return {cpu.cpu: (cpu.hardirq_count, cpu.wall_ns) for cpu in cpus}


class TaskRows(Sequence[TaskShare]):
    """Tasks as rows, each made when it is first looked at."""

    def __init__(
        self, charges: Sequence[TaskCharges], rates: Mapping[int, tuple[int, int]]
    ) -> None:
        """`rates`: of `interrupt_rates`."""
        self._charges = charges
        self._rates = rates

    @cached_property
    def _rows(self) -> list[TaskShare | None]:
        return [None] * len(self._charges)

    def __len__(self) -> int:
        return len(self._charges)

    @overload
    def __getitem__(self, index: int) -> TaskShare: ...
    @overload
    def __getitem__(self, index: slice) -> list[TaskShare]: ...
    def __getitem__(self, index: int | slice) -> TaskShare | list[TaskShare]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = self._rows[index]
        if row is None:
            task = self._charges[index]
            row = self._rows[index] = task.row(*self._rates.get(task.cpu, (0, 0)))
        return row


def task_charges(
    decoder: Decoder,
    now: Mapping[bytes, bytes],
    then: Mapping[bytes, bytes],
    cpus_now: Mapping[int, Any],
    cpus_then: Mapping[int, Any],
) -> Iterator[TaskCharges]:
    """Each task that ran or waited between two readings of all accounts, by key.

    The CPUs' struct cpu_totals are those of the same readings.
    """
    charged, wait_cpu = decoder.charged, decoder.wait_cpu
    for key, account in now.items():
        before = then.get(key)
        if before == account and not wait_cpu(account):
            continue
        later = charged(account)
        values = _with_wait(later, cpus_now) if later[-1] else later[:LENGTH]
        if before is not None:
            earlier = charged(before)
            if earlier[-1]:
                earlier = _with_wait(earlier, cpus_then)
            values = tuple(map(sub, values, earlier))  # as far as `values` goes
        if values[0] or values[WAIT]:  # on-CPU time, or waiting
            yield TaskCharges(decoder, key, account, Charges(values))


def _with_wait(charged: tuple[int, ...], cpus: Mapping[int, Any]) -> tuple[int, ...]:
    """Charges with the wait that is under way; the kernel books waits as they end."""
    values, (since, *clocks, wait_cpu) = charged[:LENGTH], charged[LENGTH:]
    cpu = cpus.get(wait_cpu - 1)
    if cpu is None or cpu.now_ns <= since:
        return values
    displaced = (
        booked + now - then
        for booked, now, then in zip(values[DISPLACED], cpu.kthread_clock, clocks, strict=True)
    )
    wait = values[WAIT] + cpu.now_ns - since
    return (*values[: DISPLACED.start], *displaced, wait, *values[WAIT + 1 :])
