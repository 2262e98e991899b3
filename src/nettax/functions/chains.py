"""The chains of kernel events whose times can be taken with tracepoints alone.

Tracepoints work where a kernel refuses to have its functions probed, cost a few ns themselves, and
are there under the same names for years.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CHAINS", "FUNCTION_STAGES", "Chain"]

FUNCTION_STAGES = ("call", "running", "waiting")
_SWITCH = ("sched_switch", "sched_process_exit")


class Chain(NamedTuple):
    """A chain of events, from its first to its last; its stages are timed, too."""

    title: str
    stages: tuple[str, ...]
    """The whole first. As enum workqueue_stage and its like in bpf/latency.h."""
    tracepoints: tuple[str, ...]
    process: str
    """Whose process or cgroup a call is of, with --by."""
    argument: str
    """What --by arg tells apart; empty: nothing."""
    functions: tuple[str, ...]
    """The kernel's functions whose work the chain covers."""


# In the order of enum chain.
CHAINS = {
    "workqueue": Chain(
        "work items, from queued to done",
        ("queued to done", "queued to begun", "call", "running", "waiting"),
        ("workqueue_queue_work", "workqueue_execute_start", "workqueue_execute_end", *_SWITCH),
        "who queued it",
        "the work's function",
        ("queue_work_on", "process_one_work", "__queue_work"),
    ),
    "softirq": Chain(
        "softirqs, from raised to done",
        ("raised to done", "raised to begun", "call"),
        ("softirq_raise", "softirq_entry", "softirq_exit"),
        "whom it interrupted, or ksoftirqd",
        "the vector",
        ("handle_softirqs", "__do_softirq", "net_rx_action"),
    ),
    "fork": Chain(
        "new tasks, from forked to first run",
        ("forked to run", "forked to woken", "woken to run"),
        ("sched_process_fork", "sched_wakeup_new", *_SWITCH),
        "the parent",
        "",
        ("kernel_clone", "copy_process", "wake_up_new_task"),
    ),
    "kthread": Chain(
        "kernel threads, from asked for to had",
        (
            "asked to had",
            "asked to forked",
            "forked to run",
            "run to reported",
            "reported to had",
        ),
        ("sched_waking", "sched_process_fork", "sched_wakeup_new", *_SWITCH),
        "who asked for it",
        "",
        ("kthread_create_on_node", "__kthread_create_on_node", "create_kthread"),
    ),
    "tcp-read": Chain(
        "TCP data, from received to read",
        ("received to read", "received to woken", "woken to running", "running to read"),
        ("tcp_probe", "sched_waking", "tcp_rcv_space_adjust", "inet_sock_set_state", *_SWITCH),
        "the reader",
        "the local port",
        ("tcp_rcv_established", "tcp_recvmsg", "sock_def_readable"),
    ),
}
