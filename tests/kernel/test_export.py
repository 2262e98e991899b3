"""`nettax export` as it is run: what it tells, what it keeps, and what it endures."""

from __future__ import annotations

import base64
import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from prometheus_client.openmetrics import parser
from prometheus_client.parser import text_string_to_metric_families as plain

from nettax.host import Host, spawn
from nettax.kernel import cpus
from nettax.lab import Testbed
from nettax.ledger import CpuShare, Ledger

Eventually = Callable[[Callable[[], object]], None]
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]

pytestmark = pytest.mark.needs_root
EXPORT = [sys.executable, "-m", "nettax", "export"]
PATIENCE_S = 60
# As an ordinary user with the two capabilities, as the unit's AmbientCapabilities= gives them.
AS_NOBODY = [
    *("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs"),
    *("--bounding-set", "-all,+bpf,+perfmon"),
    *("--inh-caps", "-all,+bpf,+perfmon", "--ambient-caps", "+bpf,+perfmon"),
]
SPIN = "import os\nwhile True: os.getppid()"


class Exporter:
    """A running `nettax export`."""

    def __init__(self, process: subprocess.Popen[str], host: str, port: int, said: str) -> None:
        self.process, self.host, self.port, self.said = process, host, port, said

    def get(self, path: str = "/metrics", **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE_S)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def metrics(self) -> Series:
        """All series, from a reading of its own."""
        time.sleep(0.11)  # those that ask sooner share one
        status, text = self.get()
        assert status == 200, text
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in plain(text)
            for sample in family.samples
        }

    def status(self) -> dict[str, str]:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


@contextmanager
def exporter(
    *options: str, prefix: tuple[str, ...] | list[str] = (), listen: str = "127.0.0.1:0", **env: str
) -> Iterator[Exporter]:
    with subprocess.Popen(
        [*prefix, *EXPORT, "--listen", listen, *options],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    ) as process:
        try:
            assert process.stderr
            said = ""
            while not (found := re.search(r"https?://\[?([\d.:]+?)\]?:(\d+)/metrics", said)):
                line = process.stderr.readline()
                assert line, said
                said += line
            yield Exporter(process, found[1], int(found[2]), said)
        finally:
            process.terminate()


def value(series: Series, metric: str, **labels: str) -> float:
    """The sum over the series that have these labels."""
    found = [v for (n, those), v in series.items() if n == metric and labels.items() <= set(those)]
    assert found, (metric, labels)
    return sum(found)


def openmetrics(text: str) -> list[Any]:
    parse: Any = parser.text_string_to_metric_families
    return list(parse(text))


def refused(*words: str) -> tuple[int, str]:
    run = subprocess.run([*EXPORT, *words], capture_output=True, text=True, timeout=30, check=False)
    assert "Traceback" not in run.stderr
    return run.returncode, run.stderr


# --- what it tells -------------------------------------------------------------------------------


def test_accounts_add_up_to_the_wall() -> None:
    with exporter() as export:
        found = export.metrics()
    for cpu in map(str, cpus.online()):
        wall = value(found, "nettax_cpu_wall_seconds_total", cpu=cpu)
        accounts = value(found, "nettax_cpu_seconds_total", cpu=cpu)
        residual = value(found, "nettax_cpu_residual_seconds", cpu=cpu)
        assert accounts + residual == pytest.approx(wall, abs=1e-6)
        stolen = value(found, "nettax_cpu_seconds_total", cpu=cpu, account="stolen")
        by_source = value(found, "nettax_cpu_stolen_seconds_total", cpu=cpu)
        assert by_source == pytest.approx(stolen, abs=1e-6)


