"""`nettax trace latency`: how long it takes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TextIO

import click

from nettax.cli.child import End, Gated
from nettax.cli.trace import words
from nettax.errors import Unsupported, UsageError
from nettax.functions.backends import BACKENDS, bpf_refusal, checked_name
from nettax.functions.chains import CHAINS
from nettax.functions.kprobe_events import may_be_written
from nettax.functions.latency import Latency
from nettax.functions.triggers import Triggers
from nettax.host import Host
from nettax.kernel.features import require_host_pids
from nettax.report.trace import Cost, Traced, document, text

BY = ("pid", "cgroup", "arg", "arg1", "arg2", "arg3", "arg4", "arg5")
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
@words.duration
@click.option("--by", type=click.Choice(BY), help="Tell calls apart by this.")
@click.option(
    "--backend",
    type=click.Choice(BACKENDS),
    help="Take functions by this (else by the best that works).",
)
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
    duration: float,
    by: str | None,
    backend: str | None,
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
    names, command = words.split(targets)
    kind, argument = ("arg", int(by[3:] or 1)) if by and by.startswith("arg") else (by, 1)
    _check(names, kind, backend)
    backend = backend or _without_bpf(names)
    child = Gated(command) if command else None
    with ExitStack() as stack:
        host = stack.enter_context(Host()) if _changes_tracefs(names, backend) else None
        traces = _Traces(host, kind or "nothing", argument, backend)
        with End(child) as end:
            try:
                with traces.of(names) as tracing:
                    began = tracing.read()
                    if child:
                        child.go()
                    end.within(duration)
                    seen = tracing.read() - began
            finally:
                status = child.finish() if child else 0
        costs = _costs(names, traces, tracing.taken) if cost else {}
    traced = Traced(
        seen,
        tracing.backend,
        {name: tracing.stages(name) for name in names},
        costs,
        _namer(kind, seen.names),
        by,
    )
    told = json.dumps(document(traced), indent=1) if as_json else text(traced, rows)
    output.write(told + "\n")
    sys.exit(status)


def _check(names: Sequence[str], kind: str | None, backend: str | None) -> None:
    chains = [name for name in names if name in CHAINS]
    for name in names:
        if name not in CHAINS:
            checked_name(name)
    if kind == "arg" and (without := [c for c in chains if not CHAINS[c].argument]):
        raise UsageError(f"{without[0]} has nothing to tell apart by --by arg; --by pid does")
    if kind == "pid":
        require_host_pids()
    if backend and len(chains) == len(names):
        raise UsageError("--backend is for functions: chains are taken by tracepoints")
    if backend == "tracefs" and chains:
        raise UsageError(f"{chains[0]} takes BPF: with --backend tracefs name functions only")


def _changes_tracefs(names: Sequence[str], backend: str | None) -> bool:
    """Always by the backend of that name; by kprobes where it may be."""
    if backend in ("tracefs", "fentry"):
        return backend == "tracefs"
    return any(name not in CHAINS for name in names) and may_be_written()


def _without_bpf(names: Sequence[str]) -> str | None:
    """tracefs, where there is no BPF and it will do."""
    if any(name in CHAINS for name in names) or not bpf_refusal():
        return None
    return "tracefs" if may_be_written() else None


@dataclass(frozen=True, slots=True)
class _Traces:
    """How to trace, whatever it is."""

    host: Host | None
    by: str
    argument: int
    backend: str | None

    def of(self, names: Sequence[str], backend: str | None = None) -> Latency | Triggers:
        chains = [name for name in names if name in CHAINS]
        functions = [name for name in names if name not in CHAINS]
        if self.host and self.backend == "tracefs":
            return Triggers(self.host, functions, by=self.by, argument=self.argument)
        return Latency(
            chains,
            functions,
            by=self.by,
            argument=self.argument,
            backend=backend or self.backend,
            host=None if backend else self.host,  # a calibration has a call at a time
        )


def _costs(names: Sequence[str], traces: _Traces, taken: Mapping[str, str]) -> dict[str, Cost]:
    """By chain or function; all functions that are taken the same way cost the same."""
    from nettax.experiment.trace_cost import STIMULI

    found: dict[str, Cost | None] = {}
    for name in names:
        way = taken.get(name, name)
        if way not in found and (way in STIMULI or name in taken):
            found[way] = _chain_cost(name, traces) if name in CHAINS else _call_cost(way, traces)
    costs = {name: found.get(taken.get(name, name)) for name in names}
    return {name: cost for name, cost in costs.items() if cost}


def _chain_cost(chain: str, traces: _Traces) -> Cost | None:
    from nettax.experiment.trace_cost import added_ns

    try:
        added = added_ns(chain, lambda: traces.of([chain]))
    except (OSError, Unsupported):
        return None
    return Cost(added.median, added.low, added.high)


def _call_cost(way: str, traces: _Traces) -> Cost | None:
    from nettax.experiment.trace_cost import SMALL, added_ns, inside_ns

    try:
        added = added_ns("call", lambda: traces.of([SMALL], way))
        inside = inside_ns(lambda: traces.of([SMALL], way))
    except (OSError, Unsupported):
        return None
    return Cost(added.median, added.low, added.high, inside)


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
