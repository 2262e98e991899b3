"""`nettax doctor`: what this host can measure."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

from nettax.experiment.health import health

EXAMPLES = """
\b
Examples:
  nettax doctor         what there is, what not, and what would help
  nettax doctor --json  for a script; 0 if the ledger works here, else 77
"""


@click.command(epilog=EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="One document.")
def command(as_json: bool) -> None:
    """What this host can measure, what not, why, and the exact fix.

    The ledger is loaded for a moment to see that it works. Exits with 77 if it does not.
    """
    found = health()
    if as_json:
        click.echo(json.dumps({"schema": "nettax.doctor/1", **asdict(found)}, indent=1))
    else:
        for probe in found.probes:
            mark = "✓" if probe.available else "✗" if probe.fix else "–"
            click.echo(f"{mark} {probe.name}: {probe.detail}")
            if probe.fix:
                click.echo(f"    fix: {probe.fix}")
        click.echo()
        click.echo(found.verdict)
    sys.exit(0 if found.ledger_works else 77)
