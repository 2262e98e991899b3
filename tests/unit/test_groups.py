"""Groups of tasks: nothing is lost in them, and each is called what people call it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit import test_report
from tests.unit.tui import BOX, DOCKER, TASKS, THREAD, VICTIM, WEB, task

from nettax.ledger import Charges, TaskCharges, Toll, TollPoint, TollShare
from nettax.ledger.groups import Group, by_cgroup, by_machine, by_process, by_workload, group_rows
from nettax.ledger.machines import Machine, Machines, machine_name, role


def nobody(tgid: int) -> str | None:
    return None


Grouping = Callable[[Sequence[TaskCharges]], list[Group]]
GROUPINGS: list[Grouping] = [
    lambda tasks: by_process(tasks, nobody),
    by_cgroup,
    by_workload,
]

some_tasks = st.lists(
    st.builds(
        task,
        st.integers(1, 40),
        st.sampled_from(["a", "CPU 0/KVM", "vhost-7", "qemu-system-x86"]),
        tgid=st.integers(1, 8),
        cgroup=st.integers(0, 5),  # two of which have no path
        billed=st.integers(0, 900),
        own=st.integers(0, 900),
        net=st.integers(0, 900),
        displaced=st.integers(0, 900),
        interrupts=st.integers(0, 900),
    ),
    unique_by=lambda made: made.pid,
)


@pytest.mark.parametrize("group", GROUPINGS, ids=["process", "cgroup", "workload"])
@given(some_tasks)
def test_the_groups_are_the_tasks(group: Grouping, tasks: list[TaskCharges]) -> None:
    """Every task is in one group, and the sums over groups are those over tasks, exactly."""
    groups = group(tasks)
    assert Charges.total(g.charges for g in groups) == Charges.total(t.charges for t in tasks)
    assert sorted(t.key for g in groups for t in g.tasks) == sorted(t.key for t in tasks)
    assert len({g.key for g in groups}) == len(groups)


@given(some_tasks)
def test_a_machines_parts_are_the_machine(tasks: list[TaskCharges]) -> None:
    machines = by_machine(tasks, Machines(None))
    inside = [t for machine in machines for t in machine.tasks]
    assert len({t.key for t in inside}) == len(inside) <= len(tasks)
    for machine in machines:
        parts = [machine.part(name) for name in ("vcpu", "emulator", "vhost")]
        assert Charges.total(parts) == machine.charges


def named(groups: Sequence[Group]) -> dict[str, set[str]]:
    return {group.name: {task.comm for task in group.tasks} for group in groups}


def test_a_process_is_called_as_its_main_thread() -> None:
    assert named(by_process([WEB, THREAD], nobody)) == {"web": {"web", "web-io"}}
    assert named(by_process([THREAD], lambda tgid: "web")) == {"web": {"web-io"}}
    assert named(by_process([THREAD], nobody)) == {"web-io": {"web-io"}}


def test_cgroups_are_told_apart_and_workloads_reach_below() -> None:
    assert named(by_cgroup(TASKS))["/system.slice/web.service"] == {"web"}
    assert named(by_workload(TASKS)) == {
        "/": {"victim", "ksoftirqd/1"},
        "web.service": {"web", "web-io"},
        "ab" * 6: {"box"},
    }
    (box,) = by_workload([BOX])
    assert (box.kind, box.key, box.cgroup) == ("docker", DOCKER, DOCKER)


def test_tasks_of_no_known_cgroup_are_one_group() -> None:
    gone = task(7, "gone", cgroup=99)
    for group in (by_cgroup, by_workload):
        (unknown,) = group([gone])
        assert unknown.name == "?"


def test_a_group_has_ended_when_all_of_it_has() -> None:
    ended, alive = task(1, exited=True, tgid=1), task(2, tgid=1)
    assert by_process([ended], nobody)[0].exited
    assert not by_process([ended, alive], nobody)[0].exited


# --- virtual machines ----------------------------------------------------------------------------


QEMU = [
    task(700, "qemu-system-x86", tgid=700, own=10),
    task(701, "CPU 0/KVM", tgid=700, own=300, net=100),
    task(702, "CPU 1/KVM", tgid=700, own=200),
    task(703, "IO mon_iothread", tgid=700, own=1),
]


def test_a_machine_is_its_vcpus_its_emulator_and_its_vhost_threads() -> None:
    """vhost as kernel threads (before Linux 6.4), and as threads of QEMU."""
    kernel = task(33, "vhost-700", own=50)
    user = task(704, "vhost-700", tgid=700, own=60)
    by_thread = task(34, "vhost-702", own=70)
    others = [task(35, "vhost-9", own=1), VICTIM, WEB]
    (found,) = by_machine([*QEMU, kernel, user, by_thread, *others], Machines(None))
    assert found.key == 700
    assert {t.pid for t in found.tasks} == {700, 701, 702, 703, 704, 33, 34}
    parts = {name: found.part(name).own_ns for name in ("vcpu", "emulator", "vhost")}
    assert parts == {"vcpu": 500_000_000, "emulator": 11_000_000, "vhost": 180_000_000}


def test_a_machine_is_known_until_it_ends(tmp_path: Path) -> None:
    """By a thread with QEMU's name; after that, other threads of it will do."""
    (tmp_path / "700").mkdir()
    (tmp_path / "700/cmdline").write_bytes(
        b"qemu-system-x86_64\0-name\0guest=web,debug-threads=on\0"
    )
    machines = Machines(tmp_path)
    assert set(machines.owners(QEMU).values()) == {Machine(700, "web")}
    assert set(machines.owners(QEMU[3:]).values()) == {Machine(700, "web")}
    (tmp_path / "700/cmdline").write_bytes(b"sleep\0001\0")  # its pid, used again
    assert machines.owners(QEMU[3:]) == {}


