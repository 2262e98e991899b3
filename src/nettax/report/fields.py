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

_GROUP = (
    Field("process", "named as its main thread, with its process id"),
    Field("group", "a cgroup's path; a workload's name: a container, unit, session …"),
    Field("kind", "cgroup, or of a workload: docker, kubernetes, service …"),
    Field("tasks", "threads of it that ran or waited"),
)

_LIVE = (
    Field("taken", "hardirq + net + softirq + displaced: what networking and interrupts cost it"),
    Field("waited", "runnable, but not running: displaced is a part of it"),
    Field("of", "the container, virtual machine, unit or session that the task's cgroup is"),
    Field("tasks", "threads of the group that ran or waited"),
    Field("vcpu", "on-CPU time of a virtual machine's vCPU threads"),
    Field("emulator", "on-CPU time of its other threads"),
    Field("vhost", "on-CPU time of its vhost threads, wherever they run"),
    Field("time", "what a row got, and what was taken from it, as a bar of one CPU or more"),
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
    Field("ns/packet", "NET_RX time by packets polled in softirqs; a dot where it hardly polls"),
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
    Field(
        "the ledger",
        "own, stolen, displaced, waited for other tasks, and ≈toll, as in nettax-stat(1)",
    ),
    Field("gap", "gaps from this length to twice as long"),
    Field("count", "how many there were"),
    Field("% of gap time", "their share of the time in all gaps, with a bar"),
)

_CALIBRATION = (
    Field("irq/s", "how often the canary was interrupted, by IPIs of membarrier(2)"),
    Field("toll", "cost of one interrupt outside the tracepoints: gap beyond what they saw"),
    Field("interval", "of the median, at 95 % or as near as the windows allow"),
)

_WORKING_SET = (
    Field("size", "of the memory that it reads; 0 computes instead"),
    Field("lost", "of its undisturbed speed, in all"),
    Field("direct", "time taken from it, by its own clock"),
    Field("shared", "slower because of the other CPU: in the control, which does all the work"),
    Field("indirect", "slower still when the network's work is done on its CPU: cold caches"),
    Field("µs/irq", "the indirect cost of one interrupt that hit it, in its own time"),
    Field("ns/turn", "how long a turn of 16 reads takes when the host is idle"),
    Field("ledger", "stolen + waited + toll, which is what direct ought to be"),
    Field("direct−ledger", "how far the two methods are apart, in points"),
    Field("irq/s", "hard IRQs on its CPU"),
    Field("pkt/s", "packets sent to its CPU"),
    Field("control %", "time taken from it in the control, which ought to be none"),
    Field("control pkt/s", "packets sent in the control, which ought to be as many"),
)

_WATCH = (
    Field("time", "of day; all: since the start"),
    Field("CPU", "where this canary is"),
    Field("taken %", "share of the bursts' time in gaps"),
    Field("±", "its error at 95 %, from how the bursts differ"),
    Field("ledger %", "what the ledger booked for the same task: stolen, and the toll"),
    Field("apart", "taken − ledger, in points: the hypervisor, and waits within a burst"),
    Field("lost %", "taken, beyond what --idle found when this CPU was quiet"),
    Field("late µs", "from when a burst was due to its first turn: timer, wake-up, waiting"),
    Field("bursts", "how many there were, of 1 ms each"),
    Field("cost %", "what the canary had of its CPU"),
    Field("!", "surely above --alert: its whole interval is"),
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

_LATENCY = (
    Field("stage", "of the chain: the whole first; of a function: call, running, waiting"),
    Field("count", "calls that ended in the time traced"),
    Field("mean", "of them; exact, as are least, most and in all"),
    Field("least", "the shortest"),
    Field("p50", "half took no longer; known to 1.6 %, as are p90 and p99"),
    Field("p90", "nine of ten took no longer"),
    Field("p99", "all but one in a hundred took no longer"),
    Field("most", "the longest"),
    Field("in all", "their sum: with concurrent calls more than the time traced"),
    Field("running", "of a call, the time that its task was on a CPU, interrupts included"),
    Field("waiting", "of a call, the time that its task was off the CPU"),
    Field("pid", "--by pid: whose process; cgroup and arg likewise"),
    Field("unmatched", "ends whose begin was not seen: before the trace, or never traced"),
    Field("abandoned", "begins whose end cannot come any more: cancelled, closed, not traced"),
    Field("no room", "calls that found none in the tracer's maps"),
    Field("too deep", "calls beyond 16 of one task within one another"),
    Field("missed", "probes that the kernel skipped"),
)

_GRAPH = (
    Field("count", "calls of the function, from where it stands in the tree"),
    Field("total", "time in them, interrupts taken out; sleep too, but with --sleeping"),
    Field("self", "of it what no traced function below had"),
    Field("median", "of a call"),
    Field("lost", "events for which the kernel's buffer had no room"),
    Field("cut", "calls of which only the begin or the end was seen"),
)

TABLES = {
    "tasks": Table("Tasks", "% of one CPU", _TASK),
    "groups": Table("Tasks added up (--by)", "% of one CPU", _GROUP),
    "live": Table("Besides", "% of one CPU", _LIVE),
    "cpus": Table("CPUs", "% of its time", _CPU),
    "work": Table("Work", "per second", _WORK),
    "doubt": Table("Footer", "% of all CPUs' time, or a count", _DOUBT),
    "histogram": Table("Histograms", "run time, log2", _HISTOGRAM),
    "canary": Table("Canary", "% of wall time", _CANARY),
    "calibration": Table("Calibration", "µs", _CALIBRATION),
    "working-set": Table(
        "Working set", "% of its undisturbed speed: median of the rounds [interval]", _WORKING_SET
    ),
    "canary-watch": Table("Watch", "% of the bursts' time", _WATCH),
    "openssl": Table("openssl speed", "operations", _OPENSSL),
    "demo": Table("Conditions", "% of wall time: median of the runs [interval]", _DEMO),
    "flow": Table("Flows", "median of the runs", _FLOW),
    "bursts": Table("Bursts", "over the recording", _BURSTS),
    "runners": Table("Who ran NET_RX", "over the recording", _RUNNERS),
    "latency": Table("Latency", "a time with its unit, or a count", _LATENCY),
    "graph": Table("Call tree", "a time with its unit, or a count", _GRAPH),
    "probes": Table("Probes", "a mark, a name, what was found", _PROBE),
}

# What each verb prints, in its order.
VERB_TABLES = {
    "stat": ("tasks", "groups", "cpus", "work", "histogram", "doubt"),
    "top": ("tasks", "cpus", "work", "live", "doubt"),
    "report": ("tasks", "cpus", "work", "histogram", "bursts", "runners"),
    "canary": ("canary", "calibration", "openssl", "working-set", "canary-watch"),
    "demo": ("demo", "flow"),
    "trace": ("latency", "graph"),
    "doctor": ("probes",),
}
