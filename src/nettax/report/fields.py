"""What each column and figure means, once: for man pages, top's help, and the documentation.

Names are those that the tables print. A meaning is one plain line; what a share is of, and in
which unit, is the table's.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["TABLES", "VERB_TABLES", "Field", "Table"]


class Field(NamedTuple):
    """One column, or one figure of a line."""

    name: str
    meaning: str


class Table(NamedTuple):
    """Fields that are printed together."""

    title: str
    unit: str
    """Of all its figures, unless a field says otherwise."""
    fields: tuple[Field, ...]


_TASK = (
    Field("task", "its name; † marks one that has ended"),
    Field("pid", "its thread id: each thread is a task"),
    Field("billed", "CPU time that the kernel charged the task: what top shows"),
    Field("own", "what it got: its time on the CPU less the interrupts inside it"),
    Field("hardirq", "taken from it while it was on the CPU: by hard IRQs, IPIs included"),
    Field("net", "taken from it while it was on the CPU: by NET_RX and NET_TX softirqs"),
    Field("softirq", "taken from it while it was on the CPU: by all other softirqs"),
    Field(
        "displaced",
        "taken while it waited: ksoftirqd, a NAPI thread or an IRQ thread had its CPU",
    ),
    Field(
        "≈toll",
        "its interrupts × the calibrated cost of entering and leaving one: "
        "an estimate inside the others",
    ),
)

_CPU = (
    Field("CPU", "its number, or all together; offline if it was for a part of the time"),
    Field("idle", "the idle task, less the interrupts inside it"),
    Field("idle-irq", "interrupts and softirqs over idle: the network's cost, but nobody's loss"),
    Field("own", "what tasks got, less the interrupts inside"),
    Field("hardirq", "taken from tasks by hard IRQs, IPIs included"),
    Field("net", "taken from tasks by NET_RX and NET_TX softirqs"),
    Field("softirq", "taken from tasks by all other softirqs"),
    Field("kthread", "ksoftirqd, NAPI and IRQ threads"),
    Field(
        "residual",
        "wall time on no account. Slices join up, so it stays at zero unless a switch was lost",
    ),
    Field("≈toll", "interrupts × the calibrated cost of one: an estimate inside the others"),
    Field("steal", "the hypervisor ran somebody else: inside the others, as it reports it"),
)

_WORK = (
    Field("CPU", "its number, or all together"),
    Field("irq/s", "hard IRQs of every kind, IPIs included"),
    Field("ipi/s", "those of them that another CPU sent: RPS, wakeups, function calls"),
    Field("net_rx/s", "runs of the NET_RX softirq"),
    Field("polls/s", "NAPI polls: a driver asked for packets"),
    Field("packets/s", "work that polls told of: packets received, and what else a driver counts"),
    Field("ns/packet", "NET_RX time by packets polled in softirqs, in any task or over idle"),
    Field("squeezed/s", "NET_RX stopped with work left, its budget or its 2 ms used up"),
)

_DOUBT = (
    Field("residual", "wall time of all CPUs on no account, in %"),
    Field("lost", "events that the kernel dropped, because a program was running already"),
    Field(
        "unmatched", "events that did not fit what came before, such as an exit without an entry"
    ),
    Field("inferred", "time around switches that went untraced, divided by the scheduler's record"),
    Field("unkept", "time of tasks for which the map had no room; the CPUs' rows have it"),
    Field("nettax itself", "what the measurement cost in user space and, if timed, in the kernel"),
    Field("toll", "what entering and leaving an interrupt costs here, as canary --calibrate found"),
)

_HISTOGRAM = (
    Field("… µs …", "run times from here to twice as long, in exclusive time"),
    Field("runs", "how many there were, with a bar"),
)

_CANARY = (
    Field(
        "its own clock", "speed lost against the undisturbed reference; time in gaps, seen by TSC"
    ),
    Field("the kernel", "what the canary was billed, as utime and stime"),
    Field("the ledger", "own, stolen, displaced and ≈toll, as in nettax-stat(1)"),
    Field("gap", "gaps from this length to twice as long"),
    Field("count", "how many there were"),
    Field("% of gap time", "their share of the time in all gaps, with a bar"),
)

_CALIBRATION = (
    Field("irq/s", "how often the canary was interrupted, by IPIs of membarrier(2)"),
    Field("toll", "cost of one interrupt outside the tracepoints: gap beyond what they saw"),
    Field("interval", "of the median, at 95 % or as near as the windows allow"),
)

_OPENSSL = (
    Field("bytes", "block size"),
    Field("operations", "how many were done, in so many s"),
    Field("idle op/s", "per second, when the reference was kept"),
    Field("now op/s", "per second, now"),
    Field("in s", "time that openssl divided by"),
    Field("of s", "time that it was asked to run"),
    Field("lost %", "1 − now / idle"),
)

_DEMO = (
    Field("condition", "none, a light, a heavy flow, or packets dear enough to wake ksoftirqd"),
    Field("billed", "what the kernel charged the canary"),
    Field("own", "what the ledger says it got"),
    Field("stolen", "what interrupts and softirqs took while it was on the CPU"),
    Field("displaced", "what it waited for while ksoftirqd had its CPU"),
    Field("waited", "what it waited for while other tasks had its CPU"),
    Field("toll", "interrupts × the cost of one, calibrated just before"),
    Field("loss", "what it lost by its own clock"),
    Field("residual", "loss − (stolen + displaced + waited + toll), beyond the idle neighbours"),
    Field("without toll", "the same without the toll"),
)

_FLOW = (
    Field("condition", "as above"),
    Field("sent/s", "packets sent to the canary's CPU"),
    Field("ns/packet", "NET_RX time by packets"),
    Field("irq/s", "hard IRQs on the canary's CPU"),
    Field("unbooked %", "of the CPU's time on no account of the ledger"),
)

_PROBE = (
    Field("✓", "this host has it"),
    Field("✗", "it lacks, and the next line tells how to get it"),
    Field("–", "it lacks, and nettax does without"),
)

_BURSTS = (
    Field("bursts", "a burst: an interrupt with the softirqs that follow it, NET_RX among them"),
    Field("NET_RX run time", "of each such softirq, without the hard IRQs inside it"),
    Field("packets per poll", "work that a NAPI poll told of"),
    Field("packets per NET_RX", "the same of all polls of one softirq"),
    Field("NET_RX per burst", "softirqs in a row, until there is no work left or time is up"),
    Field("gap after a burst", "until the next interrupt or softirq on that CPU"),
    Field("IRQ to NET_RX", "from where the hard IRQ began to where NET_RX did"),
    Field("raise to NET_RX", "from where NET_RX was raised to where it began"),
)

_RUNNERS = (
    Field("NET_RX run by", "irq_exit, bh_enable (a system call's own), ksoftirqd; unknown: inline"),
    Field("runs", "how many softirqs"),
    Field("% of time", "of all time in NET_RX softirqs"),
    Field("time", "the same as a time, without the hard IRQs inside"),
    Field("packets", "polled in them"),
    Field("a packet", "time by packets"),
)

TABLES = {
    "tasks": Table("Tasks", "% of one CPU", _TASK),
    "cpus": Table("CPUs", "% of its time", _CPU),
    "work": Table("Work", "per second", _WORK),
    "doubt": Table("Footer", "% of all CPUs' time, or a count", _DOUBT),
    "histogram": Table("Histograms", "run time, log2", _HISTOGRAM),
    "canary": Table("Canary", "% of wall time", _CANARY),
    "calibration": Table("Calibration", "µs", _CALIBRATION),
    "openssl": Table("openssl speed", "operations", _OPENSSL),
    "demo": Table("Conditions", "% of wall time: median of the runs [interval]", _DEMO),
    "flow": Table("Flows", "median of the runs", _FLOW),
    "bursts": Table("Bursts", "over the recording", _BURSTS),
    "runners": Table("Who ran NET_RX", "over the recording", _RUNNERS),
    "probes": Table("Probes", "a mark, a name, what was found", _PROBE),
}

# What each verb prints, in its order.
VERB_TABLES = {
    "stat": ("tasks", "cpus", "work", "histogram", "doubt"),
    "top": ("tasks", "cpus", "work", "doubt"),
    "report": ("tasks", "cpus", "work", "histogram", "bursts", "runners"),
    "canary": ("canary", "calibration", "openssl"),
    "demo": ("demo", "flow"),
    "doctor": ("probes",),
}
