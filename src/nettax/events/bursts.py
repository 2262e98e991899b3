"""How network work comes: runs of NET_RX, what they polled, who ran them, what lay between."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from nettax.events.distribution import Distribution
from nettax.events.model import EVENT, Array, Flag, Kind, Recording, Tables
from nettax.events.spans import CUT, NET_RX, spans

__all__ = ["RUNNERS", "Bursts", "Share", "bursts"]

RUNNERS: Final = ("irq_exit", "bh_enable", "ksoftirqd", "unknown")
"""What ran a NET_RX softirq; unknown: inline, by an interrupt's end or by a system call."""


@dataclass(slots=True)
class Share:
    """NET_RX softirqs that one runner ran."""

    runs: int = 0
    ns: int = 0
    """Without the hard IRQs inside."""
    packets: int = 0


@dataclass(slots=True)
class Bursts:
    """Distributions over a recording; times in ns, of the recording's clock.

    A burst is an interrupt with the softirqs that follow it at once, NET_RX among them, or such
    softirqs without an interrupt before them.
    """

    run_ns: Distribution = field(default_factory=Distribution)
    """Of a NET_RX softirq, without the hard IRQs inside."""
    packets_per_poll: Distribution = field(default_factory=Distribution)
    packets_per_run: Distribution = field(default_factory=Distribution)
    """Of a NET_RX softirq, all its polls together."""
    rounds: Distribution = field(default_factory=Distribution)
    """NET_RX softirqs in a burst."""
    gap_ns: Distribution = field(default_factory=Distribution)
    """From the end of a burst to the next interrupt or softirq on its CPU."""
    irq_to_run_ns: Distribution = field(default_factory=Distribution)
    """From where the hard IRQ of a burst began to where its first NET_RX did."""
    raise_to_run_ns: Distribution = field(default_factory=Distribution)
    """From where the first NET_RX of a burst was raised to where it began."""
    exhausted: int = 0
    """Polls that used up their budget."""
    runners: dict[str, Share] = field(default_factory=lambda: {name: Share() for name in RUNNERS})
    squeezed: Mapping[int, int] | None = None
    """By CPU: NET_RX softirqs that ended with work left; None: not recorded."""


def bursts(recording: Recording, rows: Iterable[memoryview] | None = None) -> Bursts:
    """Go through a recording once; `rows`: of it, as they are read for something else."""
    found = Bursts()
    ksoftirqd = _Ksoftirqd(recording.tables)
    for part in spans(np.frombuffer(each, EVENT) for each in rows or recording.rows()):
        _count_polls(found, part.polls)
        _count_runs(found, part.spans, ksoftirqd)
        _count_groups(found, part.groups)
    found.squeezed = recording.squeezed
    return found


class _Ksoftirqd:
    """Which pids are ksoftirqd's: threads of the kernel, which keep pid and name."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._known: dict[int, bool] = {}

    def among(self, pids: Array, time_ns: int) -> Array:
        for pid in np.unique(pids).tolist():
            if not self._known.get(pid):
                comm = self._tables.tasks.comm(pid, time_ns)
                self._known[pid] = comm.startswith("ksoftirqd/")
        return np.isin(pids, [pid for pid, known in self._known.items() if known])


def _count_polls(found: Bursts, polls: Array) -> None:
    work, budget = polls["work"], polls["budget"]
    found.packets_per_poll.add(work)
    found.exhausted += int(((budget > 0) & (work >= budget)).sum())


def _count_runs(found: Bursts, items: Array, ksoftirqd: _Ksoftirqd) -> None:
    chosen = (items["kind"] == Kind.SOFTIRQ_ENTRY) & (items["id"] == NET_RX)
    runs = items[chosen & (items["state"] != CUT)]
    if not len(runs):
        return
    times = runs["end_ns"] - runs["start_ns"] - runs["hard_ns"]
    found.run_ns.add(times)
    found.packets_per_run.add(runs["packets"][runs["polls"] > 0])
    by_thread = ksoftirqd.among(runs["pid"], int(runs["start_ns"][0]))
    at_exit = runs["flags"] & Flag.IRQ_EXIT > 0
    by_call = runs["flags"] & Flag.BH_ENABLE > 0
    which = np.select([by_thread, at_exit, by_call], [2, 0, 1], 3)
    for i, name in enumerate(RUNNERS):
        mine = which == i
        share = found.runners[name]
        share.runs += int(mine.sum())
        share.ns += int(times[mine].sum())
        share.packets += int(runs["packets"][mine].sum())


def _count_groups(found: Bursts, groups: Array) -> None:
    each = groups[groups["rounds"] > 0]
    found.rounds.add(each["rounds"])
    found.gap_ns.add(each["gap_ns"][each["gap_ns"] >= 0])
    by_irq = each[each["by_irq"] > 0]
    found.irq_to_run_ns.add(by_irq["rx_start_ns"] - by_irq["start_ns"])
    raised = each[each["rx_raised_ns"] > 0]
    found.raise_to_run_ns.add(raised["rx_start_ns"] - raised["rx_raised_ns"])
