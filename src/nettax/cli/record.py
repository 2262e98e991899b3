"""`nettax record`: events into a file."""

from __future__ import annotations

import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import click

from nettax.cli.child import End, Gated
from nettax.errors import MissingFeature, NettaxError, UsageError
from nettax.kernel import cpus as cpu_lists
from nettax.report.table import count

MEMORY = 64 << 20  # bytes that --last keeps, if not told otherwise

EXAMPLES = """
\b
Examples:
  nettax record -d 10               ten seconds of the whole host
  nettax record -C 2 -- make -j4    CPU 2, for as long as a command takes
  nettax record --filter 'udp port 53' -d 60
  nettax record --last 10s --when 'theft > 30%' -o slow
"""


class Amount(click.ParamType[float]):
    """A number with a unit: ms, s, min of time; B, K, M, G (powers of 1024) of memory."""

    UNITS: ClassVar = {
        "s": {"ms": 1e-3, "s": 1.0, "min": 60.0, "": 1.0},
        "B": {"": 1.0, "B": 1.0, "K": 2.0**10, "M": 2.0**20, "G": 2.0**30},
    }

    def __init__(self, unit: str) -> None:
        self.name = {"s": "time", "B": "size"}[unit]
        self._units = self.UNITS[unit]

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([A-Za-z]*)", value)
        if not match or match[2] not in self._units or not float(match[1]):
            units = ", ".join(filter(None, self._units))
            self.fail(f"{value!r} is no {self.name}: a number and one of {units}", param, ctx)
        return float(match[1]) * self._units[match[2]]


@click.command(epilog=EXAMPLES)
@click.option("-a", "--all-cpus", is_flag=True, help="All CPUs (the default).")
@click.option("-C", "--cpu", metavar="CPUS", help="These CPUs only: 0,2-5.")
@click.option("--iface", metavar="DEVICE", help="Polls and packets of this device only.")
@click.option("--packets", is_flag=True, help="Each packet received, too.")
@click.option(
    "--filter",
    "packet_filter",
    metavar="EXPRESSION",
    help="Only packets that match, as in tcpdump: 'udp port 53'. Implies --packets.",
)
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
@click.option(
    "--last",
    type=Amount("s"),
    metavar="TIME",
    help="Keep the last so long (10s) in memory; write at the end, or on SIGUSR1.",
)
@click.option(
    "--memory",
    type=Amount("B"),
    metavar="SIZE",
    help="With --last: at most so much (64M).",
)
@click.option(
    "--when",
    metavar="CONDITION",
    help="With --last: write, too, when 'theft > 30%' of a CPU's time over a second.",
)
@click.option(
    "--buffer",
    type=Amount("B"),
    default="16M",
    metavar="SIZE",
    help="Room for events of each CPU until they are fetched: a power of two (16M).",
)
@click.argument("words", nargs=-1, metavar="[-- COMMAND …]", type=click.UNPROCESSED)
def command(
    all_cpus: bool,
    cpu: str | None,
    iface: str | None,
    packets: bool,
    packet_filter: str | None,
    duration: float | None,
    output: Path,
    force: bool,
    last: float | None,
    memory: float | None,
    when: str | None,
    buffer: float,
    words: tuple[str, ...],
) -> None:
    """Record each hard IRQ, softirq, NAPI poll and switch, to look at with `nettax report`.

    Records until the command ends, the duration is over, or Ctrl-C. With --last it records into
    memory, and writes what it has then, on SIGUSR1, or when the --when comes true.
    """
    if all_cpus and cpu is not None:
        raise UsageError("-a and -C exclude each other")
    for option, value in (("--when", when), ("--memory", memory)):
        if value is not None and last is None:
            raise UsageError(f"{option} goes with --last: give both")
    if output.exists() and not force:
        raise NettaxError(f"{output} is there already: -f overwrites it")
    try:
        from nettax.events.flight import Flight, threshold
        from nettax.events.recorder import Recorder
        from nettax.events.saving import Saving, keep_up
    except ModuleNotFoundError as error:
        raise MissingFeature(
            f"{error.name} is missing, which recordings need: pip install 'nettax[events]'"
        ) from error
    limit = None if when is None else threshold(when)
    recorder = Recorder(
        cpus=None if cpu is None else cpu_lists.select(cpu),
        interface=iface,
        packets=packets,
        packet_filter=packet_filter,
        ring_bytes=int(buffer),
    )
    flight = None
    if last is not None:
        flight = Flight(recorder, output, last, int(memory or MEMORY), force, limit)
        signal.signal(signal.SIGUSR1, flight.ask)
    child = Gated(words) if words else None
    with End(child) as end:
        try:
            with recorder:
                sink: Flight | Saving = flight or Saving(output, recorder, overwrite=force)
                if child:
                    child.go()
                keep_up(recorder, sink, _until(end, duration))
                facts, written = sink.finish()
        finally:
            status = child.finish() if child else 0
    _tell(written, facts)
    sys.exit(status)


def _tell(written: Sequence[Path], facts: Mapping[str, Any]) -> None:
    from nettax.events.native_file import untraced
    from nettax.report.replay import untraced_text

    lost = sum(lost[0] for lost in facts["lost"].values()) + facts["missed"]
    hidden = untraced_text(untraced(facts))
    megabytes = sum(path.stat().st_size for path in written) / 1e6
    click.echo(
        f"nettax: {count(facts['events'])} events, lost {lost}{hidden and f', {hidden}'}; "
        f"{megabytes:.1f} MB in {', '.join(map(str, written))}\n"
        f"nettax itself: {time.process_time():.2f} s of CPU in user space\n"
        f"See it: nettax report {shlex.quote(str(written[-1]))}",
        err=True,
    )


def _until(end: End, duration: float | None) -> Callable[[float], bool]:
    """Whether the end has come, or does so within a pause."""
    if duration is None:
        return end.within
    last = time.monotonic() + duration

    def within(pause: float) -> bool:
        left = last - time.monotonic()
        return end.within(min(pause, left)) or left <= pause

    return within
