"""The same metrics for programs that have a registry of Prometheus' client library already."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from nettax.errors import NettaxError
from nettax.export.exposition import Exposition
from nettax.export.metrics import families
from nettax.export.snapshot import Snapshot

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["Collector"]


class Collector:
    """Reads the ledger whenever its registry is collected, and never else.

    ::

        with nettax.Ledger(by_cgroup=True, keep_tasks=False) as ledger:
            source = Source(ledger, most_workloads=200)
            prometheus_client.REGISTRY.register(Collector(source.snapshot))
    """

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        """`snapshot` reads the ledger.

        :raises NettaxError: prometheus-client is not installed
        """
        try:
            from prometheus_client.core import Metric
        except ImportError as error:
            raise NettaxError(
                "a Collector takes prometheus-client: pip install 'nettax[metrics]'"
            ) from error
        self._metric = Metric
        self._snapshot = snapshot
        self._exposition = Exposition()

    def describe(self) -> list[Metric]:
        """Nothing: a registry that asks this does not collect at registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics now.

        :raises OSError: the kernel refuses
        """
        for family in self._exposition.grown(families(self._snapshot())):
            metric = self._metric(family.name, family.help, family.type, family.unit)
            for suffix, labels, value in family.samples:
                metric.add_sample(family.name + suffix, dict(labels), value)
            yield metric
