"""The same metrics for programs that have a registry of Prometheus' client library already."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

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
            from prometheus_client.openmetrics.parser import text_string_to_metric_families
        except ImportError as error:
            raise NettaxError(
                "a Collector takes prometheus-client: pip install 'nettax[metrics]'"
            ) from error
        self._parse: Any = text_string_to_metric_families
        self._snapshot = snapshot
        self._exposition = Exposition()

    def describe(self) -> list[Metric]:
        """Nothing: a registry that asks this does not collect at registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics now.

        :raises OSError: the kernel refuses
        """
        _, text = self._exposition.render(families(self._snapshot()))
        yield from self._parse(text.decode())
