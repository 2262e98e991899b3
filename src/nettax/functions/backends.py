"""What this kernel lets be done to its functions, and the evidence where it refuses."""

from __future__ import annotations

import os
import re
from pathlib import Path

from nettax.errors import MissingFeature, UsageError
from nettax.functions.chains import CHAINS
from nettax.kernel import features
from nettax.kernel.files import StrPath
from nettax.kernel.libbpf import libbpf

__all__ = [
    "BACKENDS",
    "bpf_refusal",
    "checked_name",
    "covering",
    "forbidden",
    "in_the_lab",
    "kprobe_refusal",
    "refused",
    "unknown",
]

BACKENDS = ("fentry", "kprobe", "tracefs")
"""How calls of functions can be taken, the best first."""

_NAME = re.compile(r"[A-Za-z_][\w.$]*")


def checked_name(name: str) -> str:
    """A name that a symbol of the kernel could have.

    :raises UsageError: it is none: it holds characters of a pattern, say
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no symbol's name: letters, digits, _ and . only.\n"
            f"For those that match a pattern: nettax trace list {name!r}"
        )
    return name


def covering(function: str) -> str | None:
    """The chain of tracepoints that covers what a function does; None: none does."""
    return next((name for name, chain in CHAINS.items() if function in chain.functions), None)


def in_the_lab(words: str) -> str:
    """The command that shows it in a kernel that allows it."""
    return f"nettax lab vm run -- nettax {words}"


def kprobe_refusal(sys: StrPath = "/sys") -> str | None:
    """Why this kernel takes no kprobes, with what tells so; None: it does.

    The kernel registers a source of perf events for them (kernel/trace/trace_event_perf.c and
    kernel/events/core.c, perf_kprobe) if it was built with CONFIG_KPROBE_EVENTS.
    """
    source = Path(sys, "bus/event_source/devices/kprobe")
    if source.is_dir():
        return None
    return f"this kernel has no kprobes ({source} is not there: CONFIG_KPROBE_EVENTS is off)"


def bpf_refusal() -> str | None:
    """Why there is no BPF here, with what tells so; None: there is."""
    try:
        features.btf_path()
        libbpf()
    except MissingFeature as error:
        return str(error)
    lacking = {"CAP_BPF", "CAP_PERFMON"} - features.capabilities()
    return f"{' and '.join(sorted(lacking))} lacking" if lacking else None


def unknown(function: str) -> MissingFeature:
    """The error of a kernel that has no such function."""
    return MissingFeature(
        f"cannot probe {function}: this kernel knows no function of this name.\n"
        f"Why, and what instead: nettax trace explain {function}"
    )


def forbidden(function: str, error: OSError) -> MissingFeature:
    """The error of a kernel that lets functions be probed, but not this one."""
    return MissingFeature(
        f"cannot probe {function}: the kernel forbids it ({os.strerror(error.errno or 0)}).\n"
        f"Why, and what instead: nettax trace explain {function}"
    )


def refused(function: str, refusal: str) -> MissingFeature:
    """The error of a kernel that does not let a function be probed.

    It tells what covers the function, and where it can be probed.
    """
    chain = covering(function)
    instead = f"nettax trace latency {chain} covers it by tracepoints; " if chain else ""
    return MissingFeature(
        f"cannot probe {function}: {refusal}.\n"
        f"{instead}its own calls: {in_the_lab(f'trace latency {function}')}"
    )
