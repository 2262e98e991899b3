"""What people and machines are shown of an interval."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from typing import Any

import pytest

from nettax.kernel.accounting import Accounting
from nettax.ledger import (
    CpuShare,
    Events,
    Interval,
    IrqShare,
    OwnCost,
    TaskShare,
    Toll,
    TollPoint,
    TollShare,
)
from nettax.ledger.rows import VECTORS
from nettax.report.interval import (
    by_taken,
    document,
    histogram_text,
    irqs_table,
    payers_csv,
    text,
    time_text,
)
from nettax.report.table import count, percent, safe, signed_percent, table

WIDTH = 80
TOLL = Toll((TollPoint(3_012.5, 3_456.7, 2_345.6, 4_567.8),), 250.0)
WALL = 10_000_000_000
NOTHING = dict.fromkeys(VECTORS, 0)

CPU = CpuShare(
    cpu=0,
    online=True,
    wall_ns=WALL,
    idle_ns=1_000_000_000,
    idle_interrupted_ns=100_000_000,
    own_ns=3_900_000_000,
    stolen_ns={"hardirq": 500_000_000, **NOTHING, "net_rx": 2_400_000_000, "timer": 100_000_000},
    kthread_ns={"ksoftirqd": 1_900_000_000, "napi": 0, "irq": 0},
    residual_ns=100_000_000,
    unkept_ns=0,
    hardirq_ns=700_000_000,
    softirq_ns={**NOTHING, "net_rx": 2_500_000_000},
    softirq_count={**NOTHING, "net_rx": 1_230_000},
    hardirq_count=2_340_000,
    ipi_count=1_230_000,
    polls=1_230_000,
    packets=3_000_000,
    softirq_packets=3_000_000,
    squeezed=1_230,
    switches=4_000,
    steal_ns=110_000_000,
    toll_ns=TollShare(1_234_000_000, 900_000_000, 1_900_000_000),
)
TASK = TaskShare(
    pid=4_194_303,  # the greatest there is: include/linux/threads.h, PID_MAX_LIMIT
    tgid=4_194_303,
    start_ns=123_456_789_000_000,
    comm="fifteen-letters",
    kind="task",
    cgroup="/system.slice/a.service",
    cpu=0,
    exited=False,
    followed=False,
    billed_ns=9_900_000_000,
    oncpu_ns=6_900_000_000,
    own_ns=3_900_000_000,
    stolen_ns={"hardirq": 500_000_000, **NOTHING, "net_rx": 2_400_000_000, "timer": 100_000_000},
    stolen_by_trigger_ns={"irq_exit": 2_300_000_000, "bh_enable": 200_000_000, "unknown": 0},
    displaced_ns={"ksoftirqd": 1_900_000_000, "napi": 0, "irq": 0},
    wait_ns=2_000_000_000,
    interrupts=2_340_000,
    switches=4_000,
    wakeup_ns=3_100_000_000,
    waived_ns=100_000_000,
    toll_ns=TollShare(1_234_000_000, 900_000_000, 1_900_000_000),
)
QUIET = replace(
    TASK,
    pid=7,
    tgid=7,
    comm="quiet",
    billed_ns=1_000_000,
    oncpu_ns=1_000_000,
    own_ns=1_000_000,
    stolen_ns={"hardirq": 0, **NOTHING},
    displaced_ns={"ksoftirqd": 0, "napi": 0, "irq": 0},
    toll_ns=TollShare(0, 0, 0),
)
INTERVAL = Interval(
    start_ns=5_000_000_000,
    wall_ns=WALL,
    cpus=(CPU, replace(CPU, cpu=127)),
    tasks=(QUIET, TASK),
    charges=(),
    irqs=(
        IrqShare(irq="LOC", name="local timer", cpu=0, count=2_500, time_ns=5_000_000),
        IrqShare(irq="27", name="eth0-rx-1", cpu=127, count=300_000, time_ns=100_000_000),
        IrqShare(irq="27", name="eth0-rx-1", cpu=0, count=100_000, time_ns=20_000_000),
        IrqShare(irq="3", name="disk \x1b[2J", cpu=0, count=1, time_ns=999),
    ),
    cgroups={},
    events=Events(lost=0, unmatched=0, inferred_ns=0, unkept_ns=0),
    own_cost=OwnCost(12_300_000, None, None),
    histograms={},
    toll=TOLL,
    accounting=Accounting("tick", False, "a test"),
)


def without_toll(interval: Interval) -> Interval:
    return replace(
        interval,
        toll=None,
        cpus=tuple(replace(cpu, toll_ns=None) for cpu in interval.cpus),
        tasks=tuple(replace(task, toll_ns=None) for task in interval.tasks),
    )


def shown(interval: Interval, rows: int = 15) -> str:
    return text(interval, by_taken(interval.tasks), rows)


# --- for people ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "interval",
    [
        INTERVAL,
        without_toll(INTERVAL),
        replace(INTERVAL, own_cost=OwnCost(123_400_000, 234_500_000, 12_345_678)),
        replace(INTERVAL, accounting=Accounting("virt-gen", None, "a test")),
        replace(INTERVAL, events=Events(0, 123, 2_760_000_000, 0)),
        replace(INTERVAL, histograms={"net_rx": tuple(range(40))}),
        replace(INTERVAL, tasks=(replace(TASK, exited=True),) * 40),
    ],
    ids=["toll", "no toll", "timed", "long accounting", "unmatched", "histograms", "many tasks"],
)
def test_lines_fit_a_terminal(interval: Interval) -> None:
    for line in shown(interval).splitlines():
        assert len(line) <= WIDTH, line
        assert line == line.rstrip()


def test_the_tables_figures() -> None:
    _, tasks, cpus, work, _ = shown(INTERVAL).split("\n\n")
    head, first, second = (line.split() for line in tasks.splitlines())
    assert dict(zip(head, first, strict=True)) == {
        "task": "fifteen-letters",
        "pid": "4194303",
        "billed": "99.0",
        "own": "39.0",
        "hardirq": "5.0",
        "net": "24.0",
        "softirq": "1.0",
        "displaced": "19.0",
        "≈toll": "12.3",
    }
    # A dot where there is nothing, or less than is shown.
    assert second == ["quiet", "7", "·", "·", "·", "·", "·", "·", "·"]
    head, zero, last, both = (line.split() for line in cpus.splitlines())
    of_cpu = {
        "CPU": "0",
        "idle": "10.0",
        "idle-irq": "1.0",
        "own": "39.0",
        "hardirq": "5.0",
        "net": "24.0",
        "softirq": "1.0",
        "kthread": "19.0",
        "residual": "+1.000",
        "≈toll": "12.3",
        "steal": "1.1",
    }
    assert dict(zip(head, zero, strict=True)) == of_cpu
    assert dict(zip(head, last, strict=True)) == of_cpu | {"CPU": "127"}
    assert dict(zip(head, both, strict=True)) == of_cpu | {"CPU": "all"}
    head, zero, *_ = (line.split() for line in work.splitlines())
    assert dict(zip(head, zero, strict=True)) == {
        "CPU": "0",
        "irq/s": "234k",
        "ipi/s": "123k",
        "net_rx/s": "123k",
        "polls/s": "123k",
        "packets/s": "300k",
        "ns/packet": "833",
        "squeezed/s": "123",
    }


def test_a_cpu_that_hands_packets_over_has_no_cost_per_packet() -> None:
    handing = replace(CPU, softirq_packets=5, polls=3)
    assert CPU.ns_per_packet == pytest.approx(833, abs=1)
    assert handing.ns_per_packet is None
    assert replace(CPU, softirq_packets=0).ns_per_packet is None


def test_the_shares_of_a_row_add_up() -> None:
    """idle, interrupts over it, own, what was stolen, kernel threads and the residual: 100 %."""
    row = shown(INTERVAL).split("\n\n")[2].splitlines()[1].split()
    assert sum(map(float, row[1:9])) == pytest.approx(100)


def test_what_is_always_told() -> None:
    """Residual, lost events, nettax's own cost, and where the toll comes from."""
    told = shown(replace(INTERVAL, events=Events(3, 4, 200_000_000, 1_000_000_000)))
    for words in (
        "residual +1.000 %",
        "lost 3",
        "unmatched 4",
        "inferred 1.0 %",
        "unkept 5.0 %",
        "12.3 ms of CPU",
        "3.46 µs an interrupt [2.35, 4.57]",
        "10.000 s on 2 CPUs",
        "the kernel bills interrupts to the task that they interrupt",
    ):
        assert words in " ".join(told.split())
    assert "not calibrated" in shown(without_toll(INTERVAL))
    assert "≈toll " not in shown(without_toll(INTERVAL)).split("\n\n", 1)[1]