COMPARED: tuple[tuple[str, dict[str, str], Callable[[CpuShare], float]], ...] = (
    ("cpu_softirqs_total", {"vector": "net_rx"}, lambda cpu: cpu.softirq_count["net_rx"]),
    ("cpu_hardirqs_total", {}, lambda cpu: cpu.hardirq_count),
    ("cpu_napi_packets_total", {}, lambda cpu: cpu.packets),
    ("cpu_context_switches_total", {}, lambda cpu: cpu.switches),
    ("cpu_wall_seconds_total", {}, lambda cpu: cpu.wall_ns / 1e9),
    ("cpu_hardirq_seconds_total", {}, lambda cpu: cpu.hardirq_ns / 1e9),
)


def test_it_agrees_with_another_ledger(host: Host) -> None:
    """Growth between two scrapes lies between what a ledger reads just inside and just outside."""
    with (
        Testbed(host, steer=cpus.online()[-1]) as bed,
        exporter() as export,
        bed.udp(50_000),
        Ledger(by_cgroup=True, keep_tasks=False) as ledger,
    ):
        begin = ledger.read()
        first = export.metrics()
        inner_begin = ledger.read()
        time.sleep(0.5)
        inner_end = ledger.read()
        second = export.metrics()
        end = ledger.read()
    inner, outer = inner_end - inner_begin, end - begin
    for i, cpu in enumerate(cpus.online()):
        for name, labels, get in COMPARED:
            chosen = {"cpu": str(cpu), **labels}
            metric = f"nettax_{name}"
            grown = value(second, metric, **chosen) - value(first, metric, **chosen)
            slack = 0.02 * get(outer.cpus[i]) + 2e-6  # own overheads that the other one sees
            assert get(inner.cpus[i]) - slack <= grown <= get(outer.cpus[i]) + slack, name


def test_both_formats_and_the_landing_page() -> None:
    with exporter() as export:
        status, text = export.get(accept="application/openmetrics-text; version=1.0.0")
        assert status == 200
        assert {f.name for f in openmetrics(text)} == {
            f.name if f.type == "counter" else f.name.removesuffix("_info")
            for f in plain(export.get()[1])
        }
        assert "/metrics" not in export.get("/-/healthy")[1]
        assert 'href="metrics"' in export.get("/")[1]
        assert export.get("/nowhere")[0] == 404


def test_names_follow_the_rules() -> None:
    with exporter("--tasks", "3", "--time-programs") as export:
        text = export.get(accept="application/openmetrics-text")[1]
    for family in openmetrics(text):
        assert re.fullmatch(r"(nettax|process)_[a-z_]+", family.name)
        assert family.documentation.endswith(".")
        assert family.type != "unknown"
        for word in ("_ns", "_us", "_ms", "milliseconds", "nanoseconds", "percent"):
            assert word not in family.name
        if "seconds" in family.name or "bytes" in family.name:
            assert family.unit
        if family.type == "histogram":
            check_buckets(family.samples)


def check_buckets(samples: list[Any]) -> None:
    before: dict[Any, tuple[float, float]] = {}
    for sample in samples:
        if sample.name.endswith("_bucket"):
            labels = {key: v for key, v in sample.labels.items() if key != "le"}
            key, bound = frozenset(labels.items()), float(sample.labels["le"])
            last_bound, last_count = before.get(key, (0.0, 0.0))
            assert bound > last_bound
            assert sample.value >= last_count
            before[key] = bound, sample.value


def test_options() -> None:
    chosen = str(cpus.online()[-1])
    options = ("-C", chosen, "--no-histograms", "--tasks", "2", "--time-programs")
    with exporter(*options) as export:
        export.metrics()
        found = export.metrics()
    names = {name for name, _ in found}
    assert not [name for name in names if "_bucket" in name]
    assert {dict(those)["cpu"] for name, those in found if "cpu_online" in name} == {chosen}
    assert len([1 for name, _ in found if name == "nettax_task_own_seconds_total"]) == 2
    assert value(found, "nettax_bpf_seconds_total") > 0


# --- cgroups come and go -------------------------------------------------------------------------


