"""`nettax trace explain`: can it be probed, and what instead."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from nettax.cli.trace.kernel import this_kernel
from nettax.functions.backends import kprobe_refusal
from nettax.functions.explain import explain
from nettax.report.explain import text

EXAMPLES = """
\b
Examples:
  nettax trace explain kthread_run
  nettax trace explain --headers /usr/src/linux-headers-6.1.0-56-amd64 queue_work
"""


@click.command(epilog=EXAMPLES)
@click.option(
    "--headers",
    metavar="DIR",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Look for definitions here: unpacked headers, or a module's sources.",
)
@click.option("--json", "as_json", is_flag=True, help="One document.")
@click.argument("symbols", nargs=-1, required=True, metavar="SYMBOL…")
def command(headers: tuple[Path, ...], as_json: bool, symbols: tuple[str, ...]) -> None:
    """Whether a symbol can be probed, by what evidence not, and what to probe instead.

    A function, one that the compiler renamed or inlined, a macro, a static inline, notrace, on the
    kprobe blacklist, in a module that is not loaded, data, or unknown. From a macro or an inline
    the calls are followed to functions that can be probed: each step is shown with its place, for
    what a definition calls is not always called.
    """
    kernel = this_kernel(headers)
    found = [explain(symbol, kernel) for symbol in symbols]
    refusal = kprobe_refusal()
    if as_json:
        document = {
            "schema": "nettax.explain/1",
            "kprobes_refused": refusal,
            "symbols": [asdict(each) for each in found],
        }
        click.echo(json.dumps(document, indent=1))
        return
    for each in found:
        click.echo(text(each))
    if refusal:
        click.echo(f"\n{refusal}.\nIn a kernel that has them: nettax lab vm run -- nettax trace …")
