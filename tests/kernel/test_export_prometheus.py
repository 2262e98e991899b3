"""`nettax export` with a real Prometheus: rules, the board, and ten minutes of scrapes."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nettax.host import Host
from nettax.kernel import cpus
from nettax.lab import Testbed

pytestmark = [pytest.mark.needs_root, pytest.mark.full]

CONTRIB = Path(__file__).parents[2] / "contrib"
RULES = CONTRIB / "prometheus/nettax.rules.yml"
NETTAX = [sys.executable, "-m", "nettax"]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nettax/prometheus"
START_S = 30


def tools() -> Path:
    """The directory with prometheus and promtool: one on PATH, or Debian's package unpacked.

    Installing that package would start a service, which listens on every address.
    """
    if (found := shutil.which("promtool")) and shutil.which("prometheus"):
        return Path(found).parent
    programs = CACHE / "usr/bin"
    if not (programs / "promtool").exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run(["apt-get", "download", "prometheus"], cwd=CACHE, check=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("prometheus is not here, nor in reach of apt-get")
        (package,) = CACHE.glob("prometheus_*.deb")
        subprocess.run(["dpkg", "-x", package, CACHE], check=True)
        package.unlink()
    return programs


def promtool(*words: str | Path, **options: Any) -> str:
    """What promtool says; it must have found no fault."""
    command = [str(tools() / "promtool"), *map(str, words)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    said = str(run.stdout + run.stderr)
    assert run.returncode == 0, said
    return said


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310  # of this host
        return str(answer.read().decode())


@dataclass(frozen=True)
class Prometheus:
    """A running one."""

    url: str

    def get(self, path: str, **parameters: str | float) -> Any:
        """What its HTTP API answers."""
        query = urllib.parse.urlencode(parameters)
        found = json.loads(fetch(f"{self.url}/api/v1/{path}?{query}"))
        assert found["status"] == "success", found
        return found["data"]

    def query(self, expression: str, when: float | None = None) -> list[Any]:
        """The vector or matrix that an expression gives, now or then."""
        at = {} if when is None else {"time": when}
        result: list[Any] = self.get("query", query=expression, **at)["result"]
        return result


@contextmanager
def prometheus(directory: Path, target: str, rules: Path, interval_s: int) -> Iterator[Prometheus]:
    """Scrape a target, as job nettax, and evaluate rules, every so often."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = {
        "global": {"scrape_interval": f"{interval_s}s", "evaluation_interval": f"{interval_s}s"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "nettax", "static_configs": [{"targets": [target]}]}],
    }
    path = directory / "prometheus.yml"
    path.write_text(json.dumps(config))  # JSON is YAML
    promtool("check", "config", path)
    command = [
        str(tools() / "prometheus"),
        f"--config.file={path}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with (directory / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            found = Prometheus(f"http://127.0.0.1:{port}")
            deadline = time.monotonic() + START_S
            while True:
                try:
                    fetch(f"{found.url}/-/ready")
                    break
                except OSError:
                    assert time.monotonic() < deadline, (directory / "log").read_text()
                    time.sleep(0.1)
            yield found
        finally:
            process.terminate()


@contextmanager
def exporter(*options: str) -> Iterator[str]:
    """`nettax export` on a free port; its address."""
    command = [*NETTAX, "export", "--listen", "127.0.0.1:0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            said = process.stderr.readline()
            found = re.search(r"http://([\d.:]+)/metrics", said)
            assert found, said + process.stderr.read()
            yield found[1]
        finally:
            process.terminate()


def test_rules_pass_their_tests() -> None:
    promtool("check", "rules", RULES)
    promtool("test", "rules", RULES.with_suffix(".test.yml"))


@pytest.mark.parametrize("options", [(), ("--tasks", "10", "--time-programs")])
def test_metrics_are_without_fault(options: tuple[str, ...]) -> None:
    with exporter(*options) as address:
        metrics = fetch(f"http://{address}/metrics")
    assert promtool("check", "metrics", input=metrics) == ""


# --- ten minutes ---------------------------------------------------------------------------------

SCRAPE_S = 5
RUN_S = 660
THEFT_S = (90, 500)  # the rule asks for five minutes of it, at a rate over two
STATS_S = (20, 200, 530)  # when `nettax stat` runs beside it
STAT_S = 60
MARGIN_S = 0.2
VICTIM = "db.service"


@pytest.mark.timeout(1200)
def test_ten_minutes_of_scrapes(host: Host, tmp_path: Path) -> None:
    """Rates agree with stat, counters never fall, an alert fires and clears, it costs little."""
    sender, victim_cpu = cpus.online()[:2]
    stats: list[Any] = []
    figures: dict[str, Any] = {"firing": []}
    victim = host.cgroup("soak") / VICTIM
    victim.mkdir()
    host.spawn(["sh", "-c", "while :; do :; done"], cpus=[victim_cpu], cgroup=victim)
    with (
        exporter("--user", "nobody") as address,
        prometheus(tmp_path, address, RULES, SCRAPE_S) as server,
        Testbed(host, steer=victim_cpu) as bed,
        bed.udp(20_000, cpu=sender, limit=RUN_S + 60),
        churning(host.cgroup("churn")),
    ):
        start = time.time()
        heavy = bed.udp(50_000, cpu=sender, filter_instructions=2000, limit=RUN_S)
        threads = [
            threading.Thread(target=beside, args=(server, start + when, stats)) for when in STATS_S
        ]
        for thread in threads:
            thread.start()
        wait_until(start + THEFT_S[0])
        with heavy:
            while time.time() < start + THEFT_S[1]:
                time.sleep(SCRAPE_S)
                figures["firing"] += firing(server, time.time() - start)
        wait_until(start + RUN_S)
        for thread in threads:
            thread.join()
        figures["clear"] = not firing(server, RUN_S)
        figures["stat"] = [compared(server, found) for found in stats]
        figures |= own_cost(server, start)
        figures |= monotonic(server)
        figures["board"] = {e: len(server.query(e)) for e in board_expressions()}
        metrics = fetch(f"http://{address}/metrics")
        figures["promtool"] = promtool("check", "metrics", input=metrics)
    print(json.dumps(figures, indent=1))
    (tmp_path / "figures.json").write_text(json.dumps(figures, indent=1))
    assert figures["promtool"] == ""
    assert figures["firing"]
    assert figures["clear"]
    assert figures["fallen"] == []
    assert all(figures["board"].values())
    assert figures["cpu_share"] <= 0.002
    assert figures["rss_bytes"][1] <= 60e6
    assert figures["rss_bytes"][1] - figures["rss_bytes"][0] <= 2e6
    off = [row for rows in figures["stat"] for row in rows if abs(row["off"]) > 0.01]
    assert off == []


COUNTERS = "nettax_.*(_total|_bucket|_count|_sum)"


def monotonic(server: Prometheus) -> dict[str, Any]:
    """How many series there were, and the counters among them that ever fell."""
    counters = server.query(f'{{__name__=~"{COUNTERS}"}}[{RUN_S}s]')
    fallen = [
        series["metric"]
        for series in counters
        if any(float(a[1]) > float(b[1]) for a, b in itertools.pairwise(series["values"]))
    ]
    return {"counters": len(counters), "fallen": fallen}


def wait_until(when: float) -> None:
    time.sleep(max(0.0, when - time.time()))


def beside(server: Prometheus, when: float, stats: list[Any]) -> None:
    """Run stat from just before one scrape to just after another.

    What happens between two scrapes is taken to spread evenly, but attaching and detaching stat's
    programs interrupts every CPU some hundred times: so these fall where little is counted of.
    """
    wait_until(when)
    before = time.time()
    latency = began(stat(0.1)) - before
    scraped = float(server.query("timestamp(nettax_cpu_online)")[0]["value"][1])
    scrapes = itertools.count(scraped, SCRAPE_S)
    early = latency + MARGIN_S
    wait_until(next(t - early for t in scrapes if t - early > time.time()))
    stats.append(stat(STAT_S + 2 * MARGIN_S))


def stat(seconds: float) -> Any:
    run = subprocess.run(
        [*NETTAX, "stat", "--json", "-d", str(seconds)], stdout=subprocess.PIPE, check=True
    )
    return json.loads(run.stdout)


def began(found: Any) -> float:
    """When an interval of stat began, in seconds since 1970."""
    return float(found["interval"]["start_ns"] / 1e9 + time.time() - time.monotonic())


@contextmanager
def churning(top: Path) -> Iterator[None]:
    """Containers that come, start processes, and go: some seen by a scrape or two, some by none."""
    over = threading.Event()

    def churn() -> None:
        running: list[tuple[Path, subprocess.Popen[bytes]]] = []
        for number in itertools.count(1):
            last = over.wait(3)
            for container, process in running[:]:
                if last or process.poll() is not None:
                    process.wait()
                    container.rmdir()
                    running.remove((container, process))
            if last:
                return
            container = top / f"docker-{number:012x}{0:052x}.scope"
            container.mkdir()
            work = "for i in 1 2 3 4 5; do /bin/true; done; " * (1 + number % 3)
            script = f"echo $$ > {container}/cgroup.procs; {work} sleep {number % 3 * 4}; {work}"
            running.append((container, subprocess.Popen(["sh", "-c", script])))

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def firing(server: Prometheus, when: float) -> list[Any]:
    """Alerts about the victim."""
    return [
        (round(when), alert["labels"]["alertname"], alert["value"])
        for alert in server.get("alerts")["alerts"]
        if alert["state"] == "firing" and alert["labels"].get("name") == VICTIM
    ]


def own_cost(server: Prometheus, start: float) -> dict[str, Any]:
    """CPU as a share of one, and the least and greatest resident size after the first minute."""
    samples = server.query(f"process_cpu_seconds_total[{RUN_S - 60}s]")[0]["values"]
    (first_s, first), (last_s, last) = samples[0], samples[-1]
    sizes = server.query(f"process_resident_memory_bytes[{RUN_S - 60}s]")[0]["values"]
    rss = [int(value) for _, value in sizes]
    durations = server.query(f"scrape_duration_seconds[{RUN_S}s]")[0]["values"]
    seconds = sorted(float(value) for _, value in durations)
    return {
        "cpu_share": (float(last) - float(first)) / (last_s - first_s),
        "rss_bytes": (min(rss), max(rss)),
        "scrapes": len(seconds),
        "scrape_s": (seconds[len(seconds) // 2], seconds[-1]),
    }


def compared(server: Prometheus, found: Any) -> list[dict[str, Any]]:
    """What stat counted, beside the growth of Prometheus' counters in the same seconds.

    Between two scrapes a counter is taken to grow evenly. Rows of less than 1 % of a CPU, or a
    thousand events, are left out.
    """
    begin = began(found)
    end = begin + found["interval"]["wall_ns"] / 1e9

    def growth(series: str) -> float:
        total = 0.0
        for one in server.query(f"{series}[{RUN_S}s]", end + 2 * SCRAPE_S):
            samples = [(float(when), float(value)) for when, value in one["values"]]
            total += value_at(samples, end) - value_at(samples, begin)
        return total

    rows = []
    for label, series, counted, least in expected(found):
        if counted >= least:
            grown = growth(series)
            off = grown / counted - 1
            rows.append({"what": label, "stat": counted, "prometheus": grown, "off": off})
    return rows


def value_at(samples: list[tuple[float, float]], when: float) -> float:
    for (t0, v0), (t1, v1) in itertools.pairwise(samples):
        if t0 <= when <= t1:
            return v0 + (v1 - v0) * (when - t0) / (t1 - t0)
    return samples[0][1] if when < samples[0][0] else samples[-1][1]


def expected(found: Any) -> Iterator[tuple[str, str, float, float]]:
    """Rows to compare: a name, the series, what stat counted, and below what not to compare."""
    second = 0.01 * STAT_S
    for cpu in found["cpus"]:
        on = f'cpu="{cpu["cpu"]}"'
        for account, ns in (
            ("own", cpu["own_ns"]),
            ("idle", cpu["idle_ns"]),
            ("stolen", sum(cpu["stolen_ns"].values())),
            ("ksoftirqd", cpu["kthread_ns"]["ksoftirqd"]),
        ):
            series = f'nettax_cpu_seconds_total{{{on},account="{account}"}}'
            yield f"CPU {cpu['cpu']} {account}", series, ns / 1e9, second
        for name, series, number in (
            ("net_rx", f'nettax_cpu_softirqs_total{{{on},vector="net_rx"}}', "softirq_count"),
            ("hardirqs", f"nettax_cpu_hardirqs_total{{{on}}}", "hardirq_count"),
            ("packets", f"nettax_cpu_napi_packets_total{{{on}}}", "packets"),
            ("switches", f"nettax_cpu_context_switches_total{{{on}}}", "switches"),
        ):
            count = cpu[number]["net_rx"] if number == "softirq_count" else cpu[number]
            yield f"CPU {cpu['cpu']} {name}", series, count, 1000
    victims = [task for task in found["tasks"] if (task["cgroup"] or "").endswith(VICTIM)]
    for name, ns in (
        ("billed", sum(task["billed_ns"] for task in victims)),
        ("own", sum(task["own_ns"] for task in victims)),
        ("stolen", sum(sum(task["stolen_ns"].values()) for task in victims)),
        ("displaced", sum(sum(task["displaced_ns"].values()) for task in victims)),
    ):
        series = f'nettax_workload_{name}_seconds_total{{name="{VICTIM}"}}'
        yield f"{VICTIM} {name}", series, ns / 1e9, second


def board_expressions() -> list[str]:
    """What the board's panels ask, with its variables filled in."""
    board = json.loads((CONTRIB / "grafana/nettax.json").read_text())
    return [
        target["expr"]
        .replace("$__rate_interval", "1m")
        .replace('=~"$instance"', '=~".*"')
        .replace('=~"$cpu"', '=~".*"')
        for panel in board["panels"]
        for target in panel.get("targets", ())
    ]
