"""What this kernel can do and how it was set up: asked of it, never inferred from its version.

`nettax.kernel.probes` tells a person the same with the remedies.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from nettax.errors import MissingFeature
from nettax.kernel.files import StrPath, read_text, read_word

__all__ = [
    "SIMULATE_NO_BTF",
    "btf_path",
    "capabilities",
    "clocksource",
    "command_line",
    "cpu_model",
    "hypervisor",
    "is_realtime",
    "kernel_config",
    "sysctl",
    "tick_hz",
]

SIMULATE_NO_BTF = "NETTAX_SIMULATE_NO_BTF"
"""Set to 1 in the environment, this makes a kernel with BTF look like one without, for tests."""

# include/uapi/linux/capability.h; only those that decide what nettax may do.
_CAPABILITY_BITS = {
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_SYS_MODULE": 16,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_NICE": 23,
    "CAP_SYS_RESOURCE": 24,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}
_INITIAL_USER_NAMESPACE = "user:[4026531837]"  # PROC_USER_INIT_INO, include/linux/proc_ns.h
_CLOCK_REALTIME_COARSE = 5  # include/uapi/linux/time.h; the time module does not name it


def btf_path(sys: StrPath = "/sys") -> Path:
    """Return the file with the kernel's own BTF.

    :raises MissingFeature: if the kernel has none.
    """
    path = Path(sys, "kernel/btf/vmlinux")
    if os.environ.get(SIMULATE_NO_BTF) == "1" or not path.exists():
        raise MissingFeature(
            f"this kernel has no BTF ({path}), so nettax cannot attach to it: "
            "boot one built with CONFIG_DEBUG_INFO_BTF=y, as those of Debian 12 and Ubuntu 24.04"
        )
    return path


def capabilities(proc: StrPath = "/proc") -> frozenset[str]:
    """Return the effective capabilities that matter to nettax, such as ``CAP_BPF``.

    In a user namespace of one's own there are none: BPF and perf ask the initial one.
    CAP_SYS_ADMIN implies CAP_BPF and CAP_PERFMON (include/linux/capability.h, bpf_capable and
    perfmon_capable), so they are in the set with it.
    """
    namespace = Path(proc, "self/ns/user")  # not there where the kernel has only the initial one
    if namespace.is_symlink() and str(namespace.readlink()) != _INITIAL_USER_NAMESPACE:
        return frozenset()
    status = read_text(f"{proc}/self/status")
    mask = int(status.partition("CapEff:")[2].split(None, 1)[0], 16)
    held = {name for name, bit in _CAPABILITY_BITS.items() if mask >> bit & 1}
    if "CAP_SYS_ADMIN" in held:
        held |= {"CAP_BPF", "CAP_PERFMON"}
    return frozenset(held)


def sysctl(name: str, proc: StrPath = "/proc") -> str | None:
    """Return a sysctl such as ``kernel.bpf_stats_enabled``; None if this kernel lacks it."""
    return read_word(f"{proc}/sys/{name.replace('.', '/')}")


def command_line(proc: StrPath = "/proc") -> tuple[str, ...]:
    """Return the parameters that the kernel was booted with."""
    return tuple(read_text(f"{proc}/cmdline").split())


def kernel_config(proc: StrPath = "/proc", root: StrPath = "/") -> tuple[str, str] | None:
    """Return the running kernel's build configuration and the file that it came from.

    None where neither /proc/config.gz nor a distribution's copy is there and readable.
    """
    try:
        packed = Path(proc, "config.gz").read_bytes()
    except OSError:
        release = os.uname().release
        for path in (f"boot/config-{release}", f"lib/modules/{release}/config"):
            if text := read_word(Path(root, path)):
                return text, f"/{path}"
        return None
    import zlib

    return zlib.decompress(packed, wbits=zlib.MAX_WBITS | 16).decode(), "/proc/config.gz"


def tick_hz() -> int:
    """Return CONFIG_HZ.

    A coarse clock moves once a tick, and its resolution says so (kernel/time/posix-timers.c,
    posix_get_coarse_res).
    """
    return round(1 / time.clock_getres(_CLOCK_REALTIME_COARSE))


def clocksource(sys: StrPath = "/sys") -> str | None:
    """Return the clock that the kernel keeps time by: ``tsc``, ``kvm-clock``, ``hpet``."""
    return read_word(f"{sys}/devices/system/clocksource/clocksource0/current_clocksource")


def is_realtime(sys: StrPath = "/sys") -> bool:
    """Say whether this is a PREEMPT_RT kernel, where softirqs run in preemptible threads."""
    # The file came with the patches kept outside the tree; the build has always put the word into
    # the version (init/Makefile).
    named = "PREEMPT_RT" in os.uname().version.split()
    return named or read_word(f"{sys}/kernel/realtime") == "1"


def sees_host_pids(proc: StrPath = "/proc") -> bool:
    """Say whether pids here are the kernel's own: whether this is the initial pid namespace.

    Its inode is PROC_PID_INIT_INO, 0xEFFFFFFC (include/linux/proc_ns.h).
    """
    return Path(f"{proc}/self/ns/pid").readlink() == Path("pid:[4026531836]")


def require_host_pids() -> None:
    """Make sure that a task can be told by its pid.

    :raises MissingFeature: if this is a container's pid namespace.
    """
    if not sees_host_pids():
        raise MissingFeature(
            "this is a pid namespace of its own, and the kernel counts by the host's pids.\n"
            "Run in the host's: docker run --pid=host, or nsenter --target 1 --pid"
        )


def cpu_model(proc: StrPath = "/proc") -> str:
    """Return the name that the first CPU gives itself, or the machine type where it gives none."""
    return _cpuinfo("model name", proc) or os.uname().machine


def hypervisor(sys: StrPath = "/sys", proc: StrPath = "/proc") -> str | None:
    """Return what this kernel runs under, by the best name there is; None on bare metal.

    The name is what Xen says of itself or what the firmware says of the machine; without either
    it is ``unknown``, from CPUID's hypervisor bit. Other architectures than x86 have no such
    bit: there None also means that nobody said.
    """
    if xen := read_word(f"{sys}/hypervisor/type"):
        return xen
    if "hypervisor" in _cpuinfo("flags", proc).split():
        return read_word(f"{sys}/class/dmi/id/sys_vendor") or "unknown"
    return None


def _cpuinfo(key: str, proc: StrPath) -> str:
    for line in read_text(f"{proc}/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""
