"""Every probe of this host, each with what was found and how to get what is missing."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nettax.errors import Unsupported
from nettax.kernel import cgroup, features, proc_pid, tracefs
from nettax.kernel.accounting import accounting

__all__ = ["Probe", "all_probes"]


@dataclass(frozen=True, slots=True)
class Probe:
    """One finding about this host."""

    name: str
    available: bool
    """Whether the kernel has the thing, or is in the state, that the name says."""
    detail: str
    fix: str | None
    """What to do about it; None where nothing is wrong."""


def all_probes() -> list[Probe]:
    """Ask this kernel everything that decides what nettax can measure here."""
    return [
        _path("BTF", features.btf_path),
        _libbpf(),
        *_capabilities(),
        _path("tracefs", tracefs.tracefs_mount),
        _path("cgroup v2", cgroup.v2_mount),
        _accounting(),
        _run_delay(),
        _irq_pressure(),
        *_switches(),
        *_settings(),
    ]


def _path(name: str, find: Callable[[], Path]) -> Probe:
    try:
        return Probe(name, True, str(find()), None)
    except Unsupported as error:
        problem, _, fix = str(error).partition(": ")
        return Probe(name, False, problem, fix)


def _libbpf() -> Probe:
    from nettax.kernel import libbpf  # ctypes: 5 ms that no other probe needs

    try:
        return Probe("libbpf", True, f"libbpf.so.1 is {libbpf.version()}", None)
    except Unsupported as error:
        problem, _, fix = str(error).partition("\n")
        return Probe("libbpf", False, problem, fix.removeprefix("Install it: "))


def _capabilities() -> list[Probe]:
    held = features.capabilities()
    uses = {
        "CAP_BPF": "load BPF programs",
        "CAP_PERFMON": "attach them to the kernel's tracepoints",
        "CAP_NET_ADMIN": "steer packets, make network namespaces",
        "CAP_SYS_ADMIN": "time BPF programs, mount, enter namespaces",
    }
    if os.geteuid() == 0:
        fix = "run on the host, or in a privileged container of the host's user namespace"
    else:
        fix = 'sudo env "PATH=$PATH" nettax …'
    return [
        Probe(name, name in held, f"to {use}", None if name in held else fix)
        for name, use in uses.items()
    ]


def _accounting() -> Probe:
    found = accounting()
    apart = {True: "out of", False: "in", None: "perhaps in"}[found.interrupts_apart]
    detail = f"{found.tasks}; interrupts stay {apart} the bill of tasks ({found.evidence})"
    return Probe("IRQ time accounting", bool(found.interrupts_apart), detail, None)


def _run_delay() -> Probe:
    name = "run delay"
    mine = proc_pid.schedstat(os.getpid())
    if mine is not None and mine.cpu_ns > 0:
        return Probe(name, True, "/proc/PID/schedstat bounds what is displaced", None)
    fix = "boot a kernel built with CONFIG_SCHED_INFO=y (any of SCHEDSTATS, TASK_DELAY_ACCT)"
    return Probe(name, False, "/proc/PID/schedstat is missing or empty", fix)


def _irq_pressure() -> Probe:
    # Only kernels with IRQ_TIME_ACCOUNTING have the file (kernel/sched/psi.c, psi_proc_init).
    there = Path("/proc/pressure/irq").exists()
    return Probe("irq pressure", there, f"/proc/pressure/irq {'' if there else 'not '}there", None)


def _switches() -> list[Probe]:
    """Things that a sysctl turns on and that nettax does without."""
    found = []
    for name, use in {
        "kernel.bpf_stats_enabled": "the kernel's own timing of BPF programs",
        "kernel.task_delayacct": "delays of tasks by taskstats",
    }.items():
        value = features.sysctl(name)
        on = value not in (None, "0")
        found.append(Probe(name, on, f"{value}: {use} is {'on' if on else 'off'}", None))
    return found


def _settings() -> list[Probe]:
    """What colours the figures, or refuses them to ordinary users, without being a fault."""
    threaded = features.is_realtime() or "threadirqs" in features.command_line()
    virtual = features.hypervisor()
    bpf = features.sysctl("kernel.unprivileged_bpf_disabled")
    paranoid = features.sysctl("kernel.perf_event_paranoid")
    return [
        Probe("PREEMPT_RT", features.is_realtime(), "softirqs are preemptible where it is", None),
        Probe("threaded IRQs", threaded, "by threadirqs or PREEMPT_RT", None),
        Probe("hypervisor", virtual is not None, virtual or "bare metal, or nobody said", None),
        Probe("clocksource", True, features.clocksource() or "unknown", None),
        Probe("HZ", True, str(features.tick_hz()), None),
        Probe("BPF for all", bpf == "0", f"kernel.unprivileged_bpf_disabled={bpf}", None),
        Probe("perf for all", paranoid == "-1", f"kernel.perf_event_paranoid={paranoid}", None),
    ]