def test_own_programs_when_they_were_timed() -> None:
    told = shown(replace(INTERVAL, own_cost=OwnCost(1_000_000, 5_000_000, 20_000)))
    assert "5.0 ms in its 20k program runs (250 ns each)" in " ".join(told.split())


def test_exited_tasks_and_offline_cpus_are_marked() -> None:
    one = replace(INTERVAL, tasks=(replace(TASK, exited=True),))
    assert "fifteen-letters†" in shown(one)
    assert "127 offline" in shown(
        replace(INTERVAL, cpus=(CPU, replace(CPU, cpu=127, online=False)))
    )


def test_an_interval_of_a_cpu_that_was_never_online() -> None:
    nothing = replace(
        CpuShare.total([CPU]),
        online=False,
        wall_ns=0,
        idle_ns=0,
        idle_interrupted_ns=0,
        own_ns=0,
        stolen_ns=dict.fromkeys(CPU.stolen_ns, 0),
        kthread_ns=dict.fromkeys(CPU.kthread_ns, 0),
        residual_ns=0,
        packets=0,
        squeezed=None,
    )
    told = shown(replace(INTERVAL, cpus=(nothing,), tasks=()))
    assert "offline" in told
    assert "residual · %" in told


def test_the_most_taken_from_comes_first() -> None:
    loud = replace(QUIET, pid=8, billed_ns=2_000_000)
    assert [task.pid for task in by_taken([QUIET, loud, TASK])] == [TASK.pid, 8, 7]


