"""The instrument: how long chains of events and calls of functions take."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

from nettax.errors import MissingFeature, UsageError
from nettax.functions.chains import CHAINS, FUNCTION_STAGES
from nettax.functions.histogram import Histogram
from nettax.functions.probes import Probes
from nettax.host import Host
from nettax.kernel import bpf, features, programs, vmlinux

__all__ = ["BY", "Doubts", "Latency", "LatencyReading", "Stage"]

BY = ("nothing", "pid", "cgroup", "arg")  # enum by in bpf/latency.h
_NR_STAGES = 8
_CHAINS = tuple(CHAINS)
_SLOTS = 1 << 14  # entries; of 32 bytes for each CPU
_IN_FLIGHT = 1 << 14
_TASKS = 1 << 12


class Stage(NamedTuple):
    """What a histogram is of."""

    chain: str
    """A chain's name, or a function's."""
    name: str
    """Of the chain's stages, or of `FUNCTION_STAGES`."""
    group: int
    """A process's id, a cgroup's, or an argument; 0 where nothing is told apart."""


@dataclass(frozen=True, slots=True)
class Doubts:
    """Calls that are in no histogram, and why."""

    unmatched: int = 0
    """Ends whose begin was not seen: it was before the trace, or was missed."""
    abandoned: int = 0
    """Begins whose end never came: cancelled work, closed sockets, a return that was missed."""
    no_room: int = 0
    """For which a map of the tracer's had no room."""
    too_deep: int = 0
    """More than 16 of one task within one another."""
    missed: int = 0
    """Probes that the kernel skipped: the program was running on that CPU already."""

    def __sub__(self, earlier: Doubts) -> Doubts:
        return Doubts(
            self.unmatched - earlier.unmatched,
            self.abandoned - earlier.abandoned,
            self.no_room - earlier.no_room,
            self.too_deep - earlier.too_deep,
            self.missed - earlier.missed,
        )


@dataclass(frozen=True, slots=True)
class LatencyReading:
    """What was counted up to a moment, or, as a difference of two, between them."""

    time_ns: int
    """CLOCK_MONOTONIC; of a difference, how long it was."""
    histograms: Mapping[Stage, Histogram]
    doubts: Doubts
    names: Mapping[int, str] = field(default_factory=dict)
    """Of processes, where calls are told apart by them."""

    def __sub__(self, earlier: LatencyReading) -> LatencyReading:
        """Return what was counted since ``earlier``."""
        empty = Histogram()
        since = {
            stage: histogram - earlier.histograms.get(stage, empty)
            for stage, histogram in self.histograms.items()
        }
        return LatencyReading(
            self.time_ns - earlier.time_ns,
            {stage: histogram for stage, histogram in since.items() if histogram.counts},
            self.doubts - earlier.doubts,
            self.names,
        )

    def of(self, chain: str, stage: str | None = None) -> Histogram:
        """One stage of all groups together, by default the whole chain."""
        total = Histogram()
        for key, histogram in self.histograms.items():
            if key.chain == chain and key.name == (stage or stages_of(chain)[0]):
                total += histogram
        return total


