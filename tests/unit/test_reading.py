"""Two readings make an interval: differences, nothing clamped, every nanosecond on an account."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettax.errors import NettaxError
from nettax.kernel.accounting import Accounting
from nettax.kernel.btf import Layout
from nettax.ledger import (
    Charges,
    CpuShare,
    Events,
    IrqShare,
    OwnCost,
    TaskShare,
    Toll,
    TollPoint,
    TollShare,
)
from nettax.ledger.irqs import Lines, Place
from nettax.ledger.reading import Reading
from nettax.ledger.rows import KTHREADS, TRIGGERS, VECTORS
from nettax.ledger.tasks import EXITED, FOLLOWED, Decoder

# struct task_account of bpf/ledger.h, as far as user space looks at it.
ACCOUNT = {
    "oncpu_ns": "q",
    "own_ns": "q",
    "billed_ns": "q",
    "hardirq_ns": "q",
    "softirq_ns": "10q",
    "trigger_ns": "3q",
    "displaced_ns": "3q",
    "wait_ns": "q",
    "interrupts": "q",
    "switches": "q",
    "wakeup_ns": "q",
    "waived_ns": "q",
    "wait_since": "Q",
    "wait_clock": "3Q",
    "wait_cpu": "I",
    "flags": "I",
    "billed_until": "Q",
    "cgroup": "Q",
    "tgid": "I",
    "cpu": "I",
    "kind": "I",
    "pad": "I",
    "comm": "16s",
}
CODE = "=" + "".join(ACCOUNT.values())


def layout() -> Layout:
    found, offset = [], 0
    for name, code in ACCOUNT.items():
        found.append((name, offset, code))
        offset += struct.calcsize("=" + code)
    return Layout("task_account", offset, found)


def account(**values: Any) -> bytes:
    """A task's account; what is not given is zero."""
    flat: list[Any] = []
    for name, code in ACCOUNT.items():
        if code.endswith("s"):
            flat.append(values.pop(name, b""))
        elif len(code) > 1:
            flat += values.pop(name, [0] * int(code[:-1]))
        else:
            flat.append(values.pop(name, 0))
    assert not values
    return struct.pack(CODE, *flat)


def key(pid: int, start_ns: int = 1) -> bytes:
    return struct.pack("=IIQ", pid, 0, start_ns)


@dataclass(frozen=True)
class Totals:
    """struct cpu_totals, as far as user space looks at it."""

    now_ns: int = 0
    idle_ns: int = 0
    idle_interrupted_ns: int = 0
    own_ns: int = 0
    stolen_hardirq_ns: int = 0
    stolen_softirq_ns: tuple[int, ...] = (0,) * 10
    kthread_ns: tuple[int, ...] = (0,) * 3
    unkept_ns: int = 0
    hardirq_ns: int = 0
    softirq_ns: tuple[int, ...] = (0,) * 10
    softirq_count: tuple[int, ...] = (0,) * 10
    interrupts: int = 0
    ipis: int = 0
    polls: int = 0
    packets: int = 0
    softirq_packets: int = 0
    kthread_clock: tuple[int, ...] = (0,) * 3
    switches: int = 0
    unmatched: int = 0
    inferred_ns: int = 0
    apart_count: tuple[int, ...] = (0,) * 12
    apart_ns: tuple[int, ...] = (0,) * 12


