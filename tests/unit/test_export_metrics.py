"""Metrics from hand-made snapshots, and the pages that an exporter makes of them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http import HTTPStatus

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.parser import text_string_to_metric_families as plain

from nettax.export.collector import Collector
from nettax.export.exporter import FRESH_S, Exporter
from nettax.export.http import Request
from nettax.export.metrics import families
from nettax.export.snapshot import Snapshot
from nettax.export.workloads import OTHER
from nettax.kernel.accounting import Accounting
from nettax.ledger import Charges, CpuShare, Events, IrqShare, OwnCost, TollPoint
from nettax.ledger.rows import KTHREADS, VECTORS

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]
S = 1_000_000_000


def named(names: tuple[str, ...], **ns: int) -> dict[str, int]:
    return {name: ns.get(name, 0) for name in names}


CPU = CpuShare(
    cpu=3,
    online=True,
    wall_ns=10 * S,
    idle_ns=2 * S,
    idle_interrupted_ns=S,
    own_ns=3 * S,
    stolen_ns=named(("hardirq", *VECTORS), hardirq=S, net_rx=2 * S),
    kthread_ns=named(KTHREADS, ksoftirqd=S),
    residual_ns=-5,
    unkept_ns=0,
    hardirq_ns=S,
    softirq_ns=named(VECTORS, net_rx=2 * S),
    softirq_count=named(VECTORS, net_rx=700),
    hardirq_count=900,
    ipi_count=100,
    polls=800,
    packets=5000,
    softirq_packets=4000,
    squeezed=7,
    switches=60,
    steal_ns=S // 100,
    toll_ns=None,
)
# struct charges: on-CPU, own, billed, hard IRQs; softirqs; triggers; threads; the single ones.
SOFTIRQS = (0, S // 2, S // 4, 2 * S, 0, 0, 0, 0, 0, S // 8)
CHARGES = Charges(
    (9 * S, 5 * S, 8 * S, S, *SOFTIRQS, 2 * S, S // 2, 0, 3 * S, 0, 0, 4 * S, 90, 30, 0, 0)
)
SLOTS = [0] * 40
SLOTS[3], SLOTS[9], SLOTS[12], SLOTS[39] = 1, 10, 100, 1000
SNAPSHOT = Snapshot(
    cpus=[CPU],
    unaccounted=2,
    squeezes={3: 2**32 + 7},
    toll={3: TollPoint(90.0, 1200.0, 900.0, 1500.0)},
    workloads={("docker", 'a "b"'): CHARGES, OTHER: Charges()},
    folded=4,
    tasks=(),
    irqs=(IrqShare(irq="27", name='eth0-"rx"-1', cpu=3, count=70, time_ns=S // 8),),
    events=Events(1, 2, 3 * S, 4 * S),
    own_cost=OwnCost(5, None, None),
    histograms={"hardirq": SLOTS, **dict.fromkeys(VECTORS, [0] * 40), "poll": SLOTS},
    accounting=Accounting("tick", False, ""),
)


def get(accept: str = "", path: str = "/metrics") -> Request:
    return Request("GET", path, {"accept": accept}, True)


def exporter(snapshot: Callable[[], Snapshot], said: list[str] | None = None) -> Exporter:
    return Exporter(snapshot, Counter(evicted=5), (said if said is not None else []).append)


def scraped(snapshot: Snapshot) -> Series:
    response = exporter(lambda: snapshot).answer(get())
    assert response.status is HTTPStatus.OK
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in plain(response.body.decode())
        for sample in family.samples
    }


def value(series: Series, metric: str, **labels: str) -> float:
    return series[metric, frozenset(labels.items())]


def test_cpus() -> None:
    found = scraped(SNAPSHOT)
    accounts = {
        dict(labels)["account"]: seconds
        for (name, labels), seconds in found.items()
        if name == "nettax_cpu_seconds_total"
    }
    assert accounts == {
        "idle": 2,
        "idle_interrupted": 1,
        "own": 3,
        "stolen": 3,
        "ksoftirqd": 1,
        "napi": 0,
        "irq": 0,
    }
    assert sum(accounts.values()) == value(found, "nettax_cpu_wall_seconds_total", cpu="3")
    assert value(found, "nettax_cpu_residual_seconds", cpu="3") == -5e-9
    assert value(found, "nettax_cpu_squeezes_total", cpu="3") == 2**32 + 7
    assert value(found, "nettax_cpu_interrupt_toll_seconds", cpu="3") == 1.2e-6
    assert value(found, "nettax_cpu_stolen_seconds_total", cpu="3", source="net_rx") == 2
    assert value(found, "nettax_cpu_online", cpu="3") == 1
    queue = {"cpu": "3", "irq": "27", "name": 'eth0-"rx"-1'}
    assert value(found, "nettax_irqs_total", **queue) == 70
    assert value(found, "nettax_irq_seconds_total", **queue) == 0.125
    assert value(found, "nettax_cpus_unaccounted") == 2


def test_workloads() -> None:
    found = scraped(SNAPSHOT)
    who = {"kind": "docker", "name": 'a "b"'}
    for metric, labels, seconds in (
        ("billed_seconds", {}, 8),
        ("own_seconds", {}, 5),
        ("stolen_seconds", {"source": "hardirq"}, 1),
        ("stolen_seconds", {"source": "net_rx"}, 2),
        ("stolen_seconds", {"source": "net_tx"}, 0.25),
        ("stolen_seconds", {"source": "other"}, 0.625),
        ("stolen_softirq_seconds", {"trigger": "irq_exit"}, 2),
        ("stolen_softirq_seconds", {"trigger": "bh_enable"}, 0.5),
        ("displaced_seconds", {"kthread": "ksoftirqd"}, 3),
        ("waiting_seconds", {}, 4),
        ("interrupts", {}, 90),
        ("context_switches", {}, 30),
    ):
        assert value(found, f"nettax_workload_{metric}_total", **who, **labels) == seconds
    assert value(found, "nettax_workloads") == 1
    assert value(found, "nettax_workloads_folded") == 4


def test_histograms_are_cumulative() -> None:
    """Slots below the first bound are in its bucket, those above the last in +Inf alone."""
    found = scraped(SNAPSHOT)
    buckets = {
        float(dict(labels)["le"]): count
        for (name, labels), count in found.items()
        if name == "nettax_hardirq_duration_seconds_bucket"
    }
    bounds = sorted(buckets)
    assert bounds[0] == 1.024e-6
    assert bounds[-1] == float("inf")
    assert buckets[1.024e-6] == 11
    assert buckets[4.096e-6] == 11
    assert buckets[8.192e-6] == buckets[bounds[-2]] == 111
    assert buckets[bounds[-1]] == 1111
    assert value(found, "nettax_hardirq_duration_seconds_count") == 1111
    assert value(found, "nettax_hardirq_duration_seconds_sum") == 1


def test_what_there_is_not() -> None:
    bare = replace(SNAPSHOT, toll={}, histograms={}, workloads={OTHER: Charges()})
    names = {family.name for family in families(bare)}
    assert not [name for name in names if "toll" in name or "duration" in name or "bpf" in name]


def test_a_scrape_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, to the client and on standard error, counted, and the next one may succeed."""
    monkeypatch.setattr("nettax.export.exporter.FRESH_S", 0.0)
    answers: list[Snapshot | OSError] = [OSError(5, "Input/output error"), SNAPSHOT]

    def snapshot() -> Snapshot:
        now = answers.pop(0)
        if isinstance(now, OSError):
            raise now
        return now

    said: list[str] = []
    export = exporter(snapshot, said)
    failed = export.answer(get())
    assert failed.status is HTTPStatus.INTERNAL_SERVER_ERROR
    assert b"Input/output error" in failed.body
    assert said == [failed.body.decode().strip()]
    then = export.answer(get())
    assert then.status is HTTPStatus.OK
    assert b"nettax_exporter_scrape_failures_total 1\n" in then.body
    assert b"nettax_exporter_scrapes_total 2\n" in then.body


