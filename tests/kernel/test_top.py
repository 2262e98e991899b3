"""`nettax top` as its users run it: in a terminal that is real, and into pipes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.kernel.terminal import Terminal, terminal

from nettax.canary import Canary
from nettax.host import Host
from nettax.kernel import cpus, proc_pid
from nettax.lab import Testbed
from nettax.ledger import Ledger
from nettax.report.interval import by_taken, text
from nettax.tui.batch import frame_text
from nettax.tui.model import Model
from nettax.tui.moment import Moments

pytestmark = pytest.mark.needs_root
TOP = [sys.executable, "-m", "nettax", "top"]
FIRST = ("residual", "q quit")
Eventually = Callable[[Callable[[], object]], None]


def top(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "80"}
    return subprocess.run(
        [*TOP, *words], capture_output=True, text=True, timeout=60, check=False, env=environment
    )


def nettax_in(shown: Terminal, eventually: Eventually) -> int:
    """The pid of `nettax top` in a terminal."""
    found: list[int] = []

    def look() -> bool:
        found[:] = [
            pid
            for pid in proc_pid.pids()
            if (stat := proc_pid.task_stat(pid)) is not None
            and stat.ppid == shown.pid()
            and "top" in (proc_pid.cmdline(pid) or ())
        ]
        return bool(found)

    eventually(look)
    return found[0]


# --- text ----------------------------------------------------------------------------------------


def test_once() -> None:
    run = top("--once", "-I", "0.2", "--rows", "3")
    assert (run.returncode, run.stderr) == (0, "")
    lines = run.stdout.splitlines()
    assert re.match(r"\d\d:\d\d:\d\d  0\.2\d\d s on \d+ CPUs, of which", lines[0])
    assert lines[1].split()[:5] == ["task", "pid", "billed", "own", "taken"]
    assert lines[-1].startswith("residual ")
    assert all(len(line) <= 80 for line in lines[1:])


@pytest.mark.parametrize("view", ["processes", "workloads", "cgroups", "machines", "cpus"])
def test_every_view_as_text(view: str) -> None:
    run = top("--once", "-I", "0.1", "-v", view)
    assert (run.returncode, run.stderr) == (0, "")
    assert "residual" in run.stdout


def test_batch_is_so_many_frames_without_textual() -> None:
    code = (
        "import sys; sys.argv = ['nettax', 'top', '-b', '-n', '2', '-I', '0.1']\n"
        "from nettax.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print([m for m in sys.modules if m.partition('.')[0] in ('textual', 'rich')])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    *frames, modules = run.stdout.splitlines()
    assert len([line for line in frames if line.startswith("residual")]) == 2
    assert modules == "[]"


def test_a_duration_ends_it() -> None:
    run = top("-b", "-I", "0.1", "-d", "0.3")
    assert run.stdout.count("residual ") == 3


@pytest.mark.parametrize(("mode", "frames"), [("--once", 1), ("--batch", 2)])
def test_the_last_interval_is_what_is_left(mode: str, frames: int) -> None:
    duration = "0.3" if mode == "--once" else "1.3"
    run = top(mode, "-d", duration)
    assert (run.returncode, run.stdout.count("residual ")) == (0, frames)


def test_nobody_reads_on() -> None:
    with subprocess.Popen([*TOP, "-b", "-I", "0.1"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 128 + signal.SIGPIPE


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_frames(number: int) -> None:
    with subprocess.Popen([*TOP, "-b", "-I", "0.1"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        process.stdout.read()
        assert process.wait(30) == 128 + number


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "not a terminal"),
        (("--once", "--batch"), "--once is --batch -n 1"),
        (("-n", "3"), "give --batch as well"),
        (("-b", "-s", "nope"), "takes a column of tasks"),
        (("-b", "-I", "nan"), "at most"),
        (("-b", "-C", "999"), "not online"),
        (("-b", "-p", "1", "-G", "/"), "exclude each other"),
        (("-b", "-a", "-C", "0"), "exclude each other"),
        (("-b", "-v", "nope"), "nope"),
    ],
)
def test_requests_without_sense(words: tuple[str, ...], told: str) -> None:
    run = top(*words)
    assert run.returncode == 2
    assert told in run.stderr
    assert "Traceback" not in run.stderr


def test_without_textual_it_says_what_to_install() -> None:
    code = (
        "import os, pty, sys\n"
        "sys.modules['textual'] = None\n"
        "from nettax.cli import main\n"
        "main(['top'])"
    )
    with subprocess.Popen(
        ["script", "-qec", f'{sys.executable} -c "{code}"', "/dev/null"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TERM": "xterm"},
    ) as process:
        told, _ = process.communicate(timeout=30)
    assert "nettax top needs textual: pip install 'nettax[tui]'" in told
    assert process.returncode == 1


# --- a terminal ----------------------------------------------------------------------------------


def test_a_walk_through_it() -> None:
    with terminal(["-I", "0.2"]) as shown:
        lines = shown.wait(*FIRST, "1 tasks")
        assert lines[3].split()[0] == "task"
        for width, height in ((200, 60), (20, 5), (100, 30), (80, 24)):
            shown.resize(width, height)
            shown.wait("resid" if width > 60 else "res")
        shown.keys("6")
        shown.wait("squeezed/s")
        shown.keys("?")
        shown.wait("Keys", "sort the other way round")
        shown.keys("Escape")
        shown.wait("Keys", gone=True)  # else a terminal takes the next key for one with Alt
        shown.keys("1", "/")
        shown.wait("filter:")
        shown.keys("p", "y", "Enter")
        shown.wait("filter: py", "python")  # that is nettax itself, which runs in each interval
        shown.keys("Down", "Enter")
        shown.wait("of one CPU", "stolen by")
        shown.keys("Space")
        shown.wait("PAUSED")
        shown.keys("Space")
        shown.wait("PAUSED", gone=True)
        shown.keys("q")
        lines = shown.wait("status 0")
        assert "Traceback" not in "\n".join(lines)


def test_without_colours() -> None:
    for setting in ("NO_COLOR=1", "TERM=vt220"):
        with terminal(["-I", "0.2", "-v", "cpus"], setting=setting) as shown:
            shown.wait(*FIRST)
            assert re.search(r"[hnsk·]{2}", "".join(shown.screen()[1:8]))
            drawn = shown.tmux("capture-pane", "-p", "-e")
            assert not re.search(r"\x1b\[[\d;]*\b(3[0-7]|9[0-7]|4[0-7]|38)\b[\d;]*m", drawn)


@pytest.mark.parametrize("term", ["", "dumb"])
def test_a_terminal_that_cannot_be_drawn_on(term: str) -> None:
    with terminal([], setting=f"TERM={term}") as shown:
        shown.wait("TERM does not name", "status 2")


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        *(pytest.param(other, marks=pytest.mark.full) for other in (signal.SIGTERM, signal.SIGHUP)),
    ],
)
def test_signals_leave_the_terminal_as_it_was(number: int, eventually: Eventually) -> None:
    with terminal(["-I", "0.2"]) as shown:
        shown.wait(*FIRST)
        os.kill(nettax_in(shown, eventually), number)
        shown.wait(f"status {128 + number}")


def test_ctrl_z_and_back() -> None:
    with terminal(["-I", "0.2"]) as shown:
        shown.wait(*FIRST)
        shown.keys("C-z")
        shown.wait("Stopped", "status 147")
        shown.keys("Enter")
        shown.wait(*FIRST, "1 tasks", "billed")  # the title, the heading, the keys
        shown.keys("q")
        shown.wait("status 147", "status 0")


def test_killed_it_leaves_nothing_on_the_host(eventually: Eventually) -> None:
    with terminal(["-I", "0.2"]) as shown:
        shown.wait(*FIRST)
        os.kill(nettax_in(shown, eventually), signal.SIGKILL)
        shown.wait("status 137")
    assert subprocess.run(
        [sys.executable, "-m", "nettax", "undo"], capture_output=True, text=True, check=True
    ).stdout in ("", "nothing to undo\n")


def test_tasks_that_come_and_go() -> None:
    churn = "import subprocess\nwhile True: subprocess.run(['/bin/true'])"
    with (
        subprocess.Popen([sys.executable, "-ISc", churn]) as process,
        terminal(["-I", "0.1"]) as shown,
    ):
        try:
            shown.wait(*FIRST, "true†")
            shown.keys("/", "t", "r", "u", "e", "Enter")
            shown.keys("Down", "Enter")
            shown.wait("has ended")
            shown.keys("q")
            shown.wait("status 0")
        finally:
            process.kill()


# --- a known answer ------------------------------------------------------------------------------


def figures(shown: str, name: str) -> dict[str, float]:
    """The figures of the row of this task in a text frame, by column."""
    lines = shown.splitlines()
    head = next(line.split() for line in lines if line.startswith("task "))
    row = next(line.split() for line in lines if line.startswith(name))
    return {
        column: 0.0 if value == "·" else float(value)
        for column, value in zip(head[1:], row[1:], strict=True)
    }


@pytest.mark.skipif(len(cpus.online()) < 2, reason="one CPU sends, another receives")
def test_a_canarys_theft_as_stat_tells_it(host: Host) -> None:
    """The same reading behind both faces: the same figures, and the theft in its column."""
    here, there = cpus.online()[:2]
    with (
        Testbed(host, steer=there) as bed,
        Canary(there, "gap") as canary,
        bed.udp(200_000, cpu=here, burst=4),
        Ledger() as ledger,
    ):
        before = canary.read()
        time.sleep(1)
        clock = canary.read() - before
        interval = ledger.finish() - ledger.began
    model = Model()
    model.feed(Moments().of(interval))
    by_top = figures(frame_text(model, 80, None), "nettax-canary")
    by_stat = figures(text(interval, by_taken(interval.tasks), 9999), "nettax-canary")
    columns = ("billed", "own", "hardirq", "net", "softirq", "displaced")
    assert {c: by_top[c] for c in columns} == {c: by_stat[c] for c in columns}
    assert by_top["net"] > by_top["hardirq"] + by_top["softirq"]
    assert by_top["taken"] == pytest.approx(sum(by_top[c] for c in columns[2:]), abs=0.25)
    # Its own clock says so, too: what was taken while it ran is less than all its gaps.
    assert by_top["hardirq"] + by_top["net"] + by_top["softirq"] < 100 * clock.gap_share + 3


BOOT = b"\xeb\xfe".ljust(510, b"\0") + b"\x55\xaa"  # a boot sector: jmp to itself


@pytest.mark.full
def test_a_real_virtual_machine(tmp_path: Path, eventually: Eventually) -> None:
    """A guest that spins, emulated: its vCPU has the time, and the machine has its name."""
    name, disk = "nettax-guest", tmp_path / "disk"
    disk.write_bytes(BOOT.ljust(1 << 20, b"\0"))
    with subprocess.Popen(
        [
            *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-nodefaults", "-m", "32"),
            *("-display", "none", "-name", f"guest={name},debug-threads=on"),
            *("-drive", f"file={disk},format=raw"),
        ]
    ) as guest:

        def spins() -> bool:
            stats = [proc_pid.schedstat(guest.pid, tid) for tid in proc_pid.threads(guest.pid)]
            return any(stat is not None and stat.cpu_ns > 1e9 for stat in stats)

        try:
            eventually(spins)
            told = top("--once", "-I", "1", "-v", "machines").stdout
        finally:
            guest.kill()
    lines = told.splitlines()
    row = next(line.split() for line in lines if line.startswith(name[:9]))
    machine = dict(zip(lines[1].split(), row, strict=True))
    assert float(machine["vcpu"]) > 20
    assert float(machine["own"]) >= 0.5 * float(machine["vcpu"])