TOLL = Toll((TollPoint(1_000, 3_000, 2_000, 5_000), TollPoint(100_000, 1_000, 900, 1_100)), 0)
ACCOUNTING = Accounting("tick", False, "a test")
KEY = Layout("task_key", 16, [("pid", 0, "I"), ("start_ns", 8, "Q")])
LINE = [
    ("action", 0, "Q"),
    ("count", 8, "Q"),
    ("ns", 16, "q"),
    ("irq", 24, "I"),
    ("name", 28, "36s"),
]
LINES = Lines(Layout("irq_line", 64, LINE))
DECODER = Decoder(KEY, layout(), cgroup_path={7: "/seven"}.get, toll=None, lines=LINES)
START = Reading(
    decoder=DECODER,
    time_ns=1_000,
    cpus={0: Totals()},
    offline=frozenset(),
    tasks={},
    irqs={},
    cgroups={},
    squeezed={0: 0},
    steal_ns={0: 0},
    lost=0,
    self_cpu_ns=0,
    bpf_ns=None,
    bpf_runs=None,
    histograms={},
    accounting=ACCOUNTING,
)


def reading(**changes: Any) -> Reading:
    return replace(START, **changes)


def only_cpu(later: Reading, earlier: Reading = START) -> CpuShare:
    (cpu,) = (later - earlier).cpus
    return cpu


def tasks(later: Mapping[bytes, bytes], earlier: Mapping[bytes, bytes]) -> list[TaskShare]:
    return list((reading(tasks=later) - reading(tasks=earlier)).tasks)


# --- interrupts ----------------------------------------------------------------------------------


def line(irq: int, cpu: int, count: int, ns: int, name: str, action: int = 1) -> dict[Place, bytes]:
    """One of a CPU's places."""
    return {(cpu, irq + action): struct.pack("=QQqI36s", action, count, ns, irq, name.encode())}


def test_interrupts_by_line() -> None:
    then = {**line(27, 0, 5, 500, "eth0-rx-0"), **line(28, 1, 7, 70, "eth0-rx-1")}
    now = {
        **line(27, 0, 9, 800, "eth0-rx-0"),
        **line(28, 1, 7, 70, "eth0-rx-1"),  # no more came
        **line(29, 1, 2, 30, "eth0-rx-2"),
        **line(29, 1, 3, 40, "eth0-rx-2", action=2),  # gone, and made again
        **line(29, 1, 1, 10, "disk", action=3),  # on the same line
    }
    apart, apart_ns = (4, *[0] * 10, 1), (600, *[0] * 10, 9)
    later = reading(irqs=now, cpus={0: Totals(apart_count=apart, apart_ns=apart_ns)})
    earlier = reading(irqs=then, cpus={0: Totals(apart_count=(1, *[0] * 11))})
    assert (later - earlier).irqs == (
        IrqShare(irq="27", name="eth0-rx-0", cpu=0, count=4, time_ns=300),
        IrqShare(irq="29", name="eth0-rx-2", cpu=1, count=5, time_ns=70),
        IrqShare(irq="29", name="disk", cpu=1, count=1, time_ns=10),
        IrqShare(irq="CAL", name="function calls", cpu=0, count=3, time_ns=600),
        IrqShare(irq="?", name="numbered, but there was no room", cpu=0, count=1, time_ns=9),
    )


def test_places_in_use() -> None:
    """Those that are free are passed over."""
    ((_, first),) = line(27, 3, 5, 500, "eth0-rx-0").items()
    places = bytes(64) + first + bytes(128) + first
    assert dict(LINES.used(3, memoryview(places))) == {(3, 1): first, (3, 4): first}


# --- CPUs ----------------------------------------------------------------------------------------

numbers = st.integers(0, 2**62)
totals = st.builds(
    Totals,
    **{
        field.name: st.tuples(*[numbers] * len(field.default))
        if isinstance(field.default, tuple)
        else numbers
        for field in fields(Totals)
    },
)


@given(totals, totals)
def test_every_nanosecond_is_on_one_account(now: Totals, then: Totals) -> None:
    cpu = only_cpu(reading(cpus={0: now}), reading(cpus={0: then}))
    assert cpu.wall_ns == now.now_ns - then.now_ns
    assert cpu.wall_ns == (
        cpu.idle_ns
        + cpu.idle_interrupted_ns
        + cpu.own_ns
        + sum(cpu.stolen_ns.values())
        + sum(cpu.kthread_ns.values())
        + cpu.residual_ns
    )


