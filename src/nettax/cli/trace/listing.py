"""`nettax trace list`: functions that can be traced."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator

import click

from nettax.errors import MissingFeature, NettaxError
from nettax.kernel.ftrace import Traceable, traceable
from nettax.kernel.kallsyms import Kallsyms

EXAMPLES = """
\b
Examples:
  nettax trace list 'tcp_*'
  nettax trace list --module veth
"""


def functions() -> tuple[list[Traceable], str | None]:
    """What can be traced; where the kernel does not tell, all code, and why."""
    try:
        return list(traceable()), None
    except NettaxError as error:
        code = Kallsyms.read().code()
        return [Traceable(symbol.name, symbol.module) for symbol in code], str(error)


@click.command(epilog=EXAMPLES)
@click.option("--module", metavar="NAME", help="Those of this module only.")
@click.argument("pattern", default="*", required=False)
def command(module: str | None, pattern: str) -> None:
    """Functions that ftrace can trace, by a pattern of the shell's: `*`, `?`, `[…]`.

    One a line, with its module in brackets, as available_filter_functions has them. Where the
    kernel refuses to tell, all its code is listed instead, and standard error says so.
    """
    found, refusal = functions()
    if refusal:
        click.echo(f"nettax: {refusal}\nSo this is all code that kallsyms has.", err=True)
    if module and not any(home == _underscored(module) for _, home in found):
        raise MissingFeature(
            f"no function is of a module {module}: it is not loaded, or built into the kernel.\n"
            "Those that are loaded: lsmod"
        )
    for line in _matching(found, module, pattern):
        click.echo(line)


def _matching(found: list[Traceable], module: str | None, pattern: str) -> Iterator[str]:
    matches = re.compile(fnmatch.translate(pattern)).match
    wanted = _underscored(module) if module else None
    for name, home in found:
        if matches(name) and (wanted is None or home == wanted):
            yield f"{name} [{home}]" if home else name


def _underscored(module: str) -> str:
    """A module's name as the kernel has it."""
    return module.replace("-", "_")
