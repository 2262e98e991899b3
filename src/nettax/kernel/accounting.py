"""How this kernel accounts for CPU time, on which it depends who is billed for interrupts.

Two choices of the kernel's build, each of which the boot may still turn off:

- Tasks: *tick* samples who runs at each timer tick; *virt-gen* (VIRT_CPU_ACCOUNTING_GEN) takes
  the time at each entry to the kernel, but only on CPUs given to ``nohz_full=``; *virt-native*
  does so everywhere (powerpc, s390). Source: init/Kconfig, "CPU/Task time and stats accounting".
- Interrupts: with IRQ_TIME_ACCOUNTING their time is taken out of the interrupted task's utime,
  stime and runtime (kernel/sched/cputime.c; kernel/sched/core.c, update_rq_clock_task). Else it
  stays in, and the task pays. It needs a fast sched_clock(): ``tsc=noirqtime`` or a TSC found
  unstable turns it off (arch/x86/kernel/tsc.c).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nettax.kernel.features import command_line, kernel_config
from nettax.kernel.files import StrPath, read_word
from nettax.kernel.proc_stat import TICK_NS, stat

__all__ = ["Accounting", "accounting"]

# No interrupt is over sooner, on any machine; real ones take 0.2 µs and more.
_LEAST_INTERRUPT_NS = 50


@dataclass(frozen=True, slots=True)
class Accounting:
    """How CPU time is accounted for, and why nettax thinks so."""

    tasks: Literal["tick", "virt-gen", "virt-native"]
    interrupts_apart: bool | None
    """Whether interrupts are kept out of the interrupted task's bill; None if nothing tells."""
    evidence: str

    @property
    def mode(self) -> str:
        """Both in a few words: ``tick``, ``tick, interrupts apart``."""
        told = {True: ", interrupts apart", False: "", None: ", interrupts unknown"}
        return self.tasks + told[self.interrupts_apart]


def accounting(proc: StrPath = "/proc", sys: StrPath = "/sys", root: StrPath = "/") -> Accounting:
    """Find out how the running kernel accounts for CPU time."""
    config, source = kernel_config(proc, root) or ("", "")
    options = frozenset(config.splitlines())
    if "CONFIG_VIRT_CPU_ACCOUNTING_NATIVE=y" in options:
        return Accounting("virt-native", True, f"CONFIG_VIRT_CPU_ACCOUNTING_NATIVE=y in {source}")
    # Where the parameter was not given, the kernel prints a null pointer's bitmap: "(null)".
    full = read_word(f"{sys}/devices/system/cpu/nohz_full")
    tasks: Literal["tick", "virt-gen"] = "tick" if full in (None, "", "(null)") else "virt-gen"
    if source and "CONFIG_IRQ_TIME_ACCOUNTING=y" not in options:
        return Accounting(tasks, False, f"CONFIG_IRQ_TIME_ACCOUNTING is not set in {source}")
    if "tsc=noirqtime" in command_line(proc):
        return Accounting(tasks, False, f"tsc=noirqtime in {proc}/cmdline")
    apart, seen = _interrupts_apart(proc)
    built = f"CONFIG_IRQ_TIME_ACCOUNTING=y in {source}; " if source else ""
    return Accounting(tasks, apart, built + seen)


def _interrupts_apart(proc: StrPath) -> tuple[bool | None, str]:
    """Judge by /proc/stat: does its irq column hold the time that so many interrupts must take?

    Without IRQ_TIME_ACCOUNTING the column counts ticks that fell into a hard interrupt, which
    runs with interrupts off and so lets none in: it stays at or near zero.
    """
    now = stat(proc)
    least_ns = now.interrupts * _LEAST_INTERRUPT_NS
    seen = f"{proc}/stat: {now.total.irq_ns / 1e9:.2f} s in {now.interrupts:,} interrupts"
    if least_ns < 2 * TICK_NS:
        return None, f"{seen}, too few to tell"
    return now.total.irq_ns >= least_ns, seen
