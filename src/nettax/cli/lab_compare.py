"""`nettax lab vm compare`: two settings of a server in the kernel, by their instructions."""

from __future__ import annotations

import json

import click

EXAMPLES = """
\b
Examples:
  nettax lab vm compare mode=kthread mode=workqueue
  nettax lab vm compare kernel=6.1 kernel=6.12
  nettax lab vm compare net.ipv4.tcp_sack=0 net.ipv4.tcp_sack=1
  nettax lab vm compare --both kernel=6.12,mode=workqueue nodelay=0 default
  nettax lab vm compare module=./mine module=./changed --operation connection
"""


@click.command(epilog=EXAMPLES)
@click.option("--both", metavar="WORDS", default="", help="What A and B have in common.")
@click.option(
    "--operation",
    "operations",
    multiple=True,
    type=click.Choice(["connection", "round-trip", "request"]),
    help="Count this only; may be given several times.",
)
@click.option(
    "--count",
    metavar="N",
    type=click.IntRange(50, 10_000),
    default=500,
    show_default=True,
    help="Operations of each kind that are counted each time.",
)
@click.option(
    "-r",
    "--repeat",
    metavar="N",
    type=click.IntRange(3, 100),
    default=4,
    show_default=True,
    help="How often each is counted, in guests of its own or, of one kernel, both in one.",
)
@click.option("--smoke", is_flag=True, help="Try whether it works: 200 connections, three times.")
@click.option("--json", "as_json", is_flag=True, help="One document.")
@click.argument("a")
@click.argument("b")
def compare(
    both: str,
    operations: tuple[str, ...],
    count: int,
    repeat: int,
    smoke: bool,
    as_json: bool,
    a: str,
    b: str,
) -> None:
    """Compare a server in the kernel under A and under B, in instructions.

    A and B are words with commas between them: kernel=6.12 is the guest's kernel, module=DIR the
    sources of the server (nettax's own), a name with a dot a sysctl, any other NAME=VALUE a
    parameter of the module (see nettax kmod load). default adds nothing.

    Counted are the instructions of a connection, of a round trip on one and of an HTTP request, the
    client's included; and where they differ, the functions of the kernel that make the difference.
    """
    from nettax.experiment import exact
    from nettax.experiment.exact_setting import setting
    from nettax.report import exact as report

    common = setting(both)
    if smoke:
        operations, count, repeat = operations or ("connection",), 200, 3
    guests_a, guests_b, found = exact.compare(
        setting(a, common),
        setting(b, common),
        operations=operations,
        count=count,
        repeat=repeat,
        progress=lambda what: click.echo(f"nettax: {what}", err=True),
    )
    if as_json:
        made = report.document(guests_a, guests_b, count, found)
        click.echo(json.dumps(made, indent=1))
    else:
        click.echo(report.text(guests_a, guests_b, found))
