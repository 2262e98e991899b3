"""`nettax lab vm compare`: two settings of the server in the kernel, by their instructions."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from nettax.report.table import table


@click.command()
@click.option("--kernel", metavar="KERNEL", default="6.1", show_default=True, help="Of both.")
@click.option(
    "--count",
    metavar="N",
    type=click.IntRange(10, 100_000),
    default=500,
    show_default=True,
    help="Connections, and round trips, that are counted in a guest.",
)
@click.option(
    "-r",
    "--repeat",
    metavar="N",
    type=click.IntRange(2, 100),
    default=2,
    show_default=True,
    help="Guests for each setting.",
)
@click.option("--json", "as_json", is_flag=True, help="One document.")
@click.argument("a")
@click.argument("b")
def compare(kernel: str, count: int, repeat: int, as_json: bool, a: str, b: str) -> None:
    """Compare settings A and B of the server in the kernel, in instructions.

    A and B are parameters of `nettax kmod load`, NAME=VALUE, with commas between them;
    kernel=6.12 among them is the guest's kernel. The client's instructions are part of each figure.
    """
    from nettax.experiment import exact

    found = exact.compare(
        exact.setting(a, kernel),
        exact.setting(b, kernel),
        count=count,
        repeat=repeat,
        progress=lambda text: click.echo(f"nettax: {text}", err=True),
    )
    if as_json:
        rows = [
            {**asdict(one), "ratio": one.ratio, "spread": one.spread, "differs": one.differs}
            for one in found
        ]
        document = {"schema": "nettax.lab.compare/1", "a": a, "b": b, "instructions": rows}
        click.echo(json.dumps(document, indent=1))
        return
    lines = [
        [
            one.operation,
            f"{sum(one.a) / repeat:,.0f}",
            f"{sum(one.b) / repeat:,.0f}",
            f"{one.ratio:.3f}" if one.differs else "no difference",
            f"{one.spread:.2%}",
        ]
        for one in found
    ]
    click.echo(table(["instructions per", a, b, "A / B", "repeats within"], lines))
