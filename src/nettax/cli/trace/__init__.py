"""`nettax trace`: kernel functions and chains of events."""

from __future__ import annotations

import importlib

import click

__all__ = ["command"]

VERBS = {
    "latency": "How long calls of a function, or chains of events, take.",
    "graph": "What a function calls, and where its time goes.",
    "explain": "Whether a symbol can be probed, why not, and what to probe instead.",
    "list": "Functions that can be traced.",
}
EXAMPLES = """
\b
Examples:
  nettax trace latency workqueue -d 10      work items: queued, begun, done
  nettax trace latency kthread_create_on_node -- modprobe dummy
  nettax trace graph tcp_sendmsg -d 1       what it calls, and where time goes
  nettax trace explain kthread_run          a macro: what to probe instead
  nettax trace list 'tcp_*'                 functions that can be traced
"""


class Verbs(click.Group):
    """Its commands are modules of this package, imported when used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        home = "listing" if name == "list" else name  # `list` is a type's name
        module = importlib.import_module(f"nettax.cli.trace.{home}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=Verbs, epilog=EXAMPLES)
def command() -> None:
    """Look into the kernel's functions: how long they take, what they call, and why not.

    Chains of events (`workqueue`, `softirq`, `fork`, `kthread`, `tcp-read`) are taken by
    tracepoints, which any kernel with BTF has. Functions need a kernel that lets itself be probed;
    where this one does not, `nettax lab vm run` has one that does.
    """
