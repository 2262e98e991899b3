"""QEMU, as a program to find and a command line to write."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nettax.errors import MissingFeature

__all__ = [
    "COUNTS_ON_SEVERAL",
    "PATCHES_ON_SEVERAL",
    "PORTS",
    "PROGRAM",
    "Emulator",
    "Machine",
    "installed",
]

PROGRAM = "qemu-system-x86_64"
COUNTS_ON_SEVERAL = (10, 0)
"""From this version on -icount works with more than one CPU; in 7.2 it hangs."""
PATCHES_ON_SEVERAL = (8, 1)
"""From this version on several CPUs see code that one of them changes, as kernels do for static
keys and tracing. Before, a CPU that translated it meanwhile could keep a breakpoint in it that was
gone, which is a panic. QEMU commit deba78709ae8 ("accel/tcg: Always lock pages before translation")
(in v8.1).
"""
_ALLOCATES = (8, 0)
# Before, cmpxchg16b, by which a kernel allocates, left flags that no CPU has, and an interrupt
# just then saved them: now and then a panic. The kernel does without, if told: it is bit 13 of
# word 4, arch/x86/include/asm/cpufeatures.h. Not where instructions count: they would be others.
_WITHOUT_CMPXCHG16B = "clearcpuid=141"
PORTS = ("control", "signals", "stdin", "stdout", "stderr")
"""The virtio ports that agent.sh opens."""

# nokaslr: the same addresses in every run. tsc=reliable: two CPUs would fall back to hpet. panic=-1
# with -no-reboot ends QEMU when the kernel panics, and an oops is no state to measure in. The tests
# of its own ciphers take the kernel half a second.
_KERNEL = (
    "console=ttyS0 rdinit=/init panic=-1 oops=panic nokaslr mitigations=off tsc=reliable "
    "random.trust_cpu=on cryptomgr.notests quiet"
)
# Without devices that nobody here uses, whose drivers and firmware take a second of emulation.
_BOARD = "q35,smm=off,vmport=off,i8042=off,hpet=off"
_EXACT_KHZ = 1_000_000  # the counter's rate is then one a ns of the guest's time


@dataclass(frozen=True)
class Emulator:
    """A QEMU."""

    words: tuple[str, ...]
    """What its command line begins with."""

    def version(self) -> tuple[int, int]:
        """Its version, of which the first two numbers count.

        :raises MissingFeature: it does not run.
        """
        run = subprocess.run([*self.words, "--version"], capture_output=True, text=True)
        found = re.search(r"version (\d+)\.(\d+)", run.stdout)
        if not found:
            said = (run.stderr or run.stdout).strip() or "it says nothing"
            raise MissingFeature(f"{self.words[-1]} does not run: {said}")
        return int(found[1]), int(found[2])


@dataclass(frozen=True)
class Machine:
    """What is emulated. Descriptors are this process's, to be passed on."""

    emulator: Emulator
    kernel: Path
    initramfs: int
    serial: int
    ports: dict[str, int]
    cpus: int
    memory_mib: int
    exact: bool
    shares: Sequence[Path] = ()
    append: str = ""
    nic: tuple[str, ...] = ()
    """Words that describe the NIC and its other end."""
    plugin: tuple[str, ...] = ()
    """Words for a plugin that watches the guest."""

    def command(self, counter_khz: int) -> list[str]:
        """QEMU's command line.

        ``counter_khz`` is the rate of this machine's cycle counter, which the guest's follows.
        Emulation in software (TCG) only, whatever the host has: what is measured in the guest, and
        how long it takes, is then the same everywhere.
        """
        engine = "tcg,thread=single" if self.exact else "tcg,thread=multi"
        words = [
            *self.emulator.words,
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
        ]
        words += ["-machine", _BOARD, "-accel", engine, "-cpu", "max"]
        words += ["-smp", str(self.cpus), "-m", f"{self.memory_mib}M"]
        if self.exact:
            words += ["-icount", "shift=1,sleep=off", "-seed", "1"]
            words += ["-rtc", "base=2000-01-01T00:00:00,clock=vm"]
        words += ["-kernel", str(self.kernel), "-initrd", f"/dev/fd/{self.initramfs}"]
        words += [
            "-append",
            " ".join(
                filter(None, (_KERNEL, self._clock(counter_khz), self._spared(), self.append))
            ),
        ]
        words += ["-chardev", f"socket,id=serial,fd={self.serial}", "-serial", "chardev:serial"]
        words += ["-device", "virtio-serial-pci"]
        for name, fd in self.ports.items():
            words += ["-chardev", f"socket,id={name},fd={fd}"]
            words += ["-device", f"virtserialport,chardev={name},name={name}"]
        words += _directory("root", Path("/"), "readonly=on")
        for number, path in enumerate(self.shares):
            words += _directory(f"share{number}", path, "readonly=off")
        return [*words, *self.nic, *self.plugin]

    def _spared(self) -> str:
        """What the kernel is not to use, as this QEMU gets it wrong."""
        wrong = not self.exact and self.emulator.version() < _ALLOCATES
        return _WITHOUT_CMPXCHG16B if wrong else ""

    def _clock(self, counter_khz: int) -> str:
        """Tell the kernel the rate of its counter.

        It would measure that against timers which on a busy host come late, and find a tenth.
        """
        if self.exact:
            return f"tsc_early_khz={_EXACT_KHZ} norandmaps"
        return f"tsc_early_khz={counter_khz}"


def _directory(tag: str, path: Path, mode: str) -> list[str]:
    """Share a directory by 9p; inode numbers are remapped, lest two file systems share them."""
    escaped = os.fspath(path).replace(",", ",,")
    return [
        "-fsdev",
        f"local,id={tag},path={escaped},security_model=none,multidevs=remap,{mode}",
        "-device",
        f"virtio-9p-pci,fsdev={tag},mount_tag={tag}",
    ]


def installed() -> Emulator:
    """This host's.

    :raises MissingFeature: it is not installed, or its guests could not run this host's programs.
    """
    if os.uname().machine != "x86_64":
        raise MissingFeature(
            "guests of the lab are x86-64 and run this host's programs, which are "
            f"{os.uname().machine}: use an x86-64 host."
        )
    path = shutil.which(PROGRAM)
    if path is None:
        raise MissingFeature(
            f"{PROGRAM} is missing, which the lab's guests run in: apt-get install qemu-system-x86"
        )
    return Emulator((path,))
