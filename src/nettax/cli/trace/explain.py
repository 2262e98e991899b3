"""`nettax trace explain`: can it be probed, and what instead."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from nettax.cli.trace.kernel import this_kernel
from nettax.functions.backends import in_the_lab, kprobe_refusal
from nettax.functions.explain import explain
from nettax.report.explain import text

EXAMPLES = """
\b
Examples:
  nettax trace explain kthread_run
  nettax trace explain --headers 6.12 queue_work
  nettax trace explain --headers ~/mymodule my_helper
"""


@click.command(epilog=EXAMPLES)
@click.option(
    "--headers",
    metavar="DIR|KERNEL",
    multiple=True,
    help="Look for definitions here: headers, a module's sources; or Debian's of 6.1, 6.12.",
)
@click.option("--json", "as_json", is_flag=True, help="One document.")
@click.argument("symbols", nargs=-1, required=True, metavar="SYMBOL…")
def command(headers: tuple[str, ...], as_json: bool, symbols: tuple[str, ...]) -> None:
    """Whether a symbol can be probed, by what evidence not, and what to probe instead.

    A function, one that the compiler renamed or inlined, a macro, a static inline, notrace, on the
    kprobe blacklist, in a module that is not loaded, data, or unknown. From a macro or an inline
    the calls are followed to functions that can be probed: each step is shown with its place, for
    what a definition calls is not always called.
    """
    kernel = this_kernel(headers, lambda line: click.echo(f"nettax: {line}", err=True))
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
        words = " ".join(["trace explain", *symbols])
        click.echo(f"\n{refusal}.\nIn a kernel that has them: {in_the_lab(words)}")
