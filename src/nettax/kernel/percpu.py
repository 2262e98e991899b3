"""Where a BPF program finds what a CPU's own variables tell.

Which softirqs it is about to run, and how many of what the kernel has counted there.
"""

from __future__ import annotations

from nettax.kernel import vmlinux

__all__ = ["count_offsets", "trigger_offsets"]


def trigger_offsets() -> dict[str, int]:
    """The constants of bpf/percpu.h; empty where the trigger cannot be told.

    On x86 both words are per-CPU: in variables of their own since 6.15, together in `pcpu_hot`
    from 6.2 on, before that in `__preempt_count` and `irq_stat` (arch/x86/include/asm/preempt.h,
    current.h, hardirq.h). Elsewhere the preempt count is the task's.
    """
    runqueues = vmlinux.percpu_offsets().get("runqueues")
    preempt_count = _percpu_word("__preempt_count", "pcpu_hot.preempt_count")
    pending = _percpu_word(
        "__softirq_pending", "pcpu_hot.softirq_pending", "irq_stat.__softirq_pending"
    )
    if runqueues is None or preempt_count is None or pending is None:
        return {}
    return {
        "has_percpu_offsets": 1,
        "runqueues_offset": runqueues,
        "preempt_count_offset": preempt_count,
        "softirq_pending_offset": pending,
    }


def count_offsets() -> dict[str, int]:
    """The constants of bpf/record/counts.h; empty where not all are known.

    Each is incremented just beside its tracepoint: `softirqs` in handle_softirqs (kernel/
    softirq.c), `nr_switches` in __schedule (kernel/sched/core.c), `processed` in
    __netif_receive_skb_core (net/core/dev.c), there once more for each VLAN tag taken off.
    """
    places = {
        "softirqs_offset": ("kstat", "kernel_stat", "softirqs"),
        "switches_offset": ("runqueues", "rq", "nr_switches"),
        "packets_offset": ("softnet_data", "softnet_data", "processed"),
    }
    found = {}
    for constant, (variable, struct, member) in places.items():
        start = vmlinux.percpu_offsets().get(variable)
        inside = vmlinux.member_offset(struct, member)
        if start is None or inside is None:
            return {}
        found[constant] = start + inside
    return {"has_counts_offsets": 1, **found} if trigger_offsets() else {}


def _percpu_word(*places: str) -> int | None:
    """The offset of the first of these that the kernel has: `variable`, or `variable.member`."""
    types = {"pcpu_hot": "pcpu_hot", "irq_stat": "irq_cpustat_t"}
    for place in places:
        variable, _, member = place.partition(".")
        start = vmlinux.percpu_offsets().get(variable)
        inside = vmlinux.member_offset(types[variable], member) if member else 0
        if start is not None and inside is not None:
            return start + inside
    return None
