"""`nettax stat`: the ledger over an interval, or over a command."""

from __future__ import annotations

import itertools
import json
import math
import sys
import time
from collections.abc import Callable
from typing import TextIO

import click

from nettax.cli.child import End, Gated
from nettax.cli.selection import Selected, selection
from nettax.errors import UsageError
from nettax.kernel import cpus as cpu_lists
from nettax.kernel import proc_pid
from nettax.kernel.features import sees_host_pids
from nettax.ledger import Interval, Ledger, Reading, Toll
from nettax.report.interval import Payers, by_taken, document, payers_csv, text

MOST_SECONDS = 10**9
BY = ("process", "cgroup", "workload")
REAP_S = 1.0  # how often to make room for new tasks
EXAMPLES = """
\b
Examples:
  nettax stat -d 10                 ten seconds of the whole host
  nettax stat -C 0,2-5 -I 1         CPUs 0 and 2 to 5, a table every second
  nettax stat --irqs -d 10          and interrupts by queue
  nettax stat --by workload -d 10   by container, unit and session
  nettax stat -p 1234 --json        one process, until Ctrl-C
  nettax stat -- make -j4           a command and all that it starts
"""


@click.command(epilog=EXAMPLES, context_settings={"ignore_unknown_options": False})
@click.option("-a", "--all-cpus", is_flag=True, help="All CPUs (the default).")
@click.option("-C", "--cpu", metavar="CPUS", help="These CPUs only: 0,2-5.")
@click.option("-p", "--pid", metavar="PID,…", help="Show these processes only.")
@click.option("-G", "--cgroup", metavar="PATH", help="Show this cgroup and those below it only.")
@click.option(
    "-d",
    "--duration",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECS",
    help="Stop after so long (else at Ctrl-C, or as the command ends).",
)
@click.option(
    "-I", "--interval", type=click.FloatRange(min=0.01), metavar="SECS", help="Report this often."
)
@click.option("--by", type=click.Choice(BY), help="Add tasks up by this.")
@click.option("-n", "--rows", type=click.IntRange(min=0), default=15, help="Rows shown (15).")
@click.option("--irqs", is_flag=True, help="Interrupts by IRQ: which queue's, how many, how long.")
@click.option("--hist", is_flag=True, help="Run times of hard IRQs, softirqs and NAPI polls, log2.")
@click.option("--time-programs", is_flag=True, help="Have the kernel time nettax's own programs.")
@click.option("--json", "as_json", is_flag=True, help="One document; with -I, one a line.")
@click.option("--csv", "as_csv", is_flag=True, help="The tasks or groups, one a line.")
@click.option(
    "-o",
    "--output",
    type=click.File("w", lazy=False),  # before anything is counted that could not be written
    default="-",
    help="Write here, not to stdout.",
)
@click.argument("words", nargs=-1, metavar="[-- COMMAND …]", type=click.UNPROCESSED)
def command(
    all_cpus: bool,
    cpu: str | None,
    pid: str | None,
    cgroup: str | None,
    duration: float | None,
    interval: float | None,
    by: str | None,
    rows: int,
    irqs: bool,
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
    if all_cpus and cpu is not None:
        raise UsageError("-a and -C exclude each other")
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other")
    for option, seconds in (("-d", duration), ("-I", interval)):
        if seconds is not None and not seconds <= MOST_SECONDS:  # a NaN, too
            raise UsageError(f"{option} takes at most {MOST_SECONDS} seconds")
    selected = selection(pid, cgroup, bool(words))
    chosen = None if cpu is None else cpu_lists.select(cpu)
    header = True

    def show(counted: Interval) -> None:
        nonlocal header
        payers = _payers(counted, selected, by)
        if as_json:
            indent = None if interval else 1
            output.write(json.dumps(document(counted, payers, by), indent=indent) + "\n")
        elif as_csv:
            output.write(payers_csv(counted, payers, header))
            header = header and not payers
        else:
            output.write(text(counted, payers, rows, irqs) + "\n")
        output.flush()

    child = Gated(words) if words else None
    ledger = Ledger(
        cpus=chosen,
        follow=child.pid if child else None,
        histograms=hist,
        time_programs=time_programs,
        toll=Toll.load(),
    )
    with End(child) as end:
        try:
            with ledger:
                if child:
                    child.go()
                _count(ledger, duration, interval, end, show)
        finally:
            status = child.finish() if child else 0
    sys.exit(status)


def _payers(interval: Interval, selected: Selected, by: str | None) -> Payers:
    if by is None:
        return by_taken(filter(selected, interval.tasks))
    from nettax.ledger.groups import by_cgroup, by_process, by_workload, group_rows

    tasks = filter(selected, interval.charges)
    if by == "process":
        found = by_process(tasks, proc_pid.comm if sees_host_pids() else lambda pid: None)
    else:
        found = {"cgroup": by_cgroup, "workload": by_workload}[by](tasks)
    return by_taken(group_rows(found, interval))


def _count(
    ledger: Ledger,
    duration: float | None,
    interval: float | None,
    end: End,
    show: Callable[[Interval], None],
) -> None:
    """Read at the ends of the interval, or of each interval, and show the differences."""
    last: Reading = ledger.began
    start = time.monotonic()
    step = interval or duration or MOST_SECONDS
    # Intervals are counted: a sum of floats misses the end by a hair, and adds one of nothing.
    most = max(1, math.ceil(duration / step - 1e-9)) if duration else None
    for number in itertools.count(1):
        due = start + (duration if duration and number == most else number * step)
        while (left := due - time.monotonic()) > REAP_S and not end.within(REAP_S):
            ledger.reap()
        if end.within(left) or number == most:
            break
        if interval:
            reading = ledger.read()
            show(reading - last)
            last = reading
    show(ledger.finish() - last)
