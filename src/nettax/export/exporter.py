"""The exporter: what each page answers, and the counters that it keeps of itself."""

from __future__ import annotations

import html
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http import HTTPStatus

from nettax.export.exposition import (
    OPENMETRICS,
    PLAIN,
    Exposition,
    Family,
    wants_openmetrics,
)
from nettax.export.http import Request, Response
from nettax.export.metrics import families
from nettax.export.snapshot import Snapshot
from nettax.version import __version__

__all__ = ["Exporter"]

FRESH_S = 0.1  # how long a reading is shared by whoever asks
PAGE = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>nettax export</title></head>
<body><h1>nettax export</h1>
<p>The CPU bill of networking on {{host}}, by nettax {html.escape(__version__)}.</p>
<ul><li><a href="metrics">Metrics</a></li><li><a href="-/healthy">Health</a></li></ul>
</body></html>
"""


class Exporter:
    """Answers requests; reads the ledger when metrics are asked for, and never else."""

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        refused: Counter[str],
        say: Callable[[str], None],
    ) -> None:
        """`snapshot` reads the ledger; `refused` counts what the server did not answer; `say` is
        told of scrapes that fail.
        """
        self._snapshot = snapshot
        self._refused = refused
        self._say = say
        self._exposition = Exposition()
        self._page: tuple[float, bytes, bytes] | None = None
        self._scrapes = self._failures = 0
        self._spent_s = 0.0
        self._start_s = time.time()

    def answer(self, request: Request) -> Response:
        """What a page says."""
        match request.path:
            case "/metrics":
                return self._metrics(wants_openmetrics(request.headers.get("accept", "")))
            case "/-/healthy" | "/-/ready":
                return Response.text(HTTPStatus.OK, "nettax export is healthy")
            case "/":
                page = PAGE.format(host=html.escape(os.uname().nodename))
                return Response(HTTPStatus.OK, page.encode(), "text/html; charset=utf-8")
            case _:
                return Response.text(HTTPStatus.NOT_FOUND, "not here; try /metrics")

    def _metrics(self, openmetrics: bool) -> Response:
        now = time.monotonic()
        if self._page is None or now - self._page[0] >= FRESH_S:
            self._scrapes += 1
            try:
                snapshot = self._snapshot()
                pages = self._exposition.render(self._families(snapshot))
            except Exception as error:  # whatever it is: the next scrape may fare better
                self._failures += 1
                reason = f"the scrape failed: {type(error).__name__}: {error}"
                self._say(reason)
                return Response.text(HTTPStatus.INTERNAL_SERVER_ERROR, reason)
            end = time.monotonic()
            self._spent_s += end - now
            self._page = (end, *pages)
        _, plain, other = self._page
        if openmetrics:
            return Response(HTTPStatus.OK, other, OPENMETRICS)
        return Response(HTTPStatus.OK, plain, PLAIN)

    def _families(self, snapshot: Snapshot) -> Iterator[Family]:
        yield from families(snapshot)
        yield from _process(self._start_s)
        refused = self._refused
        for name, text, value in (
            ("scrapes", "Readings of the ledger, this one included.", self._scrapes),
            ("scrape_failures", "Readings that failed.", self._failures),
            ("scrape_seconds", "Wall time of readings, this one excluded.", self._spent_s),
        ):
            yield Family(f"nettax_exporter_{name}", "counter", text, [("_total", "", value)])
        yield Family(
            "nettax_exporter_refused_connections",
            "counter",
            "Connections that ended without all answers that they asked for.",
            [
                ("_total", f'reason="{reason}"', refused[reason])
                for reason in ("broken", "evicted", "malformed", "timeout", "tls")
            ],
        )


def _process(start_s: float) -> Iterator[Family]:
    """What Prometheus' client libraries tell of every process, by the same names."""
    with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123  # a third of the time
        resident = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    for name, kind, text, value in (
        ("cpu_seconds", "counter", "CPU time of the exporter.", time.process_time()),
        ("resident_memory_bytes", "gauge", "Resident size of the exporter.", resident),
        ("open_fds", "gauge", "Open descriptors.", len(os.listdir("/proc/self/fd"))),  # noqa: PTH208
        ("start_time_seconds", "gauge", "Start of the exporter since 1970.", start_s),
    ):
        suffix = "_total" if kind == "counter" else ""
        yield Family(f"process_{name}", kind, text, [(suffix, "", value)])