class Latency:
    """Take times from entering the context on; `read()` gives them.

    ::

        with Latency(["workqueue"]) as tracer:
            began = tracer.read()
            time.sleep(1)
            seen = tracer.read() - began
        print(seen.of("workqueue").quantile(0.5))

    Needs CAP_BPF and CAP_PERFMON. A call within a call counts by itself, too.
    """

    def __init__(
        self,
        chains: Sequence[str] = (),
        functions: Sequence[str] = (),
        *,
        by: str = "nothing",
        argument: int = 1,
        backend: str | None = None,
        host: Host | None = None,
        raw_tracepoints: bool = False,
    ) -> None:
        """Say what to follow; nothing is loaded yet.

        `chains` are names of `CHAINS`; `functions` are the kernel's, taken by the `backend`
        `fentry` or `kprobe`, or by the best that works for each. `by` is one of `BY`; `argument`,
        from 1 to 5, is a function's that `by="arg"` tells apart. With a `host` whose tracefs may be
        written, kprobes follow 1024 calls of a function at once instead of ten.
        `raw_tracepoints`: do not try to attach by BTF.

        :raises UsageError: no such chain, or nothing to follow
        """
        if unknown := [name for name in chains if name not in CHAINS]:
            raise UsageError(f"there is no chain {unknown[0]!r}: there are {', '.join(CHAINS)}")
        if not chains and not functions:
            raise UsageError("name a chain or a function to take times of")
        if by not in BY or not 1 <= argument <= 5:
            raise UsageError(f"calls are told apart by {', '.join(BY)}, arguments from 1 to 5")
        self._chains = tuple(dict.fromkeys(chains))
        self._functions = tuple(dict.fromkeys(functions))
        self._by = by
        self._argument = argument
        self._backend = backend
        self._host = host
        self._raw = raw_tracepoints

    def __enter__(self) -> Self:
        """Load and attach.

        :raises MissingFeature: no BTF, no libbpf, no such tracepoint; the kernel refuses kprobes
        :raises MissingPrivilege: CAP_BPF or CAP_PERFMON is lacking
        """
        self._check()
        self._object, self._raw = programs.by_either("latency", self._loaded, self._raw)
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def _check(self) -> None:
        features.btf_path()
        for chain in self._chains:
            for tracepoint in CHAINS[chain].tracepoints:
                if vmlinux.tracepoint_arguments(tracepoint) is None:
                    raise MissingFeature(
                        f"this kernel has no tracepoint {tracepoint}, which {chain} needs"
                    )
        if "softirq" in self._chains and features.is_realtime():
            raise MissingFeature(
                "this kernel is PREEMPT_RT: its softirqs can be preempted, and their times would "
                "be others' too"
            )

    def _loaded(self, path: Path) -> bpf.Object:
        chains = set(self._chains)
        followed = bool(self._functions or "workqueue" in chains)
        constants = {
            "chains": sum(1 << _CHAINS.index(chain) for chain in chains),
            "follows_functions": bool(self._functions),
            "by": BY.index(self._by),
            "by_argument": self._argument,
        }
        loaded = bpf.Object(
            str(path),
            wanted=self._wanted,
            constants=constants,
            max_entries={
                "slots": _SLOTS,
                "names": _TASKS if self._by == "pid" else 1,
                "calls": _TASKS if followed else 1,
                "queued": _IN_FLIGHT if "workqueue" in chains else 1,
                "births": _TASKS if chains & {"fork", "kthread"} else 1,
                "requests": _TASKS if "kthread" in chains else 1,
                "unread": _IN_FLIGHT if "tcp-read" in chains else 1,
                "readers": _IN_FLIGHT if "tcp-read" in chains else 1,
            },
        )
        self._probes = Probes(path, loaded, constants, self._backend, self._host)
        try:
            self._attach(loaded)
        except BaseException:
            self._probes.close()
            loaded.close()
            raise
        return loaded

    def _start(self) -> None:
        self._slots = self._object.map("slots")
        self._names = self._object.map("names")
        self._key = self._object.btf.layout("slot_key").leading("group")
        slot = self._object.btf.layout("slot")
        self._slot, self._slot_size = slot.leading("most_ns"), slot.size
        told = ("unmatched", "abandoned", "no_room", "too_deep")
        self._objects = (self._object, *self._probes.objects)
        self._told = [[each.variable(name) for each in self._objects] for name in told]

    def _wanted(self, section: str) -> bool:
        switches = ("sched_switch", "sched_process_exit")
        if self._functions and section in switches:
            return True
        return any(section in CHAINS[chain].tracepoints for chain in self._chains)

    def _attach(self, loaded: bpf.Object) -> None:
        # What goes on in the meantime has no end without a begin, but for what began before.
        later = {"workqueue_queue_work", "softirq_raise", "sched_process_fork", "tcp_probe"}
        loaded.attach(sorted(loaded.programs.values(), key=lambda program: program.name in later))
        for number, function in enumerate(self._functions):
            self._probes.attach(number, function)

    @property
    def backend(self) -> str:
        """How it looks, in words."""
        kind = "raw tracepoints" if self._raw else "BTF tracepoints"
        return " · ".join([*self._probes.words(), f"{kind} by BPF"])

    @property
    def taken(self) -> Mapping[str, str]:
        """By which of `BACKENDS` each function is taken."""
        return self._probes.taken

    def stages(self, name: str) -> tuple[str, ...]:
        """The stages of a chain or of a function, the whole first."""
        return stages_of(name)

    def read(self) -> LatencyReading:
        """What was counted until now."""
        parts: dict[Stage, list[tuple[int, tuple[int, ...]]]] = {}
        for key, value in self._slots.items():
            number, slot, group = self._key(key)
            for start in range(0, len(value), self._slot_size):
                counted = self._slot(value, start)
                if counted[0]:
                    parts.setdefault(self._stage(number, group), []).append((slot, counted))
        return LatencyReading(
            time.monotonic_ns(),
            {stage: _histogram(counted) for stage, counted in parts.items()},
            self._doubts(),
            self._process_names(),
        )

    def _stage(self, number: int, group: int) -> Stage:
        chain, stage = divmod(number, _NR_STAGES)
        name = (*_CHAINS, *self._functions)[chain]
        return Stage(name, stages_of(name)[stage], group)

    def _doubts(self) -> Doubts:
        programs = [p for each in self._objects for p in each.programs.values()]
        missed = self._probes.missed() + sum(program.stats().missed for program in programs)
        unmatched, abandoned, no_room, too_deep = (
            sum(read() for read in readers) for readers in self._told
        )
        return Doubts(unmatched, abandoned, no_room, too_deep, missed)

    def _process_names(self) -> dict[int, str]:
        if self._by != "pid":
            return {}
        return {
            int.from_bytes(key, "little"): value.split(b"\0", 1)[0].decode(errors="replace")
            for key, value in self._names.items()
        }

    def close(self) -> None:
        """Detach and unload. May be called twice."""
        if hasattr(self, "_object"):
            self._probes.close()
            self._object.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def stages_of(name: str) -> tuple[str, ...]:
    """The stages of a chain or of a function, the whole first."""
    return CHAINS[name].stages if name in CHAINS else FUNCTION_STAGES


def _histogram(counted: Sequence[tuple[int, tuple[int, ...]]]) -> Histogram:
    counts: dict[int, int] = {}
    for slot, (count, _, _, _) in counted:
        counts[slot] = counts.get(slot, 0) + count
    return Histogram(
        counts,
        sum(total for _, (_, total, _, _) in counted),
        min(least for _, (_, _, least, _) in counted),
        max(most for _, (_, _, _, most) in counted),
    )
