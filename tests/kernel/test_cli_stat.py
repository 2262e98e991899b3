"""`nettax stat` as its users run it: every option, the command it wraps, signals and pipes."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nettax.cli import main
from nettax.host import Host, spawn
from nettax.kernel import cpus, proc_pid
from nettax.kernel.cgroup import cgroup_of

Eventually = Callable[[Callable[[], object]], None]

pytestmark = pytest.mark.needs_root
STAT = [sys.executable, "-m", "nettax", "stat"]
two_cpus = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="one CPU is chosen, another is not"
)

# Runs until it is killed, under the name given in hexadecimal.
LOOP = """
import ctypes, sys
ctypes.CDLL(None).prctl(15, bytes.fromhex(sys.argv[1]), 0, 0, 0)  # PR_SET_NAME
print(flush=True)
while True: pass
"""
THREADS = """
import threading, time
def run():
    while True: time.sleep(0.001)
for _ in range(2): threading.Thread(target=run).start()
while threading.active_count() < 3: pass
print(flush=True)
run()
"""
# Datagrams to itself: each is a NET_RX softirq in the sender's own system call.
TALKER = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.1", 0))
s.sendto(b"", s.getsockname()); s.recv(1); print(flush=True)
while True: s.sendto(bytes(64), s.getsockname()); s.recv(64)
"""
BURN = """
import time
while time.process_time() < 0.2: pass
print(time.process_time_ns())
"""
# What a command could notice of how it was started.
WORLD = "grep -E '^(SigBlk|SigIgn|Cap|Cpus)' /proc/self/status; ls /proc/self/fd; pwd; nice; env"


def stat(*words: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*STAT, *words], capture_output=True, text=True, timeout=60, check=False, **options
    )


def document(*words: str | Path) -> Any:
    """What `stat --json` says; it must have succeeded, and said nothing else."""
    run = stat("--json", *words)
    assert (run.returncode, run.stderr) == (0, "")
    return json.loads(run.stdout)


@contextmanager
def python(source: str, *arguments: str, **place: Any) -> Iterator[int]:
    """A child that has said that it is ready; its pid."""
    with spawn([sys.executable, "-ISc", source, *arguments], stdout=subprocess.PIPE, **place) as p:
        try:
            assert p.stdout is not None
            assert p.stdout.readline() == b"\n"
            yield p.pid
        finally:
            p.kill()


def loop(name: bytes = b"nettax-test", **place: Any) -> Any:
    return python(LOOP, name.hex(), **place)


def pids(found: Any) -> set[int]:
    return {task["pid"] for task in found["tasks"]}


