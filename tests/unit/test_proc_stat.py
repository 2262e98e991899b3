"""/proc/stat, as captured and with holes."""

from __future__ import annotations

from pathlib import Path

from nettax.kernel.proc_stat import TICK_NS, CpuTimes, stat

CAPTURED = Path(__file__).parents[1] / "fixtures/proc/vm-6.18"


def test_a_captured_file() -> None:
    reading = stat(CAPTURED)
    assert reading.total == CpuTimes(
        *(ticks * TICK_NS for ticks in (21054, 0, 7641, 405876, 879, 0, 224, 3625))
    )
    assert sorted(reading.cpus) == [0, 1]
    assert reading.cpus[1].softirq_ns == 209 * TICK_NS
    assert reading.interrupts == 1136761
    assert reading.softirqs == 221937
    assert reading.context_switches == 556760


def test_offline_cpus_are_absent_and_guest_time_is_not_added_twice(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text(
        "cpu  30 1 2 3 4 5 6 7 20 0\ncpu0 10 1 1 1 1 1 1 1 9 0\ncpu5 20 0 1 2 3 4 5 6 11 0\n"
        "intr 9 4 5\nctxt 3\nbtime 1\nprocesses 2\nprocs_running 1\nprocs_blocked 0\n"
        "softirq 7 3 4\n"
    )
    reading = stat(tmp_path)
    assert list(reading.cpus) == [0, 5]
    assert reading.total.wall_ns == (30 + 1 + 2 + 3 + 4 + 5 + 6 + 7) * TICK_NS


def test_a_difference_is_not_clamped() -> None:
    earlier = CpuTimes(1, 1, 1, 1, 5, 1, 1, 1)
    later = CpuTimes(2, 2, 2, 2, 3, 2, 2, 2)
    assert later - earlier == CpuTimes(1, 1, 1, 1, -2, 1, 1, 1)
    assert (later - earlier).wall_ns == 5