def test_what_is_named_like_qemu_in_the_kernel_is_none() -> None:
    assert by_machine([task(5, "kvm", kind="irq")], Machines(None)) == []


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["qemu-system-x86_64", "-name", "web"], "web"),
        (["qemu", "-name", "guest=web,debug-threads=on"], "web"),
        (["qemu", "--name", "debug-threads=on,guest=a,,b=c"], "a,b=c"),
        (["qemu", "-name", "web,process=x"], "web"),
        (["qemu", "-name", "debug-threads=on"], None),
        (["qemu", "-name", ""], None),
        (["qemu", "-name"], None),
        ([], None),
    ],
)
def test_the_name_on_qemus_command_line(arguments: list[str], name: str | None) -> None:
    assert machine_name(arguments) == name


@given(st.lists(st.text(max_size=20), max_size=5))
def test_any_command_line_will_do(arguments: list[str]) -> None:
    assert machine_name(["-name", *arguments]) != ""


def test_roles() -> None:
    assert [role(n) for n in ("CPU 12/KVM", "ALL CPUs/TCG", "vhost-12", "vhost-net")] == [
        "vcpu",
        "vcpu",
        "vhost",
        "emulator",
    ]


def test_rows_of_groups() -> None:
    """With every figure of the tasks in it, and the toll by the rate of each one's CPU."""
    tasks = [
        task(5, "web", billed=30, own=20, net=10, displaced=4, interrupts=1000),
        task(6, "web", tgid=5, billed=3, own=2, hardirq=1, interrupts=500, exited=True),
    ]
    toll = Toll((TollPoint(1, 2_000, 1_000, 3_000),), 0)
    interval = replace(test_report.INTERVAL, toll=toll)
    (row,) = group_rows(by_process(tasks, nobody), interval)
    whole = Charges.total(member.charges for member in tasks)
    assert (row.name, row.pid, row.kind, row.tasks, row.exited) == ("web", 5, "task", 2, False)
    for name in ("billed_ns", "oncpu_ns", "own_ns", "stolen_ns", "displaced_ns", "wait_ns"):
        assert getattr(row, name) == getattr(whole, name)
    assert row.stolen_by_trigger_ns == whole.stolen_by_trigger_ns
    assert (row.interrupts, row.switches) == (1500, 2)
    assert row.taken_ns == whole.taken_ns
    assert row.toll_ns == TollShare(3_000_000, 1_500_000, 4_500_000)
    assert group_rows(by_cgroup(tasks), replace(interval, toll=None))[0].toll_ns is None
