"""What `nettax top` costs: how soon its first frame is there, and its CPU time at one second.

Budgets: the first frame in 0.7 s from exec; 2 % of one CPU, with 2,000 tasks too.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.text import ratio
from nettax.experiment.estimate import Estimate, median
from nettax.kernel import proc_pid
from nettax.report.table import table

__all__ = ["TopCost", "text", "top_cost"]

RUNS = 20
WARM_UP_S, WATCHED_S = 4.0, 60.0
TASKS = 2000
SLEEPERS = Path(__file__).with_name("sleepers.py")
NETTAX = (sys.executable, "-m", "nettax", "top")
SIZES = ((80, 24), (200, 60))
LAST_WORDS = b"quit"  # of a frame: its last line


@dataclass(frozen=True, slots=True)
class Running:
    """A minute of it."""

    load: str
    size: tuple[int, int]
    share: float
    """CPU time, of one CPU."""
    rss_bytes: int


@dataclass(frozen=True, slots=True)
class TopCost:
    """The result."""

    first_s: Estimate
    """From exec to the whole first frame, which shows an interval."""
    slowest_s: float
    running: tuple[Running, ...]


def top_cost(repeats: int = RUNS, progress: Callable[[str], None] = lambda _: None) -> TopCost:
    """Start it `repeats` times; then watch it for a minute under each load, at each size."""
    progress("top: first frame")
    firsts = []
    for _ in range(repeats):
        with _Terminal((80, 24)) as terminal:
            firsts.append(terminal.until(LAST_WORDS))
    running = []
    for load in ("idle", "churn", "active"):
        for size in SIZES:
            progress(f"top: {TASKS} tasks, {load}, {size[0]}×{size[1]}")
            with _tasks(load):
                running.append(_watch(load, size))
    return TopCost(median(firsts), max(firsts), tuple(running))


class _Terminal:
    """`nettax top` in a pseudo-terminal, whose output is read and forgotten."""

    def __init__(self, size: tuple[int, int]) -> None:
        environment = {**os.environ, "TERM": "xterm-256color"}
        for name in ("NO_COLOR", "PYTHONDONTWRITEBYTECODE"):
            environment.pop(name, None)
        go, gate = os.pipe()
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.read(go, 1)
            os.execve(NETTAX[0], NETTAX, environment)  # noqa: S606
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        self._start = time.perf_counter()
        os.write(gate, b".")
        os.close(go)
        os.close(gate)

    def until(self, words: bytes) -> float:
        """Seconds from exec until these have been written."""
        seen = b""
        while words not in seen:
            seen += os.read(self._fd, 1 << 16)
        return time.perf_counter() - self._start

    def read_for(self, seconds: float) -> None:
        """Take what it writes."""
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            if select.select([self._fd], [], [], left)[0]:
                os.read(self._fd, 1 << 16)

    def __enter__(self) -> _Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._fd, b"q")
        with suppress(OSError):  # the terminal ends with its last user
            while os.read(self._fd, 1 << 16):
                pass
        os.waitpid(self.pid, 0)
        os.close(self._fd)


def _watch(load: str, size: tuple[int, int]) -> Running:
    with _Terminal(size) as terminal:
        terminal.read_for(WARM_UP_S)
        before, start = proc_pid.task_stat(terminal.pid), time.perf_counter()
        terminal.read_for(WATCHED_S)
        after, seconds = proc_pid.task_stat(terminal.pid), time.perf_counter() - start
        pages = int(Path(f"/proc/{terminal.pid}/statm").read_text().split()[1])
    assert before is not None
    assert after is not None
    share = (after.billed_ns - before.billed_ns) / 1e9 / seconds
    return Running(load, size, share, pages * os.sysconf("SC_PAGE_SIZE"))


@contextmanager
def _tasks(load: str) -> Iterator[None]:
    """2,000 threads: asleep; asleep, beside processes that come and go; each woken twice a s."""
    command = [sys.executable, "-IS", str(SLEEPERS), str(TASKS)]
    churn = ["sh", "-c", "while :; do /bin/true; sleep 0.02; done"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as sleepers:
        assert sleepers.stdin is not None
        assert sleepers.stdout is not None
        sleepers.stdout.readline()
        wake = ["sh", "-c", "while echo; do sleep 0.5; done"]
        others = {"churn": churn, "active": wake}
        out = sleepers.stdin if load == "active" else None
        other = subprocess.Popen(others[load], stdout=out) if load in others else None
        try:
            with other or nullcontext():
                yield
                if other:
                    other.kill()
        finally:
            sleepers.kill()


def text(result: TopCost) -> str:
    """The first frame, and a table."""
    rows = [
        [
            f"{TASKS} {running.load}",
            f"{running.size[0]}×{running.size[1]}",
            f"{100 * running.share:.2f}",
            f"{running.rss_bytes / 1e6:.0f}",
            "yes" if running.share <= 0.02 else "no",
        ]
        for running in result.running
    ]
    first = result.first_s
    return "\n\n".join(
        (
            f"First frame of top: {ratio(first)} s from exec, the slowest of {first.n} "
            f"{result.slowest_s:.3f} s; budget 0.7 s",
            f"Then, an interval a second, over {WATCHED_S:.0f} s each:",
            table(["tasks", "size", "% of CPU", "RSS MB", "≤ 2 %"], rows, left=2),
        )
    )
