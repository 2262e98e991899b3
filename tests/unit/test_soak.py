"""The soak's arithmetic on journals of known content, and a run that is killed and resumed."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nettax.cli import main
from nettax.errors import NettaxError, UsageError
from nettax.experiment.slope import LEAST_POINTS, slope
from nettax.experiment.soak_errors import LogErrors
from nettax.experiment.soak_findings import findings
from nettax.experiment.soak_journal import Journal, Plan, Record, Sample, read
from nettax.report.soak import document, text

PLAN = Plan("epoll", "http", 600, 5, 100, 8, {"abort": 5}, 10)
SAMPLE = Sample(
    segment=0,
    wall_ns=5_000_000_000,
    rss_bytes=2_000_000,
    fds=20,
    threads=2,
    server_cpu_ns=1_000_000,
    time_wait=3,
    opened=80,
    due=500,
    answered=500,
    unanswered=0,
    statuses={"2xx": 500},
    latency={"1000": 490, "1300": 10},
    rude={"abort": 25},
    client_errors={},
    rude_errors={},
    server_errors={"send EPIPE": 20},
)


def record(rss: list[int], fds: list[int] | None = None) -> Record:
    sizes = zip(rss, fds or [20] * len(rss), strict=True)
    samples = tuple(replace(SAMPLE, rss_bytes=r, fds=f) for r, f in sizes)
    return Record(PLAN, {}, samples, "done")


@given(
    st.integers(LEAST_POINTS, 60).flatmap(
        lambda n: st.lists(st.integers(-1000, 1000), min_size=n, max_size=n)
    )
)
@settings(deadline=None)
def test_slope_is_scipys(ys: list[int]) -> None:
    found = slope(range(len(ys)), ys)
    true = stats.theilslopes(ys, range(len(ys)), alpha=0.95)
    assert found is not None
    assert found.value == pytest.approx(true.slope, abs=1e-9)
    # scipy's ranks are rounded to the nearest; ours outwards, by at most two pairs of points.
    assert found.low <= true.low_slope + 1e-9
    assert found.high >= true.high_slope - 1e-9


def test_slopes_hold_what_they_promise() -> None:
    """Of noise with a slope, it has it 95 times in 100 or more (less 3 standard errors)."""
    held = 0
    for seed in range(300):
        noise = random.Random(seed)
        found = slope(range(40), [0.5 * x + noise.gauss(0, 20) for x in range(40)])
        assert found
        held += found.low <= 0.5 <= found.high
    assert held >= 300 * 0.95 - 3 * (300 * 0.95 * 0.05) ** 0.5


def test_slopes_of_little_or_much() -> None:
    assert slope([1] * 20, range(20)) is None
    assert slope(range(7), range(7)) is None
    long = slope(range(10_000), [3 * x + x % 7 for x in range(10_000)])
    assert long
    assert long.value == pytest.approx(3, rel=0.001)
    assert long.n <= 120


def test_a_leak_of_100_bytes_a_connection_is_found() -> None:
    noise = random.Random(1)
    leak = [
        2_000_000 + 4096 * ((i * 80 * 112 + noise.randrange(40_000)) // 4096) for i in range(120)
    ]
    found = findings(record(leak))
    assert found.memory
    assert found.memory.grows
    assert found.memory.per_connection
    assert found.memory.per_connection.value == pytest.approx(112, rel=0.05)
    assert "a leak" in text(record(leak), found)


@pytest.mark.parametrize("step", [0, 4096, 60_000])
def test_what_comes_and_goes_is_flat(step: int) -> None:
    noise = random.Random(2)
    sizes = [2_000_000 + noise.randrange(step + 1) for i in range(120)]
    found = findings(record(sizes, [20 + noise.randrange(8) for _ in sizes]))
    assert found.memory
    assert found.fds
    assert not found.memory.grows
    assert not found.fds.grows
    assert found.server_errors == {"send EPIPE": 2400}
    shown = text(record(sizes), found)
    assert "memory: flat" in shown
    assert "EPIPE: 2.4k times" in shown


def test_descriptors_that_are_lost() -> None:
    found = findings(record([2_000_000] * 60, [20 + i for i in range(60)]))
    assert found.fds
    assert found.fds.grows
    assert found.drift
    assert found.drift.first_p50_ns == found.drift.last_p50_ns


def test_too_few_samples() -> None:
    for n in range(8):
        shown = record([1] * n)
        assert text(shown, findings(shown))
        assert json.dumps(document(shown, findings(shown)))


def test_a_journal_that_a_kill_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "soak.jsonl"
    journal = Journal(path, PLAN, {"time": "now"}, resume=False)
    journal.sample(SAMPLE)
    with path.open("a") as file:
        file.write(json.dumps({"kind": "sample", **asdict(SAMPLE)})[:100])
    seen = read(path)
    assert (seen.plan, seen.samples, seen.ended) == (PLAN, (SAMPLE,), None)
    assert "killed, or still running" in text(seen, findings(seen))
    again = Journal(path, PLAN, {}, resume=True)
    again.sample(replace(SAMPLE, segment=1))
    again.end("done")
    seen = read(path)
    assert (len(seen.samples), seen.segments, seen.ended, seen.elapsed_s) == (2, 2, "done", 10)
    with pytest.raises(UsageError, match="exists already"):
        Journal(path, PLAN, {}, resume=False)


def test_what_is_no_journal(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for said in ("", "text\n", "[1]\n", '{"schema": "nettax.soak/9"}\n'):
        path.write_text(said)
        with pytest.raises(UsageError, match="no journal"):
            read(path)
    path.write_text('{"schema": "nettax.soak/1", "plan": {"more": 1}}\n')
    with pytest.raises(NettaxError, match="another version"):
        read(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read(tmp_path / "none")


def test_errors_in_a_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogErrors(path)
    assert log.read() == {}
    path.write_text("[ERROR] (src/http.c:32: errno: Broken pipe) it failed\nall is well\nBroken ")
    assert log.read() == {"EPIPE": 1}
    with path.open("a") as file:
        file.write("pipe\nread: Connection reset by peer\n")
    assert log.read() == {"EPIPE": 2, "ECONNRESET": 1}


def nettax(*words: str) -> list[str]:
    return [sys.executable, "-m", "nettax", "soak", *words]


def test_killed_resumed_and_stopped(tmp_path: Path) -> None:
    path = tmp_path / "soak.jsonl"
    options = ["-d", "1h", "-I", "1s", "--abort", "30", "-o", str(path)]
    with subprocess.Popen(nettax("epoll", *options), stderr=subprocess.DEVNULL) as first:
        await_samples(path, 1)
        os.kill(first.pid, signal.SIGKILL)
    shown = subprocess.run(
        nettax("--report", str(path)), capture_output=True, text=True, timeout=30, check=True
    )
    assert "killed, or still running" in shown.stdout
    again = nettax("--resume", str(path), "--json")
    with subprocess.Popen(again, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as second:
        await_samples(path, 2)
        second.send_signal(signal.SIGTERM)
        out, _ = second.communicate(timeout=30)
    found = json.loads(out)
    assert second.returncode == 0
    assert (found["schema"], found["ended"], found["segments"]) == (
        "nettax.soak-report/1",
        "stopped",
        2,
    )
    assert found["answered"] == found["statuses"]["2xx"] > 0
    assert found["server_errors"]["send EPIPE"] > 0
    assert found["client_errors"] == {}


DIES = """\
import os, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
for _ in range(40):
    with listener.accept()[0] as one:
        one.recv(1000)
        one.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: 1\\r\\n\\r\\nx")
sys.exit("write: Broken pipe")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="a server is started in a cgroup")
def test_a_server_that_dies_of_its_clients(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    journal = tmp_path / "j"
    command = [sys.executable, "-c", DIES, port]
    with pytest.raises(SystemExit) as ended:
        main(["soak", f"http://127.0.0.1:{port}/", "-o", str(journal), "-I", "1s", "--", *command])
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert "the server ended after 1 s: write: Broken pipe" in said.err
    assert "EPIPE: 1 times the server wrote" in said.out
    assert read(journal).ended == "the server ended after 1 s: write: Broken pipe."


def await_samples(path: Path, n: int) -> None:
    deadline = time.monotonic() + 20
    while not path.exists() or path.read_text().count('"kind":"sample"') < n:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give one of TARGET"),
        (["ftp://x/"], "is no target"),
        (["epoll", "--", "true"], "which nettax starts by itself"),
        (["http://127.0.0.1:1/", "--leak", "9"], "for reference servers"),
        (["http://127.0.0.1:1/"], "nothing listens at port 1"),
        (["epoll", "-d", "0"], "is no time"),
    ],
)
def test_what_makes_no_sense(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["soak", *(["-o", str(tmp_path / "j")] if words else []), *words])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "j").exists()
