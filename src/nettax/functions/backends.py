"""What this kernel lets be done to its functions, and the evidence where it refuses."""

from __future__ import annotations

import re
from pathlib import Path

from nettax.errors import MissingFeature, UsageError
from nettax.functions.chains import CHAINS
from nettax.kernel.files import StrPath

__all__ = ["checked_name", "covering", "in_the_lab", "kprobe_refusal", "require_kprobes"]

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


def require_kprobes(function: str) -> None:
    """Make sure that functions can be probed.

    :raises MissingFeature: they cannot; the message tells what covers the function, and where it
        can be probed
    """
    refusal = kprobe_refusal()
    if refusal is None:
        return
    chain = covering(function)
    instead = f"nettax trace latency {chain} covers it by tracepoints; " if chain else ""
    raise MissingFeature(
        f"cannot probe {function}: {refusal}.\n"
        f"{instead}its own calls: {in_the_lab(f'trace latency {function}')}"
    )
