"""Who is billed for interrupts, judged from what different kernels show."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nettax.kernel.accounting import accounting

APART = "CONFIG_IRQ_TIME_ACCOUNTING=y\n"


def host(
    tmp_path: Path,
    config: str | None,
    *,
    boot: str = "quiet",
    irq_ticks: int = 0,
    interrupts: int = 0,
    nohz_full: str | None = None,
) -> tuple[Path, Path, Path]:
    """Make a /proc, /sys and / that show these things."""
    for name in ("proc", "sys/devices/system/cpu", "lib/modules"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "proc/cmdline").write_text(f"{boot}\n")
    (tmp_path / "proc/stat").write_text(
        f"cpu 1 0 1 1 0 {irq_ticks} 0 0 0 0\nintr {interrupts}\nctxt 1\nsoftirq 1\n"
    )
    if nohz_full is not None:
        (tmp_path / "sys/devices/system/cpu/nohz_full").write_text(f"{nohz_full}\n")
    if config is not None:
        (tmp_path / "boot").mkdir()
        (tmp_path / f"boot/config-{os.uname().release}").write_text(config)
    return tmp_path / "proc", tmp_path / "sys", tmp_path


def test_not_built_in(tmp_path: Path) -> None:
    found = accounting(*host(tmp_path, "# CONFIG_IRQ_TIME_ACCOUNTING is not set\n"))
    assert (found.tasks, found.interrupts_apart, found.mode) == ("tick", False, "tick")
    assert found.evidence.startswith("CONFIG_IRQ_TIME_ACCOUNTING is not set in /boot/config-")


def test_built_in_and_turned_off_at_boot(tmp_path: Path) -> None:
    found = accounting(*host(tmp_path, APART, boot="quiet tsc=noirqtime"))
    assert found.interrupts_apart is False
    assert "tsc=noirqtime" in found.evidence


@pytest.mark.parametrize("config", [APART, None])
@pytest.mark.parametrize(
    ("irq_ticks", "interrupts", "apart"),
    [
        (300, 2_000_000, True),  # 1.5 µs each
        (0, 2_000_000, False),
        (1, 2_000_000, False),  # a tick that strayed into an interrupt
        (0, 1_000, None),
    ],
)
def test_the_irq_column_tells(
    tmp_path: Path, config: str | None, irq_ticks: int, interrupts: int, apart: bool | None
) -> None:
    found = accounting(*host(tmp_path, config, irq_ticks=irq_ticks, interrupts=interrupts))
    assert found.interrupts_apart is apart
    assert f"{interrupts:,} interrupts" in found.evidence


@pytest.mark.parametrize(
    ("nohz_full", "tasks"),
    [(None, "tick"), ("", "tick"), ("(null)", "tick"), ("2-7", "virt-gen")],
)
def test_full_dynticks_count_only_where_they_are_on(
    tmp_path: Path, nohz_full: str | None, tasks: str
) -> None:
    config = "CONFIG_VIRT_CPU_ACCOUNTING_GEN=y\n"  # built into every Debian and Ubuntu kernel
    assert accounting(*host(tmp_path, config, nohz_full=nohz_full)).tasks == tasks


def test_native_accounting(tmp_path: Path) -> None:
    found = accounting(*host(tmp_path, "CONFIG_VIRT_CPU_ACCOUNTING_NATIVE=y\n"))
    assert found.mode == "virt-native, interrupts apart"
