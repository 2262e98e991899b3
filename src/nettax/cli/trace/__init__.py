"""`nettax trace`: kernel functions and chains of events."""

from __future__ import annotations

import click

from nettax.cli.verbs import Verbs

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
  nettax trace latency kthread_create_on_node -- modprobe pktgen
  nettax trace graph tcp_sendmsg -d 1       what it calls, and where time goes
  nettax trace explain kthread_run          a macro: what to probe instead
  nettax trace list 'tcp_*'                 functions that can be traced
"""


@click.group(
    cls=Verbs,
    package=__name__,
    verbs=VERBS,
    homes={"list": "listing"},  # `list` is a type's name
    epilog=EXAMPLES,
)
def command() -> None:
    """Look into the kernel's functions: how long they take, what they call, and why not.

    Chains of events (`workqueue`, `softirq`, `fork`, `kthread`, `tcp-read`) are taken by
    tracepoints, which any kernel with BTF has. Functions need a kernel that lets itself be probed;
    where this one does not, `nettax lab vm run` has one that does.
    """
