"""`nettax stat`: the ledger over an interval, or over a command."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TextIO

import click

from nettax.errors import UsageError
from nettax.kernel import cpus as cpu_lists
from nettax.kernel.cgroup import Cgroups
from nettax.ledger import Interval, Ledger, Reading, TaskShare, Toll
from nettax.report.interval import by_taken, document, tasks_csv, text

EXAMPLES = """
\b
Examples:
  nettax stat -d 10                 ten seconds of the whole host
  nettax stat -C 0,2-5 -I 1         CPUs 0 and 2 to 5, a table every second
  nettax stat -p 1234 --json        one process, until Ctrl-C
  nettax stat -- make -j4           a command and all that it starts
"""


@click.command(epilog=EXAMPLES, context_settings={"ignore_unknown_options": False})
@click.option("-a", "--all-cpus", is_flag=True, help="All CPUs (the default).")
@click.option("-C", "--cpu", metavar="CPUS", help="These CPUs only: 0,2-5.")
@click.option("-p", "--pid", metavar="PID,…", help="Show these processes only.")
@click.option("-G", "--cgroup", metavar="PATH", help="Show this cgroup and those below it only.")
@click.option("-d", "--duration", type=click.FloatRange(min=0, min_open=True), metavar="SECS")
@click.option(
    "-I", "--interval", type=click.FloatRange(min=0.01), metavar="SECS", help="Report this often."
)
@click.option("-n", "--rows", type=click.IntRange(min=0), default=15, help="Tasks shown (15).")
@click.option("--hist", is_flag=True, help="Run times of hard IRQs, softirqs and NAPI polls, log2.")
@click.option("--time-programs", is_flag=True, help="Have the kernel time nettax's own programs.")
@click.option("--json", "as_json", is_flag=True, help="One document; with -I, one a line.")
@click.option("--csv", "as_csv", is_flag=True, help="The tasks, one a line.")
@click.option(
    "-o", "--output", type=click.File("w"), default="-", help="Write here, not to stdout."
)
@click.argument("words", nargs=-1, metavar="[-- COMMAND …]", type=click.UNPROCESSED)
def command(
    all_cpus: bool,
    cpu: str | None,
    pid: str | None,
    cgroup: str | None,
    duration: float | None,
    interval: float | None,
    rows: int,
    hist: bool,
    time_programs: bool,
    as_json: bool,
    as_csv: bool,
    output: TextIO,
    words: tuple[str, ...],
) -> None:
    """Who paid for the network: tasks by what was taken from them, CPUs, and what is left over.

    Counts until the command ends, the duration is over, or Ctrl-C. billed is what the kernel
    charged the task, own what it got; hardirq, net and softirq were taken from it while it was
    on the CPU, displaced while it waited for one that ksoftirqd, a NAPI or an IRQ thread had.
    """
    if all_cpus and cpu:
        raise UsageError("-a and -C exclude each other")
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other")
    selected = _selection(pid, cgroup, bool(words))

    def show(counted: Interval) -> None:
        tasks = by_taken(filter(selected, counted.tasks))
        if as_json:
            output.write(json.dumps(document(counted, tasks), indent=None if interval else 1))
        elif as_csv:
            output.write(tasks_csv(tasks))
        else:
            output.write(text(counted, tasks, rows))
        output.write("\n")
        output.flush()

    child = _Gated(words) if words else None
    ledger = Ledger(
        cpus=cpu_lists.select(cpu) if cpu else None,
        follow=child.pid if child else None,
        histograms=hist,
        time_programs=time_programs,
        toll=Toll.load(),
    )
    try:
        with ledger, _interrupted() as stop:
            _count(ledger, duration, interval, child, stop, show)
    finally:
        status = child.finish() if child else 0
    sys.exit(status)


def _count(
    ledger: Ledger,
    duration: float | None,
    interval: float | None,
    child: _Gated | None,
    stop: Callable[[], bool],
    show: Callable[[Interval], None],
) -> None:
    """Read at the ends of the interval, or of each interval, and show the differences."""
    last: Reading = ledger.began
    start = time.monotonic()
    end = start + duration if duration else None
    if child:
        child.go()
    tick = start
    while True:
        tick = min(filter(None, (tick + (interval or 1), end)))
        while (left := tick - time.monotonic()) > 0 and not stop():
            if child and child.ended(min(left, 0.05)):
                break
            if not child:
                time.sleep(left)
        over = stop() or (end and tick >= end) or (child and child.ended(0))
        if over:
            break
        if interval:
            reading = ledger.read()
            show(reading - last)
            last = reading
        else:
            ledger.reap()
    show(ledger.finish() - last)


def _selection(pid: str | None, cgroup: str | None, followed: bool) -> Callable[[TaskShare], bool]:
    """Which tasks to show, from the options."""
    if sum((bool(pid), bool(cgroup), followed)) > 1:
        raise UsageError("-p, -G and a command exclude each other")
    if followed:
        return lambda task: task.followed
    if pid:
        try:
            pids = {int(word) for word in pid.split(",")}
        except ValueError:
            raise UsageError(f"-p takes process ids, such as 12 or 12,15; not {pid!r}") from None
        return lambda task: task.tgid in pids or task.pid in pids
    if cgroup:
        cgroups = Cgroups()
        top = cgroups.path(cgroups.resolve(cgroup)) or "/"
        below = top.rstrip("/") + "/"
        return lambda task: task.cgroup is not None and (task.cgroup + "/").startswith(below)
    return lambda task: True


@contextmanager
def _interrupted() -> Iterator[Callable[[], bool]]:
    """Ctrl-C ends the counting, not the program: a function that tells whether it came."""
    came = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: came
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class _Gated:
    """A command that is there, with its pid, but starts only when told to."""

    def __init__(self, words: tuple[str, ...]) -> None:
        # The pid must be known before the command runs, so that its first event is counted.
        gate, self._gate = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._gate)
            if not os.read(gate, 1):  # nettax ended before it could count
                os._exit(1)
            try:
                os.execvp(words[0], words)  # noqa: S606
            except OSError as error:
                sys.stderr.write(f"nettax: cannot run {words[0]}: {error.strerror}\n")
                os._exit(127 if isinstance(error, FileNotFoundError) else 126)
        os.close(gate)
        self._pidfd = os.pidfd_open(self.pid)

    def go(self) -> None:
        os.write(self._gate, b".")

    def ended(self, within: float) -> bool:
        """Whether the command has ended, or does so within this many seconds."""
        return bool(select.select([self._pidfd], [], [], within)[0])

    def finish(self) -> int:
        """Wait for the command's end; its exit code as a shell gives it."""
        os.close(self._gate)
        os.close(self._pidfd)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return code if code >= 0 else 128 - code