def test_rows_left_out_are_counted() -> None:
    told = shown(INTERVAL, rows=1)
    assert "quiet" not in told
    assert "(1 more tasks; -n sets how many are shown)" in told
    assert "more tasks" not in shown(INTERVAL, rows=2)


def test_interrupts_by_line() -> None:
    """The dearest first, CPUs together, and names made safe."""
    assert "eth0-rx-1" not in shown(INTERVAL)
    assert irqs_table(INTERVAL, 9).splitlines() == [
        "irq  name          CPUs  irq/s  ns/irq    %",
        "27   eth0-rx-1    0,127    40k     300  1.2",
        "LOC  local timer      0    250    2000  0.1",
        "3    disk ?[2J        0      0     999    ·",
    ]
    assert irqs_table(INTERVAL, 1).endswith("\n\n(2 more lines; -n sets how many are shown)")
    assert irqs_table(INTERVAL, 9) in text(INTERVAL, INTERVAL.tasks, 9, irqs=True)
    found = document(INTERVAL, [])["irqs"]
    assert [(irq["irq"], irq["cpu"]) for irq in found] == [
        *(("3", 0), ("27", 0), ("27", 127), ("LOC", 0))
    ]


# --- for machines --------------------------------------------------------------------------------

SOFTIRQS = set(VECTORS)
STOLEN = SOFTIRQS | {"hardirq"}
KTHREADS = {"ksoftirqd", "napi", "irq"}
TOLL_KEYS = {"estimate", "low", "high"}


def has(found: Any, name: str, keys: set[str]) -> None:
    assert keys <= found[name].keys(), name


def test_the_document_has_what_its_schema_promises() -> None:
    found = json.loads(json.dumps(document(INTERVAL, [TASK])))
    assert found["schema"] == "nettax.stat/1"
    assert found["interval"] == {"start_ns": 5_000_000_000, "wall_ns": WALL}
    has(found, "events", {"lost", "unmatched"})
    assert found["self"] == {"cpu_ns": 12_300_000, "bpf_ns": None, "bpf_runs": None}
    assert [cpu["cpu"] for cpu in found["cpus"]] == [0, 127]
    for cpu in (*found["cpus"], found["total"]):
        plain = {"cpu", "wall_ns", "idle_ns", "idle_interrupted_ns", "own_ns", "hardirq_count"}
        plain |= {"ipi_count", "polls", "packets", "squeezed", "steal_ns", "residual_ns"}
        assert plain <= cpu.keys()
        has(cpu, "stolen_ns", STOLEN)
        has(cpu, "softirq_ns", SOFTIRQS)
        has(cpu, "softirq_count", SOFTIRQS)
        has(cpu, "kthread_ns", KTHREADS)
        has(cpu, "toll_ns", TOLL_KEYS)
    (task,) = found["tasks"]
    plain = {"pid", "tgid", "start_ns", "comm", "cgroup", "billed_ns", "oncpu_ns", "own_ns"}
    assert plain <= task.keys()
    has(task, "stolen_ns", STOLEN)
    has(task, "stolen_by_trigger_ns", {"irq_exit", "bh_enable", "unknown"})
    has(task, "displaced_ns", KTHREADS)
    has(task, "toll_ns", TOLL_KEYS)


def test_the_documents_figures_are_whole_numbers() -> None:
    def leaves(value: Any) -> Any:
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list):
            for one in value:
                yield from leaves(one)
        else:
            yield value

    found = document(INTERVAL, [TASK])
    for part in ("interval", "cpus", "total", "tasks", "events", "self"):
        assert all(not isinstance(leaf, float) for leaf in leaves(found[part])), part