def test_a_cpu_field_by_field() -> None:
    then = Totals(
        now_ns=1_000, idle_ns=10, own_ns=100, softirq_count=(5,) * 10, interrupts=3, packets=9
    )
    now = Totals(
        now_ns=11_000,
        idle_ns=2_010,
        idle_interrupted_ns=300,
        own_ns=4_100,
        stolen_hardirq_ns=500,
        stolen_softirq_ns=(0, 40, 0, 1_500, 0, 0, 0, 0, 0, 60),
        kthread_ns=(1_000, 90, 9),
        unkept_ns=77,
        hardirq_ns=650,
        softirq_ns=(1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
        softirq_count=(5, 6, 5, 8, 5, 5, 5, 5, 5, 5),
        interrupts=13,
        ipis=4,
        polls=2,
        packets=73,
        softirq_packets=60,
        switches=8,
    )
    later = reading(cpus={0: now}, squeezed={0: 5}, steal_ns={0: 40})
    earlier = reading(cpus={0: then}, squeezed={0: 3}, steal_ns={0: 10})
    assert only_cpu(later, earlier) == CpuShare(
        cpu=0,
        online=True,
        wall_ns=10_000,
        idle_ns=2_000,
        idle_interrupted_ns=300,
        own_ns=4_000,
        stolen_ns={
            "hardirq": 500,
            **dict.fromkeys(VECTORS, 0),
            "timer": 40,
            "net_rx": 1_500,
            "rcu": 60,
        },
        kthread_ns={"ksoftirqd": 1_000, "napi": 90, "irq": 9},
        residual_ns=501,
        unkept_ns=77,
        hardirq_ns=650,
        softirq_ns=dict(zip(VECTORS, range(1, 11), strict=True)),
        softirq_count={**dict.fromkeys(VECTORS, 0), "timer": 1, "net_rx": 3},
        hardirq_count=10,
        ipi_count=4,
        polls=2,
        packets=64,
        softirq_packets=60,
        squeezed=2,
        switches=8,
        steal_ns=30,
        toll_ns=None,
    )


def test_corrections_are_not_clamped() -> None:
    """A slice may be corrected by less than a microsecond: what is then negative says so."""
    cpu = only_cpu(reading(cpus={0: Totals(now_ns=100, own_ns=-3, stolen_hardirq_ns=-2)}))
    assert (cpu.own_ns, cpu.stolen_ns["hardirq"], cpu.residual_ns) == (-3, -2, 105)
    assert only_cpu(reading(cpus={0: Totals(now_ns=100, idle_ns=130)})).residual_ns == -30


@pytest.mark.parametrize("when", ["now", "then", "both"])
def test_a_cpu_that_was_offline_at_either_end(when: str) -> None:
    gone: frozenset[int] = frozenset({1})
    cpus = {0: Totals(), 1: Totals()}
    later = reading(cpus=cpus, offline=gone if when != "then" else frozenset())
    earlier = reading(cpus=cpus, offline=gone if when != "now" else frozenset())
    assert [cpu.online for cpu in (later - earlier).cpus] == [True, False]


def test_what_the_kernel_does_not_tell_is_none() -> None:
    """A CPU that has no line in softnet_stat, as offline ones have none."""
    assert only_cpu(reading(squeezed={})).squeezed is None
    assert only_cpu(reading(), reading(squeezed={})).squeezed is None


def test_the_toll_of_a_cpu_is_by_its_own_rate() -> None:
    charged = Decoder(KEY, layout(), {7: "/seven"}.get, TOLL, LINES)
    cpus = {
        0: Totals(now_ns=10**9, interrupts=1_000),
        1: Totals(now_ns=10**9, interrupts=100_000),
    }
    start = {0: Totals(), 1: Totals()}
    interval = reading(decoder=charged, cpus=cpus) - reading(cpus=start)
    assert [cpu.toll_ns for cpu in interval.cpus] == [
        TollShare(3_000_000, 2_000_000, 5_000_000),
        TollShare(100_000_000, 90_000_000, 110_000_000),
    ]
    assert interval.toll == TOLL


# --- tasks ---------------------------------------------------------------------------------------


def test_a_task_field_by_field() -> None:
    identity = {"cgroup": 7, "tgid": 41, "cpu": 0, "kind": 3, "comm": b"sixteen-bytes-ab"}
    then = account(oncpu_ns=100, own_ns=90, hardirq_ns=10, wait_ns=5, switches=1, **identity)
    now = account(
        oncpu_ns=1_100,
        own_ns=290,
        billed_ns=990,
        hardirq_ns=110,
        softirq_ns=[0, 100, 0, 600, 0, 0, 0, 0, 0, 0],
        trigger_ns=[500, 150, 50],
        displaced_ns=[30, 20, 10],
        wait_ns=85,
        interrupts=12,
        switches=4,
        wakeup_ns=-3,
        waived_ns=7,
        flags=FOLLOWED,
        **identity,
    )
    assert tasks({key(42, 9): now}, {key(42, 9): then}) == [
        TaskShare(
            pid=42,
            tgid=41,
            start_ns=9,
            comm="sixteen-bytes-ab",
            kind="task",
            cgroup="/seven",
            cpu=0,
            exited=False,
            followed=True,
            billed_ns=990,
            oncpu_ns=1_000,
            own_ns=200,
            stolen_ns={
                "hardirq": 100,
                **dict.fromkeys(VECTORS, 0),
                "timer": 100,
                "net_rx": 600,
            },
            stolen_by_trigger_ns=dict(zip(TRIGGERS, (500, 150, 50), strict=True)),
            displaced_ns=dict(zip(KTHREADS, (30, 20, 10), strict=True)),
            wait_ns=80,
            interrupts=12,
            switches=3,
            wakeup_ns=-3,
            waived_ns=7,
            toll_ns=None,
        )
    ]


def test_what_was_taken_is_stolen_and_displaced() -> None:
    (task,) = tasks(
        {
            key(1): account(
                oncpu_ns=1_000,
                hardirq_ns=100,
                softirq_ns=[10] * 10,
                displaced_ns=[1, 2, 3],
                wait_ns=99,
            )
        },
        {},
    )
    assert task.taken_ns == 100 + 100 + 6


def test_a_new_task_counts_from_nothing() -> None:
    (task,) = tasks({key(1): account(oncpu_ns=50, own_ns=50)}, {})
    assert (task.oncpu_ns, task.own_ns) == (50, 50)


def test_a_pid_that_comes_again_is_another_task() -> None:
    old = {key(1, 1): account(oncpu_ns=500)}
    (task,) = tasks({key(1, 2): account(oncpu_ns=20)}, old)
    assert (task.start_ns, task.oncpu_ns) == (2, 20)


def test_the_last_words_of_a_task_that_ended() -> None:
    (task,) = tasks({key(1): account(oncpu_ns=700, flags=EXITED)}, {key(1): account(oncpu_ns=500)})
    assert task.exited
    assert task.oncpu_ns == 200


def test_a_task_that_has_left_is_told_of_no_more() -> None:
    assert tasks({}, {key(1): account(oncpu_ns=500, flags=EXITED)}) == []


def test_only_those_that_ran_or_waited_are_told_of() -> None:
    idle = account(oncpu_ns=5, comm=b"old")
    renamed = account(oncpu_ns=5, comm=b"new")
    assert tasks({key(1): idle}, {key(1): idle}) == []
    assert tasks({key(1): renamed}, {key(1): idle}) == []
    (waited,) = tasks({key(1): account(oncpu_ns=5, wait_ns=1)}, {key(1): idle})
    assert (waited.oncpu_ns, waited.wait_ns) == (0, 1)


def test_a_tasks_corrections_are_not_clamped() -> None:
    (task,) = tasks(
        {key(1): account(oncpu_ns=10, own_ns=13, softirq_ns=[0, 0, 0, -3, 0, 0, 0, 0, 0, 0])}, {}
    )
    assert (task.own_ns, task.stolen_ns["net_rx"]) == (13, -3)
    assert task.oncpu_ns == task.own_ns + sum(task.stolen_ns.values())


def test_a_cgroup_that_is_not_known_is_none() -> None:
    (task,) = tasks({key(1): account(oncpu_ns=1, cgroup=8)}, {})
    assert task.cgroup is None


def test_kinds() -> None:
    """In the order of enum kind in bpf/ledger.h."""
    accounts = {key(kind): account(oncpu_ns=1, kind=kind) for kind in range(4)}
    assert [task.kind for task in tasks(accounts, {})] == ["ksoftirqd", "napi", "irq", "task"]


def test_a_tasks_toll_is_by_the_rate_of_its_cpu() -> None:
    later = reading(
        decoder=Decoder(KEY, layout(), cgroup_path={7: "/seven"}.get, toll=TOLL, lines=LINES),
        cpus={0: Totals(now_ns=10**9, interrupts=1_000), 1: Totals(now_ns=10**9)},
        tasks={
            key(1): account(oncpu_ns=1, interrupts=10, cpu=0),
            key(2): account(oncpu_ns=1, interrupts=10, cpu=5),  # not accounted for: -C
        },
    )
    earlier = reading(cpus={0: Totals(), 1: Totals()})
    one, elsewhere = (later - earlier).tasks
    assert one.toll_ns == TollShare(30_000, 20_000, 50_000)
    assert elsewhere.toll_ns == TollShare(30_000, 20_000, 50_000)  # as of the lowest rate known


def test_one_task_of_an_interval() -> None:
    interval = reading(time_ns=10**9 + 1_000, tasks={key(1): account(oncpu_ns=3)}) - START
    assert interval.task(1).oncpu_ns == 3
    with pytest.raises(NettaxError, match=r"process 2 never ran for 1\.00 s: "):
        interval.task(2)


def test_charges_and_rows_are_of_the_same_tasks_in_the_same_order() -> None:
    accounts = {key(pid): account(oncpu_ns=pid, comm=b"%d" % pid) for pid in (5, 3, 9)}
    interval = reading(tasks=accounts) - START
    assert [charged.pid for charged in interval.charges] == [5, 3, 9]
    assert [task.oncpu_ns for task in interval.tasks] == [5, 3, 9]
    assert [task.pid for task in interval.tasks[1:]] == [3, 9]
    assert interval.tasks[-1] is interval.tasks[2]
    assert [charged.comm for charged in interval.charges] == ["5", "3", "9"]


def test_an_object_of_another_version_is_refused() -> None:
    with pytest.raises(NettaxError, match="of another version of nettax"):
        Decoder(
            KEY, Layout("task_account", 8, [("own_ns", 0, "q")]), {7: "/seven"}.get, None, LINES
        )


# --- cgroups -------------------------------------------------------------------------------------


def test_a_cgroup_grows_by_what_its_tasks_were_charged() -> None:
    then, now, other = (Charges(tuple(range(n, n + 23))) for n in (0, 10, 5))
    interval = reading(cgroups={7: now, 8: other, 9: then}) - reading(cgroups={7: then, 9: then})
    assert interval.cgroups == {7: Charges((10,) * 23), 8: other}


# --- the rest ------------------------------------------------------------------------------------


def test_when() -> None:
    interval = reading(time_ns=5_500) - reading(time_ns=1_500)
    assert (interval.start_ns, interval.wall_ns) == (1_500, 4_000)
    assert interval.accounting == ACCOUNTING


def test_events_are_of_all_cpus() -> None:
    then = {0: Totals(unmatched=1, inferred_ns=10, unkept_ns=100), 1: Totals()}
    now = {
        0: Totals(unmatched=3, inferred_ns=15, unkept_ns=107),
        1: Totals(unmatched=4, inferred_ns=1, unkept_ns=2),
    }
    interval = reading(cpus=now, lost=9) - reading(cpus=then, lost=4)
    assert interval.events == Events(lost=5, unmatched=6, inferred_ns=6, unkept_ns=9)


def test_own_cost() -> None:
    interval = reading(self_cpu_ns=30, bpf_ns=500, bpf_runs=7) - reading(
        self_cpu_ns=10, bpf_ns=200, bpf_runs=2
    )
    assert interval.own_cost == OwnCost(20, 300, 5)


def test_own_cost_in_the_kernel_is_none_where_it_was_not_counted() -> None:
    assert (reading() - START).own_cost == OwnCost(0, None, None)


def slots(hardirq: dict[int, int], net_rx: dict[int, int], poll: dict[int, int]) -> Any:
    """struct cpu_histograms; 40 slots of each."""
    softirq = [0] * 400
    for slot, number in net_rx.items():
        softirq[3 * 40 + slot] = number

    def row(given: dict[int, int]) -> tuple[int, ...]:
        return tuple(given.get(slot, 0) for slot in range(40))

    return SimpleNamespace(hardirq=row(hardirq), softirq=tuple(softirq), poll=row(poll))


def test_histograms_are_differences_summed_over_cpus() -> None:
    cpus = {0: Totals(), 1: Totals()}
    then = {0: slots({8: 5}, {10: 1}, {9: 4}), 1: slots({}, {}, {})}
    now = {0: slots({8: 6}, {10: 3, 11: 1}, {9: 4}), 1: slots({8: 2}, {10: 10, 39: 1}, {})}
    found = (reading(cpus=cpus, histograms=now) - reading(cpus=cpus, histograms=then)).histograms
    assert set(found) == {"hardirq", "net_rx"}  # nothing was polled in between
    assert all(len(row) == 40 for row in found.values())
    assert {i: n for i, n in enumerate(found["hardirq"]) if n} == {8: 3}
    assert {i: n for i, n in enumerate(found["net_rx"]) if n} == {10: 12, 11: 1, 39: 1}


def test_no_histograms_unless_asked_for() -> None:
    assert (reading() - START).histograms == {}


def test_a_wait_under_way_counts() -> None:
    """The kernel books a wait when it ends; a reading adds what has passed of it."""
    waiting = account(wait_cpu=1, wait_since=1_000, wait_clock=[10, 0, 0])
    earlier = reading(
        cpus={0: Totals(now_ns=2_000, kthread_clock=(510, 0, 0))}, tasks={key(5): waiting}
    )
    later = reading(
        cpus={0: Totals(now_ns=4_000, kthread_clock=(1_910, 0, 0))}, tasks={key(5): waiting}
    )
    (task,) = (later - earlier).tasks
    assert task.wait_ns == 2_000
    assert task.displaced_ns == {"ksoftirqd": 1_400, "napi": 0, "irq": 0}


def test_a_wait_that_began_after_the_reading_does_not_count() -> None:
    waiting = account(wait_cpu=1, wait_since=3_000)
    earlier = reading(cpus={0: Totals(now_ns=1_000)}, tasks={})
    later = reading(cpus={0: Totals(now_ns=2_500)}, tasks={key(5): waiting})
    assert not (later - earlier).tasks


def test_the_squeeze_counter_wraps() -> None:
    earlier = reading(cpus={0: Totals(now_ns=1)}, tasks={}, squeezed={0: 2**32 - 3})
    later = reading(cpus={0: Totals(now_ns=2)}, tasks={}, squeezed={0: 4})
    assert (later - earlier).cpus[0].squeezed == 7
