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

_IRQS = (
    Field("irq", "its number in /proc/interrupts, or the name there: LOC, RES, CAL …"),
    Field("name", "what it is for, by its handler: a NIC's queue, a disk's; or in words"),
    Field("CPUs", "those that it interrupted"),
    Field("irq/s", "how often, on all of them"),
    Field("ns/irq", "in the handler, on average"),
    Field("%", "of one CPU, in the handler"),
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

_COMPARED = (
    Field("instructions per", "the operation: a connection, a round trip on one, a request on one"),
    Field("A", "the mean of its repetitions, client and both sides in the kernel"),
    Field("B", "the same under B"),
    Field("A / B", "their ratio"),
    Field("repeats within", "how far repetitions of one setting are apart, the worse of the two"),
    Field(
        "difference", "how much one is above the other, with its 99.9 % interval; or what is not"
    ),
)
_COMPARED_FUNCTIONS = (
    Field("functions, per", "those that differ: instructions of their own, not what they call"),
    Field("A - B", "how many more under A"),
    Field("of B", "that as a share of all of the operation under B"),
    Field("calls A", "how often an operation enters it under A"),
    Field("calls B", "the same under B"),
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

_TIMELINE = (
    Field("schema", "nettax.timeline/1"),
    Field("time_ns", "when it began, of the recording's clock"),
    Field("cpu", "where"),
    Field("pid", "thread id of the task that was interrupted, or ran the softirqs itself"),
    Field("task", "that task's name"),
    Field("hardirqs", "hard IRQs that began it: `irq`, `name` of the handler or vector, `ns`"),
    Field("softirqs", "softirqs that followed: `vector`, `ns` without the hard IRQs inside"),
    Field("polls", "NAPI polls in them: `device`, `work` (packets), `budget`"),
    Field("interrupted", "hard IRQs that came inside the softirqs"),
    Field("end_ns", "when its last softirq, or else hard IRQ, ended"),
    Field("gap_ns", "from there to the next interrupt or softirq on that CPU; null: not known"),
)

_TIMELINE_CSV = (
    Field("time_ns", "as in JSON, with all else of that name"),
    *(Field(name, "as there") for name in ("end_ns", "cpu", "pid", "task")),
    Field("hardirqs", "their names, with `;` between them"),
    Field("hardirq_ns", "what they took together"),
    Field("softirqs", "their vectors, with `;` between them"),
    Field("softirq_ns", "what they took together, without the hard IRQs inside"),
    Field("polls", "how many NAPI polls"),
    Field("packets", "the work that these told of"),
    Field("interrupted", "as in JSON"),
    Field("gap_ns", "as in JSON; empty: not known"),
)

_BURSTS_JSON = (
    Field("schema", "nettax.bursts/1"),
    Field("run_ns", "NET_RX run time"),
    Field("packets_per_poll", "packets per poll"),
    Field("packets_per_run", "packets per NET_RX"),
    Field("rounds", "NET_RX per burst"),
    Field("gap_ns", "gap after a burst"),
    Field("irq_to_run_ns", "IRQ to NET_RX"),
    Field("raise_to_run_ns", "raise to NET_RX"),
    Field("exhausted", "polls that used up their budget"),
    Field("runners", "who ran NET_RX: `runs`, `ns`, `packets` each"),
    Field("squeezed", "by CPU, NET_RX that stopped with work left; null: not recorded"),
)

_DISTRIBUTION = (
    Field("count", "how many values, exactly, as are `sum`, `min` and `max`"),
    Field("sum", "of all"),
    Field("min", "the least"),
    Field("p50", "the median: the least value that half of all do not exceed, within 3 %"),
    Field("p90", "the same of 90 %"),
    Field("p99", "the same of 99 %"),
    Field("max", "the most"),
    Field("octaves", "how many are 0, 1, 2 to 3, 4 to 7 and so on; not in CSV"),
)

_PARQUET = (
    Field("time_ns", "of the recording's clock; uint64"),
    Field("cpu", "where; 65535: every CPU (of a LOST); uint16"),
    Field("kind", "HARDIRQ_ENTRY, SOFTIRQ_EXIT, NAPI_POLL, SWITCH and so on"),
    Field("pid", "thread id of who was on the CPU; -1: not told; int32"),
    Field("task", "its name; null: not told"),
    Field("id", "IRQ, softirq vector, device, or the other task; int32"),
    Field("name", "the name of that; null: it has none"),
    Field("a", "by kind, as `nettax/events/model.py` has it; int32"),
    Field("b", "the same"),
    Field("c", "the same"),
    Field("value", "the same; uint64"),
    Field("flags", "of IRQ_EXIT, BH_ENABLE, PREEMPTED, BILLED, DEAD, with blanks between them"),
)

_VICTIMS_JSON = (
    Field("schema", "nettax.replay/1"),
    Field(
        "recording",
        "`format`, `clock`, `machine`, `events`; `untraced`: hidden by the host; `damage`",
    ),
    Field("interval", "`start_ns` of the clock, and `wall_ns`"),
    Field("cpus", "rows as in nettax.stat/1, with null where the recording does not tell"),
    Field("total", "these added up"),
    Field("tasks", "rows as in nettax.stat/1"),
    Field("histograms", "run times by log2 ns, of hard IRQs, softirqs and polls"),
    Field("events", "`lost`, `unmatched`, `inferred_ns`, `unkept_ns`"),
)

_SOAK = (
    Field("of the server", "its resident memory, its descriptors: all its processes together"),
    Field("first, last, most", "of the samples behind the warm-up: a fifth of the run at least"),
    Field("per hour", "how fast it grew: median slope of all pairs of samples, 95 % interval"),
    Field("per connection", "the same by connections that clients opened, not by time"),
    Field("latency", "of answers, from when their requests were due, first third → last"),
    Field("TIME-WAIT", "TCP sockets in it, of the whole network namespace"),
    Field("side", "who met the error: the server, the steady client, the rude ones"),
    Field("error", "system call and errno; log: by the words that the server printed"),
)

_LOAD = (
    Field("server", "what the server's tasks had"),
    Field("wrk, ab …", "what the tool's tasks had"),
    Field("ksoftirqd", "that, NAPI and IRQ threads: of the whole host"),
    Field("over idle", "network softirqs that ran in no task; of little, less than nothing"),
    Field("in others", "network softirqs in the context of neither side's tasks"),
    Field("user", "its own time in user space, by the ticks that fell into it"),
    Field("system", "its own time in the kernel, without the interrupts inside it"),
    Field("net", "NET_RX and NET_TX in its context, whosever packets they were"),
    Field("irq", "hard IRQs and other softirqs in its context"),
    Field(
        "wakeup",
        "billed from its wakeups on, before it was on the CPU, less what was billed so to who "
        "came after it: the scheduler's clock stands still from a wakeup to its switch",
    ),
    Field(
        "waived",
        "on the CPU and not billed: the hypervisor's steal, and interrupts where the kernel "
        "accounts for them apart",
    ),
    Field("all", "these together; the line below compares it with the cgroup's own account"),
    Field("latency from", "as the tool told it: shares from here to the next line, and quantiles"),
)

_LOADS = (
    Field("req/s", "answers a second, by the tool's own clock"),
    Field("server", "CPU time that the server was billed for each"),
    Field("tool", "CPU time that the tool was billed for each"),
    Field("of which net", "network softirqs in the context of either"),
    Field("p50 µs", "the median latency of each run"),
    Field("conn/req", "connections that the kernel opened, by answers"),
    Field("verdict", "the kind that most runs had"),
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
    Field("share", "that total as a part of the traced function's"),
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
    "irqs": Table("Interrupts", "as named", _IRQS),
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
    "victims-json": Table("Victims, --json", "ns, or a count", _VICTIMS_JSON),
    "bursts-json": Table("Bursts, --json", "over the recording", _BURSTS_JSON),
    "distribution": Table("Each distribution of these", "ns, or packets", _DISTRIBUTION),
    "timeline": Table("Timeline, --json", "a line for each group", _TIMELINE),
    "timeline-csv": Table("Timeline, --csv", "a line for each group", _TIMELINE_CSV),
    "parquet": Table("Parquet", "a row for each event", _PARQUET),
    "soak": Table("Soak", "KiB, counts; median [interval]", _SOAK),
    "load": Table("Costs", "µs of CPU for each answer", _LOAD),
    "loads": Table("Comparison", "median of the runs [interval]", _LOADS),
    "latency": Table("Latency", "a time with its unit, or a count", _LATENCY),
    "graph": Table("Call tree", "a time with its unit, or a count", _GRAPH),
    "compared": Table("lab vm compare", "instructions", _COMPARED),
    "compared-functions": Table("Its functions", "instructions", _COMPARED_FUNCTIONS),
    "probes": Table("Probes", "a mark, a name, what was found", _PROBE),
}

# What each verb prints, in its order.
VERB_TABLES = {
    "stat": ("tasks", "groups", "cpus", "work", "irqs", "histogram", "doubt"),
    "top": ("tasks", "cpus", "work", "live", "doubt"),
    "report": (
        *("tasks", "cpus", "work", "histogram", "bursts", "runners"),
        *("victims-json", "bursts-json", "distribution", "timeline", "timeline-csv"),
        "parquet",
    ),
    "soak": ("soak",),
    "load": ("load", "loads"),
    "canary": ("canary", "calibration", "openssl", "working-set", "canary-watch"),
    "demo": ("demo", "flow"),
    "trace": ("latency", "graph"),
    "lab": ("compared", "compared-functions"),
    "doctor": ("probes",),
}
