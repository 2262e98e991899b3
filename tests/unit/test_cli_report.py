"""`nettax report` as people call it, on recordings that others made."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from nettax.cli import cli
from nettax.errors import NettaxError
from nettax.report.fields import TABLES

FIXTURES = Path(__file__).parents[1] / "fixtures/events"
AHERN = FIXTURES / "ahern.txt"
NETTAX = [sys.executable, "-m", "nettax", "report"]


def report(*arguments: str | Path, code: int = 0) -> str:
    """What it prints; with a code, the error that it fails with."""
    done = CliRunner().invoke(cli, ["report", *map(str, arguments)])
    if code:
        assert isinstance(done.exception, NettaxError) or done.exit_code == code
        assert code == getattr(done.exception, "exit_code", code)
        return done.stderr or str(done.exception)
    assert done.exit_code == 0, done.exception
    assert not done.stderr
    return done.stdout


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """perf's, of traffic over a veth, with switches."""
    path = tmp_path / "perf.data"
    path.write_bytes(gzip.decompress((FIXTURES / "perf_plain.data.gz").read_bytes()))
    return path


def test_aherns_nine_lines() -> None:
    """63 and 28 µs in softirq, 64 + 27 packets, 229 µs of peace."""
    done = subprocess.run([*NETTAX, "--timeline", str(AHERN)], capture_output=True, text=True)
    assert done.stdout == report("--timeline", AHERN)
    assert done.stdout == (
        "   176146.491879    5  swapper          mlx5_comp2@pci:0000:d8:00.0 → "
        "NET_RX ×2 (64/64, 27/64) 63 µs + 28 µs → gap 229 µs\n"
    )
    (line,) = report("--timeline", "--json", "-i", AHERN).splitlines()
    row = json.loads(line)
    assert [soft["ns"] for soft in row["softirqs"]] == [63_000, 28_000]
    assert [(poll["device"], poll["work"]) for poll in row["polls"]] == [("eth0", 64), ("eth0", 27)]
    assert (row["cpu"], row["pid"], row["gap_ns"]) == (5, 0, 229_000)
    (table,) = csv.DictReader(io.StringIO(report("--timeline", "--csv", AHERN)))
    assert (table["softirqs"], table["softirq_ns"]) == ("net_rx;net_rx", "91000")
    assert (table["packets"], table["gap_ns"]) == ("91", "229000")
    found = json.loads(report("--bursts", "--json", AHERN))
    assert (found["run_ns"]["sum"], found["run_ns"]["max"]) == (91_000, 63_000)
    assert (found["rounds"]["sum"], found["packets_per_poll"]["sum"]) == (2, 91)
    assert (found["exhausted"], found["gap_ns"]["max"]) == (1, 229_000)
    rows = csv.DictReader(io.StringIO(report("--bursts", "--csv", AHERN)))
    assert {row["distribution"]: row["sum"] for row in rows}["run_ns"] == "91000"


def test_a_choice_of_lines(plain: Path) -> None:
    """Each option shows a part of all lines, in their order."""
    rows = [json.loads(line) for line in report("--timeline", "--json", plain).splitlines()]
    start = rows[0]["time_ns"]
    assert len(rows) > 20
    pid = rows[3]["pid"]

    def shown(*options: str) -> list[object]:
        return [
            json.loads(line)
            for line in report("--timeline", "--json", *options, plain).splitlines()
        ]

    assert shown("--head", "3") == rows[:3]
    assert shown("--tail", "3") == rows[-3:]
    assert shown("--head", "5", "--tail", "2") == rows[3:5]
    assert shown("--head", "0") == shown("--task", "nobody") == []
    assert shown("-p", str(pid)) == [row for row in rows if row["pid"] == pid]
    assert shown("--task", rows[3]["task"]) == [r for r in rows if r["task"] == rows[3]["task"]]
    with_timer = [r for r in rows if any(s["vector"] == "net_rx" for s in r["softirqs"])]
    assert shown("--vector", "net_rx") == with_timer
    assert [r["time_ns"] for r in shown("-C", "1")] == [r["time_ns"] for r in rows if r["cpu"] == 1]  # type: ignore[index]
    half = (rows[-1]["time_ns"] - start) / 2e9
    early, late = shown("--to", f"{half:.9f}"), shown("--from", f"{half:.9f}")
    assert early and late
    assert len(early) + len(late) - len(rows) in (-1, 0)  # one may lie across


def test_a_part_of_its_time_in_other_faces(plain: Path, tmp_path: Path) -> None:
    whole = json.loads(report("--json", "--victims", plain))
    part = json.loads(report("--json", "--victims", "--from", "0.01", plain))
    assert 0 < part["interval"]["wall_ns"] < whole["interval"]["wall_ns"]
    report("--chrome", tmp_path / "t.json", "-C", "1", plain)
    trace = json.loads((tmp_path / "t.json").read_text())
    assert {event["pid"] for event in trace["traceEvents"]} == {1}
    pid = whole["tasks"][0]["pid"]
    chosen = json.loads(report("--json", "-p", str(pid), plain))
    assert {task["pid"] for task in chosen["tasks"]} == {pid}
    assert chosen["cpus"] == whole["cpus"]


def test_what_record_writes_is_what_report_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "nettax.events" in report(code=1)
    (tmp_path / "nettax.events").write_bytes(AHERN.read_bytes())
    assert "NET_RX" in report()


@pytest.mark.parametrize(
    "options",
    [
        ("--json", "--csv"),
        ("--timeline", "--bursts"),
        ("--vector", "net_rx"),
        ("--head", "3", "--bursts"),
        ("--csv", "--victims", "--bursts"),
        ("-C", "0"),
        ("-C", "x", "--timeline"),
        ("-C", "", "--timeline"),
        ("-p", "one", "--timeline"),
        ("-i", "other"),
        ("--bursts", "--task", "x"),
        ("--vector", "net", "--timeline"),
    ],
)
def test_what_makes_no_sense(options: tuple[str, ...]) -> None:
    assert report(*options, AHERN, code=2)


@pytest.mark.parametrize("form", [(), ("--json",), ("--csv",)], ids=["text", "json", "csv"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_seen_enough(
    form: tuple[str, ...], unbuffered: str, tmp_path: Path
) -> None:
    """As of `nettax report --timeline | head -1`."""
    group = AHERN.read_text().splitlines(keepends=True)[:8]
    with (tmp_path / "much").open("w") as out:
        for i in range(4000):
            out.writelines(line.replace(" 176146.", f" {200000 + i}.") for line in group)
    process = subprocess.Popen(
        [*NETTAX, "--timeline", *form, str(tmp_path / "much")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    assert process.stdout and process.stderr
    assert process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 128 + signal.SIGPIPE


def test_what_documents_hold_has_its_meaning(plain: Path) -> None:
    """Each field of each document is told once, in nettax.report.fields, and no other is."""
    (row, *_) = map(json.loads, report("--timeline", "--json", plain).splitlines())
    assert list(row) == [field.name for field in TABLES["timeline"].fields]
    (head, *_) = report("--timeline", "--csv", plain).splitlines()
    assert head.split(",") == [field.name for field in TABLES["timeline-csv"].fields]
    found = json.loads(report("--bursts", "--json", plain))
    assert list(found) == [field.name for field in TABLES["bursts-json"].fields]
    assert list(found["gap_ns"]) == [field.name for field in TABLES["distribution"].fields]
    victims = json.loads(report("--victims", "--json", plain))
    assert list(victims) == [field.name for field in TABLES["victims-json"].fields]
