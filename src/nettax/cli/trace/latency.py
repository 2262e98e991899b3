"""`nettax trace latency`: how long it takes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import TextIO

import click

from nettax.cli.child import End, Gated
from nettax.cli.trace.words import split
from nettax.errors import Unsupported, UsageError
from nettax.functions.backends import checked_name, require_kprobes
from nettax.functions.chains import CHAINS
from nettax.functions.latency import Latency, stages_of
from nettax.kernel.features import require_host_pids
from nettax.report.trace import Cost, Traced, document, text

BY = ("pid", "cgroup", "arg", "arg1", "arg2", "arg3", "arg4", "arg5")
FOREVER = 10**9
# include/linux/interrupt.h
SOFTIRQS = ("HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED")
EXAMPLES = """
\b
Examples:
  nettax trace latency workqueue -d 10
  nettax trace latency softirq --by arg -d 5
  nettax trace latency tcp-read --by pid -- curl -s http://localhost/
  nettax trace latency vfs_read vfs_write --by pid -d 5
"""


@click.command(epilog=EXAMPLES)
@click.option(
    "-d",
    "--duration",
    type=click.FloatRange(min=0, min_open=True, max=FOREVER),
    metavar="SECS",
    help="Stop after so long (else at Ctrl-C, or as the command ends).",
)
@click.option("--by", type=click.Choice(BY), help="Tell calls apart by this.")
@click.option("-n", "--rows", type=click.IntRange(min=1), default=15, help="Groups shown (15).")
@click.option("--cost/--no-cost", default=True, help="Calibrate what tracing adds (0.5 s).")
@click.option("--json", "as_json", is_flag=True, help="One document.")
@click.option(
    "-o",
    "--output",
    type=click.File("w", lazy=False),
    default="-",
    help="Write here, not to stdout.",
)
@click.argument("targets", nargs=-1, required=True, metavar="FUNC… [-- COMMAND …]")
@click.pass_context
def command(
    context: click.Context,
    duration: float | None,
    by: str | None,
    rows: int,
    cost: bool,
    as_json: bool,
    output: TextIO,
    targets: tuple[str, ...],
) -> None:
    """How long each call of a kernel function, or each run of a chain of events, takes.

    Chains: workqueue (a work item queued, begun, done), softirq (raised, begun, done), fork (to
    the child's first run), kthread (a kernel thread asked for, had), tcp-read (data received, its
    reader woken, read). Counted in the kernel; time running and time waiting are told apart.
    """
    names, command = split(targets)
    chains = [name for name in names if name in CHAINS]
    functions = [checked_name(name) for name in names if name not in CHAINS]
    for function in functions:
        require_kprobes(function)
    kind, argument = ("arg", int(by[3:] or 1)) if by and by.startswith("arg") else (by, 1)
    if kind == "arg" and (without := [c for c in chains if not CHAINS[c].argument]):
        raise UsageError(f"{without[0]} has nothing to tell apart by --by arg; --by pid does")

    if kind == "pid":
        require_host_pids()

    def tracer() -> Latency:
        return Latency(chains, functions, by=kind or "nothing", argument=argument)

    child = Gated(command) if command else None
    with End(child) as end:
        try:
            with tracer() as tracing:
                began = tracing.read()
                if child:
                    child.go()
                end.within(duration or FOREVER)
                seen = tracing.read() - began
        finally:
            status = child.finish() if child else 0
    costs = _costs([*chains, *functions], kind) if cost else {}
    traced = Traced(
        seen,
        tracing.backend,
        {name: stages_of(name) for name in names},
        costs,
        _namer(kind, seen.names),
        by,
    )
    told = json.dumps(document(traced), indent=1) if as_json else text(traced, rows)
    output.write(told + "\n")
    sys.exit(status)


def _costs(names: list[str], kind: str | None) -> dict[str, Cost]:
    from nettax.experiment.trace_cost import STIMULI, added_ns, system_call

    costs = {}
    for name in names:
        stimulus = name if name in CHAINS else "call"
        if stimulus not in STIMULI:
            continue
        probed = ([name], []) if name in CHAINS else ([], [system_call()])
        try:
            added = added_ns(stimulus, lambda: Latency(*probed, by=kind or "nothing"))  # noqa: B023
        except (OSError, Unsupported):
            continue
        costs[name] = Cost(added.median, added.low, added.high)
    return costs


def _namer(kind: str | None, processes: Mapping[int, str]) -> Callable[[str, int], str]:
    """How groups are called."""
    if kind == "pid":
        return lambda chain, group: f"{processes.get(group, '?')} {group}"
    if kind == "cgroup":
        from nettax.kernel.cgroup import Cgroups

        cgroups = Cgroups()
        return lambda chain, group: cgroups.path(group) or f"cgroup {group}, gone"
    if kind != "arg":
        return lambda chain, group: ""
    from nettax.kernel.kallsyms import Kallsyms

    symbols: list[Kallsyms] = []

    def name(chain: str, group: int) -> str:
        if chain == "softirq":
            return {8: "HRTIMER", 9: "RCU"}.get(group) or SOFTIRQS[group]
        if chain == "tcp-read":
            return f"port {group}"
        if chain == "workqueue":
            if not symbols:
                symbols.append(Kallsyms.read())
            return symbols[0].name_at(group) or f"{group:#x}"
        return f"{group:#x}" if group >> 16 else str(group)

    return name