def test_workloads_come_and_go(host: Host, eventually: Eventually) -> None:
    """Their sums never fall; a restarted unit goes on; what is gone makes room in the kernel."""
    top = host.cgroup("workloads")
    with exporter("--max-groups", "3") as export:
        before: Series = {}
        for number in range(6):
            unit = top / "same.service"
            other = top / f"job-{number}.service"
            for cgroup in (unit, other):
                cgroup.mkdir()
                child = spawn([sys.executable, "-ISc", SPIN], cgroup=cgroup)
                time.sleep(0.05)
                child.kill()
                child.wait()
            found = export.metrics()
            for cgroup in (unit, other):
                eventually(partial(removed, cgroup))
            fallen = [
                key
                for key, old in before.items()
                if key[0].endswith("_total") and found.get(key, old) < old
            ]
            assert fallen == []
            before = found
        found = export.metrics()
    own = "nettax_workload_own_seconds_total"
    assert value(found, own, kind="service", name="same.service") > 6 * 0.02
    assert value(found, "nettax_workloads") == 3
    assert value(found, own, kind="other") > 0


def removed(cgroup: Path) -> bool:
    with suppress(OSError):  # a process that was killed may be on its way out
        cgroup.rmdir()
    return not cgroup.exists()


# --- privileges ----------------------------------------------------------------------------------

BOTH = 1 << 38 | 1 << 39


def check_dropped(export: Exporter, user: str | None) -> None:
    status = export.status()
    held = int(status["CapPrm"], 16)
    assert held & ~BOTH == 0
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    assert int(status["CapBnd"], 16) & ~BOTH == 0
    assert status["NoNewPrivs"] == "1"
    names = [name for bit, name in ((39, "CAP_BPF"), (38, "CAP_PERFMON")) if held >> bit & 1]
    assert f"capabilities: {', '.join(names) or 'none'}" in export.said
    if user:
        assert set(status["Uid"].split()) == set(status["Gid"].split()) == {user}
        assert status["Groups"] == ""
    assert value(export.metrics(), "nettax_exporter_scrape_failures_total") == 0


def test_root_keeps_no_capabilities() -> None:
    with exporter() as export:
        check_dropped(export, None)


def test_root_becomes_somebody_else() -> None:
    with exporter("--user", "nobody", "--tasks", "3") as export:
        check_dropped(export, "65534")


def test_an_ordinary_user_with_the_two_capabilities() -> None:
    with exporter(prefix=AS_NOBODY) as export:
        check_dropped(export, "65534")


@pytest.mark.parametrize(
    ("user", "code", "message"),
    [("root", 2, "root's rights"), ("0", 2, "root's rights"), ("no-such-user", 2, "no user")],
)
def test_users_that_will_not_do(user: str, code: int, message: str) -> None:
    found = refused("--listen", "127.0.0.1:0", "--user", user)
    assert found[0] == code
    assert message in found[1]


# --- TLS and passwords ---------------------------------------------------------------------------