@contextmanager
def counting(*words: str, eventually: Eventually) -> Iterator[subprocess.Popen[str]]:
    """A `stat` that has begun to count: from then on, it catches SIGTERM."""

    def catches_sigterm() -> bool:
        status = Path(f"/proc/{process.pid}/status").read_text()
        return bool(int(status.partition("SigCgt:\t")[2][:16], 16) >> (signal.SIGTERM - 1) & 1)

    with subprocess.Popen(
        [*STAT, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            eventually(catches_sigterm)
            yield process
        finally:
            process.kill()


# --- what is counted, and how long ---------------------------------------------------------------


def test_duration() -> None:
    before = time.monotonic_ns()
    found = document("-d", "0.5")
    after = time.monotonic_ns()
    start, wall = found["interval"]["start_ns"], found["interval"]["wall_ns"]
    assert before < start < start + wall < after
    assert 0.5e9 <= wall < 0.7e9
    assert [cpu["cpu"] for cpu in found["cpus"]] == list(cpus.online())
    assert all(cpu["wall_ns"] == pytest.approx(wall, abs=20e6) for cpu in found["cpus"])


@two_cpus
def test_only_the_chosen_cpus() -> None:
    here, there = cpus.online()[:2]
    with loop(cpus=[here]) as loop_here, loop(cpus=[there]) as loop_there:
        found = document("-d", "0.2", "-C", str(there))
    assert [cpu["cpu"] for cpu in found["cpus"]] == [there]
    assert loop_here not in pids(found)
    (task,) = (task for task in found["tasks"] if task["pid"] == loop_there)
    assert task["oncpu_ns"] > 0.5 * found["interval"]["wall_ns"]
    assert task["cpu"] == there


@two_cpus
def test_a_list_of_cpus() -> None:
    first, second = cpus.online()[:2]
    for words in (f"{first},{second}", f"{first}-{second}"):
        found = document("-d", "0.1", "-C", words)
        assert [cpu["cpu"] for cpu in found["cpus"]] == [first, second]


def test_only_the_chosen_processes() -> None:
    with loop() as one, loop() as other, loop() as third:
        assert pids(document("-d", "0.2", "-p", str(one))) == {one}
        assert pids(document("-d", "0.2", "-p", f"{other},{third}")) == {other, third}


def test_a_process_is_all_its_threads() -> None:
    with python(THREADS) as pid:
        threads = set(proc_pid.threads(pid))
        found = document("-d", "0.2", "-p", str(pid))
        one = max(threads)
        assert pids(document("-d", "0.2", "-p", str(one))) == {one}
    assert len(threads) == 3
    assert pids(found) == threads
    assert {task["tgid"] for task in found["tasks"]} == {pid}


def test_only_the_chosen_cgroup_and_those_below(host: Host) -> None:
    top = host.cgroup("stat")
    below = top / "below"
    below.mkdir()
    beside = host.cgroup("stat2")  # its path begins as that of the first one does
    with loop(cgroup=top) as inside, loop(cgroup=below) as deep, loop(cgroup=beside):
        expected = {pid: cgroup_of(pid) for pid in (inside, deep)}
        found = document("-d", "0.2", "-G", top)
        by_name = document("-d", "0.2", "-G", str(expected[inside]))
        only_below = document("-d", "0.2", "-G", below)
    assert {task["pid"]: task["cgroup"] for task in found["tasks"]} == expected
    assert {task["pid"]: task["cgroup"] for task in by_name["tasks"]} == expected
    assert pids(only_below) == {deep}


def test_tasks_added_up(host: Host) -> None:
    """Each in one process, cgroup and workload; a cgroup of our own has what is in it."""
    home = host.cgroup("stat")
    with python(THREADS) as pid, loop(cgroup=home) as inside:
        path = cgroup_of(inside)
        by = {what: document("-d", "0.3", "--by", what) for what in ("process", "cgroup")}
        only = document("-d", "0.3", "--by", "workload", "-G", home)
    (threads,) = (group for group in by["process"]["groups"] if group["pid"] == pid)
    assert (threads["tasks"], threads["kind"]) == (3, "task")
    (cgroup,) = (group for group in by["cgroup"]["groups"] if group["name"] == path)
    assert cgroup["tasks"] == 1
    assert cgroup["own_ns"] > 0.01 * by["cgroup"]["interval"]["wall_ns"]
    for found in by.values():
        assert "tasks" not in found
        whole = sum(group["own_ns"] for group in found["groups"])
        # own time of tasks and, less the hard IRQs inside, that of network kernel threads
        booked = found["total"]["own_ns"] + sum(found["total"]["kthread_ns"].values())
        assert whole == pytest.approx(booked, rel=0.01)
    assert [group["name"] for group in only["groups"]] == [home.name]


# --- how it is told ------------------------------------------------------------------------------


def test_intervals_are_lines_of_json_without_gaps() -> None:
    run = stat("-I", "0.1", "-d", "1", "--json")
    assert (run.returncode, run.stderr) == (0, "")
    found = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(found) == 10
    intervals = [one["interval"] for one in found]
    for earlier, later in itertools.pairwise(intervals):
        assert later["start_ns"] == earlier["start_ns"] + earlier["wall_ns"]
    assert all(one["schema"] == "nettax.stat/1" for one in found)
    assert all(0.02e9 < one["wall_ns"] < 0.3e9 for one in intervals)


def flat(row: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in row.items():
        yield from flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + name]


def test_csv_has_the_fields_of_json() -> None:
    with loop() as pid:
        (task,) = document("-d", "0.2", "-p", str(pid))["tasks"]
        run = stat("-d", "0.2", "-p", str(pid), "--csv")
    assert (run.returncode, run.stderr) == (0, "")
    (row,) = csv.DictReader(io.StringIO(run.stdout))
    assert list(row) == ["interval.start_ns", "interval.wall_ns", *flat(task)]
    assert row["pid"] == str(pid)
    assert row["comm"] == "nettax-test"
    assert int(row["own_ns"]) > 10e6


def test_csv_of_intervals_is_one_table() -> None:
    with loop() as pid:
        run = stat("-I", "0.1", "-d", "0.5", "-p", str(pid), "--csv")
    assert run.returncode == 0
    rows = list(csv.DictReader(io.StringIO(run.stdout)))
    assert [row["pid"] for row in rows] == [str(pid)] * 5
    assert len({row["interval.start_ns"] for row in rows}) == 5


def test_histograms_count_what_the_cpus_counted() -> None:
    with python(TALKER):
        found = document("-d", "0.2", "--hist")
        text = stat("-d", "0.2", "--hist").stdout
    counted: dict[str, int] = {}
    for cpu in found["cpus"]:
        for vector, number in cpu["softirq_count"].items():
            counted[vector] = counted.get(vector, 0) + number
    assert counted["net_rx"] > 1000
    assert {
        name: sum(slots)
        for name, slots in found["histograms"].items()
        if name not in ("hardirq", "poll")
    } == {vector: number for vector, number in counted.items() if number}
    assert sum(found["histograms"]["hardirq"]) <= sum(c["hardirq_count"] for c in found["cpus"])
    assert "net_rx run time, " in text


def test_rows() -> None:
    def task_rows(*words: str) -> tuple[int, str]:
        _, tasks, *rest = stat("-d", "0.1", *words).stdout.split("\n\n")
        return len(tasks.splitlines()) - 1, rest[0]

    with loop(), loop():
        rows, note = task_rows("-n", "1")
        assert rows == 1
        assert note.endswith(" more tasks; -n sets how many are shown)")
        assert task_rows("-n", "0")[0] == 0
        assert task_rows("-n", "2")[0] == 2


def test_output_file(tmp_path: Path) -> None:
    path = tmp_path / "out"
    run = stat("-d", "0.1", "--json", "-o", path)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert json.loads(path.read_text())["schema"] == "nettax.stat/1"


def test_own_programs_are_timed_when_asked() -> None:
    assert document("-d", "0.1")["self"]["bpf_ns"] is None
    cost = document("-d", "0.1", "--time-programs")["self"]
    assert 0 < cost["bpf_ns"] < 0.1e9
    assert cost["bpf_runs"] > 0
    assert cost["cpu_ns"] > 0


HOSTILE = b"\x1b[2J\n\r\x07\xc2\x9b\xe2\x80\xaex"  # erase, newline, bell, CSI, right-to-left


def test_a_hostile_name_reaches_no_terminal() -> None:
    with loop(HOSTILE) as pid:
        selection = ("-d", "0.2", "-p", str(pid))
        text, table = stat(*selection), stat(*selection, "--csv")
        (task,) = document(*selection)["tasks"]
    for run in (text, table):
        assert run.returncode == 0
        assert not [c for c in run.stdout if not c.isprintable() and c != "\n"]
    (row,) = (line for line in text.stdout.splitlines() if str(pid) in line)
    assert row.endswith(tuple("0123456789·"))
    assert row.startswith("?[2J?")
    assert len(table.stdout.splitlines()) == 2
    assert task["comm"].encode() == HOSTILE  # data stay as they are, and JSON escapes them


# --- the command ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", 128 + 9), ("kill -TERM $$", 128 + 15)],
)
def test_the_exit_code_is_the_commands(script: str, code: int) -> None:
    run = stat("--json", "--", "sh", "-c", script)
    assert (run.returncode, run.stderr) == (code, "")
    assert [task["comm"] for task in json.loads(run.stdout)["tasks"]] == ["sh"]


def test_commands_that_cannot_run(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/sh\n")
    for command, code in ((tmp_path / "none", 127), (plain, 126), (tmp_path, 126)):
        run = stat("--", command)
        assert run.returncode == code
        (line,) = run.stderr.splitlines()
        assert line.startswith(f"nettax: cannot run {command}: ")


def test_the_commands_tree_is_followed(tmp_path: Path, eventually: Eventually) -> None:
    """Forks and execs, orphans too; and nothing else, though it runs all the while."""
    names = ["nx-child", "nx-grandchild", "nx-orphan", "nx-other"]
    sh = Path("/bin/sh").resolve()
    child, grandchild, orphan, other = (tmp_path / name for name in names)
    for path in (child, grandchild, orphan, other):
        path.symlink_to(sh)  # a process is named for the file that it was started by
    done = tmp_path / "done"
    # The orphan's parent ends at once; the command waits for what the orphan writes.
    script = f"""
    {grandchild} -c 'i=0; while [ $i -lt 5000 ]; do i=$((i+1)); done'
    ( {orphan} -c 'i=0; while [ $i -lt 5000 ]; do i=$((i+1)); done; echo > {done}' & )
    while ! [ -e {done} ]; do :; done
    """
    with subprocess.Popen([other, "-c", "while :; do :; done"]) as unrelated:
        try:
            eventually(lambda: proc_pid.comm(unrelated.pid) == "nx-other")
            found = document("--", child, "-c", script)
        finally:
            unrelated.kill()
    assert {"nx-child", "nx-grandchild", "nx-orphan"} <= {task["comm"] for task in found["tasks"]}
    assert all(task["followed"] for task in found["tasks"])
    assert unrelated.pid not in pids(found)
    assert all(task["comm"] in names for task in found["tasks"])


def test_the_command_is_counted_from_its_first_moment(tmp_path: Path) -> None:
    path = tmp_path / "out"
    run = stat("--json", "-o", path, "--", sys.executable, "-ISc", BURN)
    (task,) = json.loads(path.read_text())["tasks"]
    # It printed the scheduler's figure before it ended; before exec it waited in nettax's code.
    assert 0 <= task["billed_ns"] - int(run.stdout) < 30e6


def test_the_command_finds_the_world_as_without_nettax() -> None:
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL}
    command = ["sh", "-c", WORLD]
    bare = subprocess.run(command, capture_output=True, text=True, check=True, **options).stdout
    assert stat("-o", "/dev/null", "--", *command, **options).stdout == bare


def test_the_command_reads_standard_input() -> None:
    assert stat("-o", "/dev/null", "--", "cat", input="some words").stdout == "some words"


# --- ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("words", [(), ("-d", "100"), ("-I", "100")], ids=str)
def test_a_signal_ends_the_counting(
    number: signal.Signals, words: tuple[str, ...], eventually: Eventually
) -> None:
    with counting(*words, "--json", eventually=eventually) as process:
        sent = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
        assert time.monotonic() - sent < 1
    assert (process.returncode, err) == (0, "")
    assert json.loads(out)["schema"] == "nettax.stat/1"


def test_ctrl_c_reaches_the_command_too(eventually: Eventually) -> None:
    """A terminal sends it to the whole group."""
    with counting("--json", "--", "sleep", "100", eventually=eventually) as process:
        eventually(lambda: "sleep" in children(process.pid))
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (128 + signal.SIGINT, "")
    assert [task["comm"] for task in json.loads(out)["tasks"]] == ["sleep"]


def test_sigterm_is_passed_on_to_the_command(eventually: Eventually) -> None:
    """As timeout(1) and service managers send it: to nettax alone."""
    with counting("--json", "--", "sleep", "100", eventually=eventually) as process:
        eventually(lambda: "sleep" in children(process.pid))
        process.terminate()
        out, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (128 + signal.SIGTERM, "")
    assert [task["comm"] for task in json.loads(out)["tasks"]] == ["sleep"]


def children(pid: int) -> list[str | None]:
    """The names of a process's children."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [proc_pid.comm(int(child)) for child in listed]


def test_nobody_reads_on() -> None:
    """`nettax stat -I 0.01 | head -1`."""
    with subprocess.Popen(
        [*STAT, "-I", "0.01"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert " s on " in process.stdout.readline()
        process.stdout.close()
        assert process.wait(10) == 128 + signal.SIGPIPE
        assert process.stderr.read() == ""


@pytest.mark.parametrize("words", [(), ("-o", "/dev/full")], ids=str)
def test_a_full_disk(words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        run = subprocess.run(
            [*STAT, "-d", "0.1", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (run.returncode, run.stderr) == (1, "nettax: No space left on device\n")


@pytest.mark.parametrize(
    "words",
    [
        ("-d", "0"),
        ("-d", "-1"),
        ("-d", "soon"),
        ("-d", "nan"),
        ("-d", "inf"),
        ("-I", "0"),
        ("-n", "-1"),
        ("-C", "99999"),
        ("-C", "x"),
        ("-C", ""),
        ("-C", "3-1"),
        ("-p", "init"),
        ("-p", ""),
        ("-p", "1,"),
        ("-G", "no/such/cgroup"),
        ("-G", ""),
        ("-a", "-C", "0"),
        ("--json", "--csv"),
        ("-p", "1", "-G", "/"),
        ("-p", "1", "--", "true"),
        ("--no-such-option",),
        ("-o", "/no/such/directory/file"),
    ],
    ids=" ".join,
)
def test_requests_without_sense(
    words: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Told in one line, before anything is counted or run."""
    ran = tmp_path / "ran"
    command = () if "--" in words or "-p" in words else ("--", "touch", str(ran))
    with pytest.raises(SystemExit) as end:
        main(["stat", "-d", "5", *words, *command])
    assert end.value.code == 2
    out, err = capfd.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("nettax: ")
    assert not ran.exists()
