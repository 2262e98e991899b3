"""Times of a function's calls by tracefs alone, where there is no BPF.

Two kprobe events, at the entry and at the return, meet in a histogram trigger by the stack
pointer, which is the calling task's own and tells the calls of a recursion apart; a synthetic event
has the time between, and another trigger counts how often each time came
(Documentation/trace/histogram.rst).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from nettax.errors import MissingFeature, MissingPrivilege, UsageError
from nettax.functions.backends import checked_name, kprobe_refusal, refused
from nettax.functions.histogram import Histogram, slot_of
from nettax.functions.kprobe_events import KprobeEvents
from nettax.functions.latency import BY, Doubts, LatencyReading, Stage
from nettax.host import Host
from nettax.kernel.files import read_text
from nettax.kernel.tracefs import tracefs_mount

__all__ = ["Triggers"]

_CALLS = 1 << 14  # stacks with calls of a function on them, at most
_TIMES = 1 << 16  # times that are not the same, to the ns
# What a return pops: the return address (arch/x86/kernel/kprobes/core.c); arm64's is in a register.
_POPPED = {"x86_64": 8, "i686": 4}
_TIME = re.compile(
    r"\{ ns: +(\d+)(?:, asked: +(\d+))?(?:, common_pid: (.*) +\[ *(\d+)\])? \} hitcount: +(\d+)"
)
_HITS = re.compile(r"^    (Hits|Dropped): (\d+)$", re.MULTILINE)


class _Counted(NamedTuple):
    """What a trigger's file tells."""

    text: str
    hits: int
    dropped: int


