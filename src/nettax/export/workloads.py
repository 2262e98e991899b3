"""Sums by workload, out of sums by cgroup: a bounded number of them, and none ever falls.

Cgroups come and go, and workloads with them. What a cgroup's tasks were charged between two
scrapes is added to the sum of its workload, so a sum outlives the cgroups that it came from, and
a workload may get a series of its own, or lose it, without any other sum's jumping.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from nettax.kernel.workload import workload
from nettax.ledger import Charges

__all__ = ["OTHER", "Label", "Workloads"]

Label = tuple[str, str]
"""Kind and name."""

OTHER: Label = ("other", "")
"""For which there was no series, no name in time, or no room in the kernel's map."""

RETIRE_S = 60.0
"""How long the series of a workload outlives its last cgroup. Its last value was in the scrape that
found it, so that each of several Prometheis should have seen it."""


def _text(name: str) -> str:
    """A name as a scrape shows it: two that look the same there are one workload, not two series,
    for which Prometheus would refuse the whole scrape."""
    return name.encode(errors="backslashreplace").decode()


@dataclass(slots=True)
class _Group:
    """One series' worth."""

    total: Charges = field(default_factory=Charges)
    cgroups: set[int] = field(default_factory=set)
    ended_s: float | None = None
    """Since when it has had no cgroup."""


class Workloads:
    """Workloads of a host, each with what its tasks were charged since they were first seen."""

    def __init__(self, most: int) -> None:
        """`most`: how many have series of their own; the others share that of `OTHER`."""
        self._most = most
        self._shown: dict[Label, _Group] = {}
        self._other = Charges()
        self._labels: dict[int, Label] = {}
        self._folded: set[Label] = set()

    def update(
        self,
        grown: Mapping[int, Charges],
        paths: Callable[[Iterable[int]], Mapping[int, str | None]],
        now_s: float,
    ) -> None:
        """Add what the tasks of cgroups were charged since the last time, by cgroup id.

        `paths` tells the paths of cgroups; it is asked once for each of them.
        """
        self._retire(now_s)
        fresh = [cgroup for cgroup in grown if cgroup not in self._labels]
        if fresh:
            for cgroup, path in paths(fresh).items():
                found = workload(path) if cgroup and path else None
                self._labels[cgroup] = (found.kind, _text(found.name)) if found else OTHER
        self._assign(grown)
        for cgroup, charges in grown.items():
            label = self._labels[cgroup]
            if group := self._shown.get(label):
                group.total += charges
                group.cgroups.add(cgroup)
                group.ended_s = None
            else:
                self._other += charges

    def _retire(self, now_s: float) -> None:
        ended = [
            label
            for label, group in self._shown.items()
            if group.ended_s is not None and now_s - group.ended_s >= RETIRE_S
        ]
        for label in ended:
            del self._shown[label]

    def _assign(self, grown: Mapping[int, Charges]) -> None:
        """Give series to workloads that have none, those that were charged most first."""
        without: dict[Label, int] = {}
        for cgroup, charges in grown.items():
            label = self._labels[cgroup]
            if label != OTHER and label not in self._shown:
                weight = charges.oncpu_ns + charges.wait_ns
                without[label] = without.get(label, 0) + weight
        for label in sorted(without, key=lambda label: -without[label]):
            if len(self._shown) < self._most:
                self._shown[label] = _Group()
                self._folded.discard(label)
            else:
                self._folded.add(label)

    def known(self) -> Iterable[int]:
        """The cgroups that it has been told of and not told to forget."""
        return self._labels.keys()

    def forget(self, cgroups: Iterable[int], now_s: float) -> None:
        """These cgroups are gone; their workloads keep their sums for a while."""
        for cgroup in cgroups:
            label = self._labels.pop(cgroup, OTHER)
            if group := self._shown.get(label):
                group.cgroups.discard(cgroup)
                if not group.cgroups:
                    group.ended_s = now_s
        if self._folded:
            self._folded &= set(self._labels.values())

    @property
    def folded(self) -> int:
        """How many workloads share the series of `OTHER` for want of one of their own."""
        return len(self._folded)

    def totals(self) -> dict[Label, Charges]:
        """The sum of each workload that has a series of its own, and that of all others."""
        shown = {label: group.total for label, group in self._shown.items()}
        return {**shown, OTHER: self._other}