def test_tls_and_a_password(tmp_path: Path) -> None:
    """Checked once, by curl as by Prometheus; the file is root's alone, and read before."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key", "-out", "crt"),
        ],
        check=True,
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
    )
    hashed = bcrypt.hashpw(b"sesame", bcrypt.gensalt(10)).decode()
    web = tmp_path / "web.yml"
    web.write_text(
        "tls_server_config: {cert_file: crt, key_file: key}\n"
        f"basic_auth_users: {{prometheus: {hashed}}}\n"
    )
    web.chmod(0o600)
    context = ssl.create_default_context(cafile=str(tmp_path / "crt"))
    with exporter("--web.config.file", str(web), "--user", "nobody") as export:
        assert f"https://127.0.0.1:{export.port}/metrics" in export.said

        def status(password: str) -> int:
            connection = http.client.HTTPSConnection(
                export.host, export.port, timeout=PATIENCE_S, context=context
            )
            basic = base64.b64encode(f"prometheus:{password}".encode()).decode()
            connection.request("GET", "/metrics", headers={"Authorization": f"Basic {basic}"})
            answer = connection.getresponse()
            answer.read()
            connection.close()
            return answer.status

        assert status("wrong") == 401
        assert [status("sesame") for _ in range(3)] == [200] * 3


def test_a_web_configuration_that_asks_too_much(tmp_path: Path) -> None:
    web = tmp_path / "web.yml"
    web.write_text("rate_limit: {burst: 1}")
    code, said = refused("--web.config.file", str(web))
    assert code == 2
    assert "does not know rate_limit" in said


# --- life and death ------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_order(number: signal.Signals) -> None:
    with exporter() as export:
        export.process.send_signal(number)
        assert export.process.wait(PATIENCE_S) == 0
        assert export.process.stderr
        assert export.process.stderr.read() == ""


def test_systemd_is_told(tmp_path: Path) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(PATIENCE_S)
        with exporter(NOTIFY_SOCKET=str(address)) as export:
            assert manager.recv(100) == b"READY=1"
            assert export.get("/-/ready")[0] == 200
            export.process.terminate()
            assert manager.recv(100) == b"STOPPING=1"


def test_addresses() -> None:
    with exporter("--listen", "127.0.0.2:0", listen="[::1]:0") as export:
        assert export.host == "::1"
        assert export.get()[0] == 200
        assert "http://127.0.0.2:" in export.said
    with exporter(listen="0.0.0.0:0") as export:
        assert "warning: anybody who reaches 0.0.0.0" in export.said


@pytest.mark.parametrize(
    "address", ["", "127.0.0.1", "localhost:1", "127.0.0.1:x", "127.0.0.1:65536", "::1:80", "[1]:2"]
)
def test_addresses_that_are_none(address: str) -> None:
    code, said = refused("--listen", address)
    assert code == 2
    assert "--listen takes an address and a port" in said


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        assert refused("--listen", where) == (
            1,
            f"nettax: cannot listen on {where}: Address already in use\n",
        )


# --- what is sent in malice ----------------------------------------------------------------------


def test_it_keeps_answering() -> None:
    """Under idle, slow, garbled and huge requests, two hundred at once; and misses no event."""
    with exporter("--user", "nobody") as export, ExitStack() as stack:
        before = export.metrics()
        address = (export.host, export.port)
        over = threading.Event()
        for _ in range(200):  # half-open, and heads that never end
            idle = stack.enter_context(socket.create_connection(address))
            idle.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-A: ")
        attackers = [
            threading.Thread(target=attack, args=(address, data, over))
            for data in (
                b"\x16\x03\x01" + os.urandom(500),
                b"GET / HTTP/1.1\r\na:" + bytes(1 << 20),
            )
        ]
        for thread in attackers:
            thread.start()
        try:
            with ThreadPoolExecutor(200) as pool:
                found = list(pool.map(lambda _: export.get()[0], range(200)))
            after = export.metrics()
        finally:
            over.set()
            for thread in attackers:
                thread.join()
        assert found == [200] * 200
        assert int(export.status()["Threads"]) == 1
        assert int(export.status()["VmRSS"].split()[0]) < 60_000
        assert value(after, "nettax_exporter_scrape_failures_total") == 0
        assert value(after, "nettax_lost_events_total") == 0
        # Scrapes that come together share a reading: the ledger is not read 200 times.
        seconds = value(after, "nettax_cpu_wall_seconds_total", cpu=str(cpus.online()[0]))
        assert value(after, "nettax_exporter_scrapes_total") < 10 * seconds + 5
        assert seconds > value(before, "nettax_cpu_wall_seconds_total", cpu=str(cpus.online()[0]))


def attack(address: tuple[str, int], data: bytes, over: threading.Event) -> None:
    while not over.is_set():
        with suppress(OSError), socket.create_connection(address, timeout=5) as connection:
            connection.sendall(data)
            connection.recv(100)
