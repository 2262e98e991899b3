"""`nettax demo`: the founding experiment, on this machine."""

from __future__ import annotations

import json

import click

from nettax.cli.progress import progress
from nettax.experiment.calibration import calibrate
from nettax.experiment.demo import demo
from nettax.host.privilege import require
from nettax.report.demo import document, text

EXAMPLES = """
\b
Examples:
  nettax demo                       the table, and what was seen in words
  nettax demo -r 9 --json > a.json  nine rounds, every run of them
  nettax demo --seed 1234           in the order of an earlier run
"""


@click.command(epilog=EXAMPLES)
@click.option("-r", "--repeat", type=click.IntRange(min=1), default=5, help="Rounds (5).")
@click.option(
    "-d", "--duration", type=click.FloatRange(min=0.1), default=1.0, help="Seconds a window (1)."
)
@click.option("--seed", type=int, help="Repeat the order of an earlier run.")
@click.option("--json", "as_json", is_flag=True, help="One document, every run in it.")
def command(repeat: int, duration: float, seed: int | None, as_json: bool) -> None:
    """See it: what top says a program got, what it got, and who took the rest.

    Two network namespaces, a veth pair and a canary are made on this host and removed again; no
    traffic leaves it. Needs root and two CPUs, and takes about 75 seconds, of which 25
    calibrate the toll.
    """
    require("CAP_SYS_ADMIN", "make network namespaces")  # before the calibration, not after it
    # Afresh each time: what an interrupt costs in a virtual machine moves with its neighbours.
    toll = calibrate(progress=progress("calibrating the toll of an interrupt")).kept()
    toll.save()
    result = demo(toll, rounds=repeat, window_s=duration, seed=seed, progress=progress("measuring"))
    click.echo(json.dumps(document(result), indent=1) if as_json else text(result))
