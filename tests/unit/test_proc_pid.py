"""/proc/PID: a captured task with a vicious name, any name at all, and tasks that are gone."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from nettax.kernel import proc_pid
from nettax.kernel.proc_stat import TICK_NS

CAPTURED = Path(__file__).parents[1] / "fixtures/proc/vm-6.18"
PID = 7391


def test_a_captured_task_called_like_the_fields_after_it() -> None:
    task = proc_pid.task_stat(PID, proc=CAPTURED)
    assert task == proc_pid.TaskStat(
        pid=PID,
        comm=") R (x y",
        state="S",
        ppid=7369,
        flags=4194304,
        utime_ns=90 * TICK_NS,
        stime_ns=2 * TICK_NS,
        num_threads=1,
        start_ns=219397 * TICK_NS,
        last_cpu=0,
    )
    assert task.billed_ns == 92 * TICK_NS


def test_the_other_files_of_a_captured_task() -> None:
    assert proc_pid.schedstat(PID, proc=CAPTURED) == proc_pid.SchedStat(935481374, 165069084, 97)
    assert proc_pid.comm(PID, proc=CAPTURED) == ") R (x y"
    assert proc_pid.cmdline(PID, proc=CAPTURED) == ("python3", "-")
    assert proc_pid.pids(CAPTURED) == [PID]


def test_a_task_that_is_gone_is_none() -> None:
    assert proc_pid.task_stat(1, proc=CAPTURED) is None
    assert proc_pid.schedstat(1, 2, proc=CAPTURED) is None
    assert proc_pid.comm(1, proc=CAPTURED) is None
    assert proc_pid.cmdline(1, proc=CAPTURED) is None
    assert proc_pid.threads(1, proc=CAPTURED) == []


def test_a_kernel_thread(tmp_path: Path) -> None:
    directory = tmp_path / "16"
    directory.mkdir()
    (directory / "stat").write_text(
        "16 (ksoftirqd/0) S 2 0 0 0 -1 69238848 0 0 0 0 0 197 0 0 20 0 1 0 12 0 0 "
        "18446744073709551615 0 0 0 0 0 0 0 2147483647 0 0 0 0 17 3 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
    )
    (directory / "cmdline").write_text("")
    task = proc_pid.task_stat(16, proc=tmp_path)
    assert task is not None
    assert (task.comm, task.ppid, task.last_cpu) == ("ksoftirqd/0", 2, 3)
    assert proc_pid.cmdline(16, proc=tmp_path) == ()


@given(st.binary(max_size=15).filter(lambda name: b"\0" not in name))
def test_whatever_a_task_calls_itself(name: bytes) -> None:
    captured = (CAPTURED / f"{PID}/stat").read_bytes()
    with tempfile.TemporaryDirectory() as proc:
        directory = Path(proc, str(PID))
        directory.mkdir()
        (directory / "stat").write_bytes(captured.replace(b") R (x y", name))
        (directory / "comm").write_bytes(name + b"\n")
        task = proc_pid.task_stat(PID, proc=proc)
        assert task is not None
        assert (task.state, task.last_cpu) == ("S", 0)
        assert task.comm == proc_pid.comm(PID, proc=proc)
        task.comm.encode()  # it can be printed


def test_schedstats_subtract() -> None:
    assert proc_pid.SchedStat(9, 8, 7) - proc_pid.SchedStat(1, 2, 3) == proc_pid.SchedStat(8, 6, 4)
