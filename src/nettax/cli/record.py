"""`nettax record`: events into a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from nettax.cli.child import End, Gated
from nettax.errors import UsageError
from nettax.kernel import cpus as cpu_lists
from nettax.report.table import count

EXAMPLES = """
\b
Examples:
  nettax record -d 10               ten seconds of the whole host
  nettax record -C 2 -- make -j4    CPU 2, for as long as a command takes
"""


@click.command(epilog=EXAMPLES)
@click.option("-a", "--all-cpus", is_flag=True, help="All CPUs (the default).")
@click.option("-C", "--cpu", metavar="CPUS", help="These CPUs only: 0,2-5.")
@click.option(
    "-d",
    "--duration",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECS",
    help="Stop after so long (else at Ctrl-C, or as the command ends).",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default="nettax.events",
    metavar="FILE",
    help="Write here (nettax.events).",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite a file that is there.")
@click.argument("words", nargs=-1, metavar="[-- COMMAND …]", type=click.UNPROCESSED)
def command(
    all_cpus: bool,
    cpu: str | None,
    duration: float | None,
    output: Path,
    force: bool,
    words: tuple[str, ...],
) -> None:
    """Record each hard IRQ, softirq, NAPI poll and switch, to look at with `nettax report`.

    Records until the command ends, the duration is over, or Ctrl-C.
    """
    from nettax.events.recorder import Recorder
    from nettax.events.saving import Saving, keep_up

    if all_cpus and cpu is not None:
        raise UsageError("-a and -C exclude each other")
    chosen = None if cpu is None else cpu_lists.select(cpu)
    child = Gated(words) if words else None
    with End(child) as end:
        try:
            with Recorder(cpus=chosen) as recorder:
                saving = Saving(output, recorder, overwrite=force)
                if child:
                    child.go()
                keep_up(recorder, saving, _until(end, duration))
                facts = saving.finish()
        finally:
            status = child.finish() if child else 0
    click.echo(
        f"nettax: {output}: {count(saving.events)} events, {saving.writer.written / 1e6:.1f} MB · "
        f"lost {sum(lost[0] for lost in facts['lost'].values()) + facts['missed']} · "
        f"{time.process_time():.2f} s of CPU\nnettax report {output}",
        err=True,
    )
    sys.exit(status)


def _until(end: End, duration: float | None) -> Callable[[float], bool]:
    """Whether the end has come, or does so within a pause."""
    if duration is None:
        return end.within
    last = time.monotonic() + duration

    def within(pause: float) -> bool:
        left = last - time.monotonic()
        return end.within(min(pause, left)) or left <= pause

    return within
