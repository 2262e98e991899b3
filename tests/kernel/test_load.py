"""`nettax load` on servers of known behaviour, at a trickle: what adds up, and what is refused."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import Any

import pytest

from nettax.kernel.cgroup import v2_mount
from nettax.servers import serve
from nettax.servers.server import PROGRAM

pytestmark = pytest.mark.needs_root
SLEEPS = ("threads", "http", "--port=8077", "--sleep-us=20000")
URL = "http://127.0.0.1:8077/"


def nettax(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nettax", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def load(*words: str) -> dict[str, Any]:
    ran = nettax("load", "--json", *words)
    assert ran.returncode == 0, ran.stderr
    assert not ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    assert found["schema"] == "nettax.load/1"
    return found


def leftovers() -> list[str]:
    mine = ("-server", "-generator")
    return [path.name for path in v2_mount().glob("nettax-*") if path.name.endswith(mine)]


def check(found: dict[str, Any]) -> None:
    """What holds of every run."""
    result = found["result"]
    latency = result["latency_ns"]
    if result["unit"] == "request" and latency:
        assert sum(count for _, _, count in latency["buckets"]) == result["done"]
    for side in (found["server"], found["generator"]):
        assert side["billed_ns"] > 0
        parts = ("own_ns", "hardirq_ns", "net_ns", "softirq_ns")
        assert sum(side[part] for part in parts) == side["oncpu_ns"]
        assert side["own_ns"] == side["user_ns"] + side["system_ns"]
        assert side["parts_ns"] == side["oncpu_ns"] + side["wakeup_ns"] - side["waived_ns"]
    assert found["events"]["lost"] == 0
    kinds = ("server", "generator", "latency", "none", "shared", "network")
    assert found["verdict"]["bound"] in kinds


@pytest.mark.parametrize(("tool", "opened"), [("wrk", 5), ("ab", 4), ("h2load", 4), ("nettax", 4)])
def test_what_adds_up(tool: str, opened: int) -> None:
    """In a namespace of its own, connections are the tool's alone; wrk tries one beforehand."""
    place = ("-c", "4", "-d", "1", "--alone", "--server")
    found = load("http", URL, "--tool", tool, *place, "--", str(PROGRAM), *SLEEPS)
    check(found)
    assert found["connections_opened"] == opened
    # Four connections that wait 20 ms for each answer, for a second and a little.
    assert 4 <= found["result"]["done"] <= 260
    # Their bill is the cgroup's own, to what the last moments differ.
    for side in (found["server"], found["generator"]):
        assert abs(side["mismatch"]) < 0.03
    assert "listen-queue" not in found["verdict"]["warnings"]
    assert not leftovers()


def test_a_server_that_runs_already() -> None:
    with serve("threads", protocol="http", sleep_us=20_000) as server:
        for words in ((), ("--pid", str(server.pid))):
            before = server.stats()
            where = f"http://127.0.0.1:{server.port}/"
            found = load("http", where, "-c", "2", "-d", "1", *words)
            check(found)
            served = (server.stats() - before).requests
            # One on each connection may be under way as wrk stops.
            assert 0 <= served - found["result"]["done"] <= 2


def test_for_people() -> None:
    words = ("-c", "4", "-d", "1", "--alone", "--server", "--", str(PROGRAM), *SLEEPS)
    ran = nettax("load", "http", URL, *words)
    assert ran.returncode == 0, ran.stderr
    head, costs, latency, kernel, judged, doubt = ran.stdout.strip().split("\n\n")
    assert "requests" in head and "5 connections by the kernel's count" in head
    assert [line.split()[0] for line in costs.splitlines()[1:3]] == ["server", "wrk"]
    assert "p50 2" in latency  # 20 ms and a little
    assert "TIME-WAIT" in kernel
    assert "Little's law" in judged
    assert doubt.startswith("lost 0")


def test_echo_and_two_tools_interleaved() -> None:
    echo = (str(PROGRAM), "threads", "echo", "--port=8077", "--sleep-us=20000")
    found = load("echo", "127.0.0.1:8077", "-d", "1", "--alone", "--server", "--", *echo)
    check(found)
    assert found["result"]["unit"] == "message"
    words = ("--tool", "ab,wrk", "-r", "1", "-d", "1", "--alone", "--server", "--")
    both = load("http", URL, *words, str(PROGRAM), *SLEEPS)
    assert [tool["name"] for tool in both["tools"]] == ["ab", "wrk"]
    assert both["tools"][1]["ratios"]["rate"]["n"] == 1
    for tool in both["tools"]:
        for run in tool["runs"]:
            check(run)


def test_datagrams_to_a_sink() -> None:
    flow = ("stream", "127.0.0.1:8077", "--udp", "--tool", "nettax", "-d", "1")
    where = ("--alone", "--server", "--", sys.executable, "-m", "nettax", "serve", "sink")
    found = load(*flow, "--bytes", "100", "--rate", "1kpps", *where, "--port", "8077")
    check(found)
    result = found["result"]
    assert (result["unit"], result["bytes"]) == ("datagram", 100 * result["done"])
    assert 990 <= result["done"] + result["errors"].get("lost", 0) <= 1001
    # In a namespace of its own: they, two questions and their answers.
    assert found["counters"]["Udp.InDatagrams"] >= result["done"] + 4
    assert found["connections_opened"] == 0
    assert found["evidence"]["residual"] is None


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("http", URL), 2, "nothing listens at port 8077"),
        (("http", URL, "--pid", "999999999"), 2, "there is no process"),
        (("http", URL, "--tool", "iperf3"), 2, "has no tool 'iperf3'"),
        (("http", URL, "--server", "--", "no-such-program"), 2, "cannot run the server"),
        (("http", URL, "--server", "--", "sh", "-c", "echo no >&2; exit 3"), 1, "listened: no"),
        (("http", URL, "--server"), 2, "both or neither"),
        (("http", "ftp://x/"), 2, "is not for load http"),
        (("echo", "localhost"), 2, "has no port"),
        (("http", URL, "--udp"), 2, "does nothing with load http"),
        (("stream", "127.0.0.1:1", "--rate", "5"), 2, "does nothing with a TCP stream"),
        (("http", URL, "--tool", "ab", "-t", "2"), 2, "ab has one thread"),
        (("http", URL, "--alone"), 2, "does nothing without --server"),
        (("stream", "127.0.0.1:1", "--tool", "iperf3,sockperf"), 2, "name one tool"),
        (("http", URL, "--tool", "oha"), 2, "oha is not supported"),
        (("http", URL, "--rate", "5x"), 2, "is no rate: give 500, 20k"),
        (("http", URL, "--rate", "5", "--tool", "ab"), 2, "ab takes no rate for load http"),
        (("http", URL, "--poisson"), 2, "it takes --rate"),
        (("stream", "127.0.0.1:1", "--udp", "--rate", "5pps"), 2, "add --bytes"),
    ],
)
def test_refusals(words: tuple[str, ...], code: int, message: str) -> None:
    ran = nettax("load", *words)
    assert (ran.returncode, ran.stdout) == (code, "")
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not leftovers()


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        ran = nettax("load", "http", where, "--server", "--", "sleep", "9")
    assert ran.returncode == 2
    assert f"taken already, by {taken_by()} ({os.getpid()})" in ran.stderr


def taken_by() -> str:
    with open("/proc/self/comm") as file:  # noqa: PTH123
        return file.read().strip()