def test_scrapes_that_come_together_share_a_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("nettax.export.exporter.time.monotonic", lambda: now)
    readings = []
    export = exporter(lambda: readings.append(1) or SNAPSHOT)  # type: ignore[func-returns-value]
    first = export.answer(get())
    other = export.answer(get("application/openmetrics-text"))
    assert len(readings) == 1
    assert other.content_type.startswith("application/openmetrics-text")
    assert other.body != first.body
    now += 2 * FRESH_S
    export.answer(get())
    assert len(readings) == 2


def test_a_registry_of_the_client_library() -> None:
    """Collects the same, by the same names."""
    registry = CollectorRegistry()
    registry.register(Collector(lambda: SNAPSHOT))
    found = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for metric in registry.collect()
        for sample in metric.samples
    }
    expected = scraped(SNAPSHOT)
    assert found.items() <= expected.items()
    assert {name for name, _ in expected.keys() - found.keys()} == {
        name for name, _ in expected if name.startswith(("process_", "nettax_exporter_"))
    }


def test_a_registry_collected_by_several_threads() -> None:
    """Readings are taken and rendered one after the other: a counter never falls in between."""
    inside = threading.Semaphore(1)

    def snapshot() -> Snapshot:
        assert inside.acquire(blocking=False), "another thread is at it"
        time.sleep(0.005)  # long enough for every other thread to come
        inside.release()
        return SNAPSHOT

    collector = Collector(snapshot)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: len(list(collector.collect())), range(16)))
    assert len(set(found)) == 1


def test_the_start_is_the_process_s() -> None:
    """Not the exporter's, as Prometheus' own library tells it."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    expected = registry.get_sample_value("process_start_time_seconds")
    assert value(scraped(SNAPSHOT), "process_start_time_seconds") == expected
