"""`nettax trace graph`: what a function calls."""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import click

from nettax.cli.child import End, Gated
from nettax.cli.trace import words
from nettax.errors import MissingFeature, UsageError
from nettax.functions.graph import fold
from nettax.functions.tracer import GraphTracer, require_graph
from nettax.host import Host
from nettax.report.graph import document, flame_graph, text
from nettax.report.trace import Cost

EXAMPLES = """
\b
Examples:
  nettax trace graph tcp_sendmsg -d 1
  nettax trace graph kthread_create_on_node --depth 3 --svg out.svg -- modprobe pktgen
"""


@click.command(epilog=EXAMPLES)
@words.duration
@click.option("--depth", type=click.IntRange(min=1), help="Calls within calls, at most.")
@click.option("--only", metavar="FUNC,…", help="Trace only these below it, which is cheaper.")
@click.option("--sleeping", is_flag=True, help="Count the time off the CPU, too.")
@click.option("--svg", metavar="FILE", type=click.Path(path_type=Path), help="A flame graph, too.")
@click.option("-n", "--rows", type=click.IntRange(min=1), default=60, help="Rows shown (60).")
@click.option("--cost/--no-cost", default=True, help="Calibrate what tracing adds.")
@click.option("--json", "as_json", is_flag=True, help="One document.")
@click.argument("function", nargs=-1, required=True, metavar="FUNC [-- COMMAND …]")
def command(
    duration: float,
    depth: int | None,
    only: str | None,
    sleeping: bool,
    svg: Path | None,
    rows: int,
    cost: bool,
    as_json: bool,
    function: tuple[str, ...],
) -> None:
    """What a function calls, folded over its calls: how often, and where the time goes.

    total is of all its calls, self of it what no function below it had, median that of a call.
    Interrupts that fell into them are taken out. The kernel's function_graph tracer is armed for
    this function alone, and left as it was found.
    """
    names, command = words.split(function)
    if len(names) != 1:
        raise UsageError("name one function")
    below = only.split(",") if only else []
    require_graph([*names, *below])
    child = Gated(command) if command else None
    status = 0
    with Host() as host, End(child) as end:
        tracer = GraphTracer(
            host,
            names[0],
            depth=depth or 0,
            only=below,
            sleeping=sleeping,
        )
        try:
            with tracer:
                if child:
                    child.go()
                until = time.monotonic() + duration

                def over(seconds: float) -> bool:
                    return end.within(seconds) or time.monotonic() > until

                tree = fold(names[0], tracer.lines(over))
        finally:
            status = child.finish() if child else 0
        added = _added(host) if cost else None
    if svg:
        svg.write_text(flame_graph(tree))
    told = json.dumps(document(tree, added), indent=1) if as_json else text(tree, rows, added)
    click.echo(told)
    sys.exit(status)


def _added(host: Host) -> Cost | None:
    """What tracing adds to a call of one function; None where the one to try cannot be traced."""
    from nettax.experiment.trace_cost import added_ns, system_calls

    for name in system_calls():
        with suppress(MissingFeature):
            found = added_ns("call", partial(GraphTracer, host, name, only=[name]), rounds=6)
            return Cost(found.median, found.low, found.high)
    return None