class Triggers:
    """Take times of functions from entering the context on; `read()` gives them.

    As `Latency`, but for the time off the CPU, which this cannot tell; and the calls of a thread
    that has ended are its own, not its process's.
    """

    def __init__(
        self,
        host: Host,
        functions: Sequence[str],
        *,
        by: str = "nothing",
        argument: int = 1,
    ) -> None:
        """Say what to follow; nothing is changed yet.

        `by` is one of `BY` but `cgroup`; `argument` is from 1 to 5.

        :raises UsageError: a name is no symbol's, or calls cannot be told apart by that
        """
        if by == "cgroup":
            raise UsageError("tracefs does not know cgroups: --by cgroup takes BPF")
        if by not in BY or not functions:
            raise UsageError(f"name a function; its calls are told apart by {', '.join(BY)}")
        self._host = host
        self._functions = tuple(dict.fromkeys(map(checked_name, functions)))
        self._by = by
        self._argument = argument
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Define the events, and count.

        :raises MissingFeature: tracefs is not mounted, or lacks something; no such function
        :raises MissingPrivilege: tracefs may not be written
        """
        self._root = tracefs_mount()
        if not os.access(self._root, os.W_OK):
            raise MissingPrivilege(f"tracing functions is for root: {self._root} cannot be written")
        for name in ("kprobe_events", "synthetic_events", "instances"):
            if not (self._root / name).exists():
                why = kprobe_refusal() or f"tracefs has no {name}"
                raise refused(self._functions[0], why)
        with ExitStack() as stack:
            stack.enter_context(self._host.temporarily())
            self._events = KprobeEvents(self._host)
            for number, function in enumerate(self._functions):
                self._define(number, function)
            self._instance = self._host.trace_instance(self._root, "latency")
            for number in range(len(self._functions)):
                self._count(number)
            self._stack = stack.pop_all()
        return self

    def _define(self, number: int, function: str) -> None:
        asked = f" asked=$arg{self._argument}:u64" if self._by == "arg" else ""
        entry, back, took = self._names(number)
        self._events.define(entry, function, f"sp=%sp:u64{asked}", returns=False)
        self._events.define(back, function, "sp=%sp:u64", returns=True)
        fields = "u64 ns; u64 asked" if asked else "u64 ns"
        self._host.trace_event(
            self._root / "synthetic_events", f"{took} {fields}", f"!{took} {fields}"
        )

    def _names(self, number: int) -> tuple[str, ...]:
        """Of the events of a function."""
        return tuple(self._events.name(what, number) for what in ("entry", "return", "took"))

    def _triggers(self, number: int) -> tuple[Path, Path, Path]:
        events = self._instance / "events"
        entry, back, took = self._names(number)
        group = events / self._events.group
        return (group / entry, group / back, events / "synthetic" / took)

    def _count(self, number: int) -> None:
        entry, back, took = self._triggers(number)
        keep, got, give = (",x=asked", ",a=$x", ",$a") if self._by == "arg" else ("", "", "")
        popped = _POPPED.get(os.uname().machine)
        sp = f"sp+{popped}" if popped else "sp"
        key = {"arg": ",asked", "pid": ",common_pid.execname"}.get(self._by, "")
        met = f"onmatch({self._events.group}.{entry.name}).{took.name}($ns{give})"
        for event, trigger in (
            (took, f"keys=ns{key}:size={_TIMES}"),
            (entry, f"keys={sp}:t=common_timestamp{keep}:size={_CALLS}:clock=mono"),
            (back, f"keys=sp:ns=common_timestamp-$t{got}:size={_CALLS}:clock=mono:{met}"),
        ):
            try:
                self._host.trace_trigger(event, f"hist:{trigger}")
            except OSError as error:
                raise MissingFeature(
                    f"this kernel refuses a trigger of tracefs' ({error.strerror}): {trigger}"
                ) from None

    @property
    def backend(self) -> str:
        """How it looks, in words."""
        return "kprobe events and histogram triggers of tracefs"

    @property
    def taken(self) -> Mapping[str, str]:
        """By which of `BACKENDS` each function is taken."""
        return dict.fromkeys(self._functions, "tracefs")

    def stages(self, name: str) -> tuple[str, ...]:
        """Of a function: the call alone."""
        return ("call",)

    def read(self) -> LatencyReading:
        """What was counted until now."""
        histograms: dict[Stage, Histogram] = {}
        names: dict[int, str] = {}
        unmatched = no_room = 0
        for number, function in enumerate(self._functions):
            entry, back, took = (_counted(event / "hist") for event in self._triggers(number))
            counts: dict[int, list[tuple[int, int]]] = {}
            for ns, group, name, times in _times(took.text):
                counts.setdefault(group, []).append((ns, times))
                names |= {group: name} if name else {}
            for group, found in counts.items():
                histograms[Stage(function, "call", group)] = _histogram(found)
            unmatched += max(back.hits - took.hits, 0)
            no_room += entry.dropped + took.dropped
        doubts = Doubts(unmatched=unmatched, no_room=no_room, missed=self._events.missed())
        return LatencyReading(time.monotonic_ns(), histograms, doubts, names)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave tracefs as it was."""
        self._stack.__exit__(kind, error, trace)


def _counted(path: Path) -> _Counted:
    text = read_text(path)
    totals = dict(_HITS.findall(text))
    return _Counted(text, int(totals["Hits"]), int(totals["Dropped"]))


def _times(text: str) -> Iterator[tuple[int, int, str, int]]:
    """Each time, its group and that one's name, and how often it came."""
    for ns, asked, name, pid, times in _TIME.findall(text):
        yield int(ns), _process(int(pid)) if pid else int(asked or 0), name.strip(), int(times)


def _process(thread: int) -> int:
    """Whose thread it is; itself where it is gone."""
    try:
        status = read_text(f"/proc/{thread}/status")
    except OSError:
        return thread
    found = re.search(r"^Tgid:\s+(\d+)", status, re.MULTILINE)
    return int(found[1]) if found else thread


def _histogram(counted: Sequence[tuple[int, int]]) -> Histogram:
    counts: dict[int, int] = {}
    for ns, times in counted:
        counts[slot_of(ns)] = counts.get(slot_of(ns), 0) + times
    return Histogram(
        counts,
        sum(ns * times for ns, times in counted),
        min(ns for ns, _ in counted),
        max(ns for ns, _ in counted),
    )
