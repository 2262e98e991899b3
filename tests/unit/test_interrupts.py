"""/proc/interrupts and /proc/softirqs, as captured and as other hosts print them."""

from __future__ import annotations

from pathlib import Path

from nettax.kernel.interrupts import Interrupt, interrupts, softirqs

CAPTURED = Path(__file__).parents[1] / "fixtures/proc/vm-6.18"

# A four-CPU host with CPU 1 offline.
HOLE = """\
            CPU0       CPU2       CPU3
   0:         44          0          0  IR-IO-APIC    2-edge      timer
 152:          1          2  123456789  IR-PCI-MSIX-0000:d8:00.0    3-edge      mlx5_comp2
 NMI:          3          4          5   Non-maskable interrupts
 LOC:         10         20         30   Local timer interrupts
 ERR:          7
 MIS:          0
"""

# One CPU: a lone count must not be taken for CPU 0's.
ALONE = """\
           CPU0
 11:         10     GICv2  27 Level     arch_timer
IPI0:         2       Rescheduling interrupts
Err:          6
"""


def write(tmp_path: Path, text: str) -> Path:
    (tmp_path / "interrupts").write_text(text)
    return tmp_path


def test_a_captured_file() -> None:
    found = interrupts(CAPTURED)
    assert found["36"].description == "PCI-MSIX-0000:00:02.0 1-edge virtio1-req.0"
    assert found["36"].total == found["36"].per_cpu[1]
    assert found["RES"].description == "Rescheduling interrupts"
    assert found["ERR"] == Interrupt("ERR", {}, 0, "")
    assert {"LOC", "CAL", "TLB", "NMI"} < set(found)


def test_offline_cpus_have_no_column(tmp_path: Path) -> None:
    found = interrupts(write(tmp_path, HOLE))
    assert found["152"].per_cpu == {0: 1, 2: 2, 3: 123456789}
    assert found["152"].description.endswith("3-edge mlx5_comp2")
    assert found["LOC"].total == 60
    assert found["ERR"] == Interrupt("ERR", {}, 7, "")


def test_one_cpu(tmp_path: Path) -> None:
    found = interrupts(write(tmp_path, ALONE))
    assert found["11"] == Interrupt("11", {0: 10}, 10, "GICv2 27 Level arch_timer")
    assert found["IPI0"].per_cpu == {0: 2}
    assert found["Err"] == Interrupt("Err", {}, 6, "")


def test_captured_softirqs() -> None:
    found = softirqs(CAPTURED)
    assert list(found) == [
        *("HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL"),
        *("TASKLET", "SCHED", "HRTIMER", "RCU"),
    ]
    assert set(found["NET_RX"]) == {0, 1}
    assert sum(sum(per_cpu.values()) for per_cpu in found.values()) > 200_000