def test_totals_are_sums() -> None:
    total = document(INTERVAL, [])["total"]
    assert total["cpu"] == 2
    assert total["wall_ns"] == 2 * WALL
    assert total["stolen_ns"]["net_rx"] == 4_800_000_000
    assert total["toll_ns"]["estimate"] == 2_468_000_000
    assert total["squeezed"] == 2_460
    one_unknown = replace(INTERVAL, cpus=(CPU, replace(CPU, cpu=1, squeezed=None)))
    assert document(one_unknown, [])["total"]["squeezed"] is None


def test_what_was_not_measured_is_null() -> None:
    found = document(without_toll(INTERVAL), list(without_toll(INTERVAL).tasks))
    assert found["toll"] is None
    assert all(row["toll_ns"] is None for row in (*found["cpus"], *found["tasks"]))


def test_csv() -> None:
    rows = list(csv.DictReader(io.StringIO(payers_csv(INTERVAL, [TASK, QUIET]))))
    assert [row["comm"] for row in rows] == ["fifteen-letters", "quiet"]
    assert rows[0]["interval.start_ns"] == "5000000000"
    assert rows[0]["interval.wall_ns"] == str(WALL)
    assert rows[0]["stolen_ns.net_rx"] == "2400000000"
    assert rows[0]["displaced_ns.ksoftirqd"] == "1900000000"
    assert rows[0]["toll_ns.low"] == "900000000"
    assert len({tuple(row) for row in rows}) == 1


def test_csv_without_a_header_continues_the_table() -> None:
    whole = payers_csv(INTERVAL, [TASK, QUIET])
    parts = payers_csv(INTERVAL, [TASK]) + payers_csv(INTERVAL, [QUIET], header=False)
    assert whole == parts
    assert payers_csv(INTERVAL, []) == ""


HOSTILE = "\x1b[31m\n\t\x9b\u202e,\"'é漢"


def test_names_cannot_command_a_terminal_or_break_a_table() -> None:
    task = replace(TASK, comm=HOSTILE, cgroup=f"/{HOSTILE}")
    told = shown(replace(INTERVAL, tasks=(task,)))
    plain = shown(replace(INTERVAL, tasks=(replace(TASK, comm="x" * len(HOSTILE)),)))
    assert all(c.isprintable() or c == "\n" for c in told)
    assert len(told.splitlines()) == len(plain.splitlines())
    (row,) = csv.DictReader(io.StringIO(payers_csv(INTERVAL, [task])))
    assert row["comm"] == "?[31m????,\"'é漢"
    assert row["cgroup"] == "/?[31m????,\"'é漢"
    # Machines get the name as it is, in plain ASCII.
    line = json.dumps(document(INTERVAL, [task]))
    assert line.isascii()
    assert json.loads(line)["tasks"][0]["comm"] == HOSTILE


# --- the pieces ----------------------------------------------------------------------------------


def test_a_histogram() -> None:
    slots = [0] * 40
    slots[9], slots[11] = 1, 400
    assert histogram_text("poll", slots, width=10).splitlines() == [
        "poll run time, 401 runs",
        "    512 ns …       1  █",
        "   1.02 µs …       0",
        "   2.05 µs …     400  ██████████",
    ]


@pytest.mark.parametrize(
    ("ns", "told"), [(0, "0 ns"), (999, "999 ns"), (1_024, "1.02 µs"), (1 << 39, "550 s")]
)
def test_times(ns: int, told: str) -> None:
    assert time_text(ns) == told


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (0, "0"),
        (999, "999"),
        (999.6, "1k"),
        (1_000, "1k"),
        (1_234, "1.23k"),
        (123_456, "123k"),
        (999_999, "1M"),
        (1_000_000, "1M"),
        (12_345_678, "12.3M"),
        (12_345_678_901, "12.3G"),
    ],
)
def test_counts(number: float, told: str) -> None:
    assert count(number) == told


def test_shares() -> None:
    assert percent(1, 2) == "50.0"
    assert percent(0, 2) == percent(4, 10_000) == percent(1, 0) == "·"
    assert percent(5, 10_000) == "0.1"
    assert percent(-1, 2) == "-50.0"
    assert signed_percent(1, 100_000) == "+0.001"
    assert signed_percent(-1, 2) == "-50.000"
    assert signed_percent(1, 0) == "·"


def test_a_table() -> None:
    assert table(["name", "n"], [["a", "10"], ["longer", "2"]]).splitlines() == [
        "name     n",
        "a       10",
        "longer   2",
    ]
    assert table(["name", "n"], []) == "name  n"


def test_safe_leaves_what_is_plain() -> None:
    assert safe("kworker/u8:1-événements") == "kworker/u8:1-événements"
    assert safe("") == ""
