"""What the manual says beyond what `--help` and the tables know: costs, exit codes, files.

Figures are from docs/figures.md, which has the machine, the intervals and how they were measured.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["COMMON", "PAGES", "Page"]


class Page(NamedTuple):
    """One page's own part. Texts are reStructuredText."""

    overhead: str
    exits: tuple[tuple[str, str], ...] = ()
    """Exit codes beyond those that every verb has."""
    files: tuple[tuple[str, str], ...] = ()
    see_also: tuple[str, ...] = ()
    notes: str = ""


_LEDGER = """\
The kernel counts: one or two small BPF programs run at each hard IRQ, softirq, NAPI poll, switch
and wakeup, for 100 to 315 ns each (with about 80 of timing in it), and nothing per packet. At
50,000 and 200,000 packets a second a victim of known speed keeps at least 97 % of it; at most 3 %
of one CPU is spent, at 500,000 too, and the packets lose nothing (``python -m bench own-cost``,
from a checkout)."""

_STATE = (
    "/var/lib/nettax, or $XDG_STATE_HOME/nettax of an ordinary user",
    "Calibrations of the toll, and the references that ``nettax canary --idle`` keeps: each for "
    "this machine, kernel and version only.",
)
_JOURNAL = (
    "/run/nettax/journal",
    "What is changed on the host, written down before it is: a run that was killed is undone "
    "from it, by the next start or by ``nettax undo``.",
)

COMMON = Page(
    overhead=f"{_LEDGER}\n\nEach summary ends with what it cost itself. On the machine of those "
    "figures ``nettax --help`` takes 0.07–0.10 s and 15 MB, ``nettax stat -d 0.1`` 0.34–0.40 s in "
    "all and 36 MB (``python -m bench startup``).",
    files=(_STATE, _JOURNAL),
    see_also=("top(1)", "perf(1)", "bpftool(8)", "ip-netns(8)", "proc(5)", "capabilities(7)"),
    notes="Root is not needed where CAP_BPF and CAP_PERFMON are. Linux 5.17 or later with BTF, "
    "and libbpf.so.1.\n\n"
    "Completion is installed for bash, zsh and fish, below share/ where nettax was installed to. "
    "Where the shell does not look there, as after pipx: "
    '``eval "$(_NETTAX_COMPLETE=bash_source nettax)"``, or zsh\\_source, fish\\_source.',
)

PAGES = {
    "stat": Page(
        overhead=f"{_LEDGER}\n\nA reading costs one IPI per CPU and one pass over the tasks; "
        "between readings nothing runs in user space, but once a second room is made for new "
        "tasks. The last lines tell what this run cost; with ``--time-programs`` also in the "
        "kernel.",
        exits=(
            ("*the command's*", "where there is one; 128 + *n* if signal *n* ended it"),
            ("126, 127", "the command cannot be run, is not found"),
        ),
        files=(_STATE,),
        see_also=("nettax-top(1)", "perf-stat(1)", "softirqs(8)", "mpstat(1)"),
    ),
    "top": Page(
        overhead=f"{_LEDGER}\n\nThe screen is drawn once an interval, and what it costs is in its "
        "own last line.",
        files=(_STATE,),
        see_also=("nettax-stat(1)", "top(1)", "htop(1)"),
    ),
    "export": Page(
        overhead=f"{_LEDGER}\n\nA scrape reads what the kernel counted; between scrapes nothing "
        "runs. Scraped every 5 s by Prometheus it took 0.12 % of one CPU, 6 ms a scrape, and "
        "35 MB (``pytest -s -m full tests/kernel/test_export_prometheus.py``); with 500 cgroups "
        "that ran, a scrape takes 36 ms of CPU (``python -m bench export``). Histograms add 28 to "
        "110 ns to an event, at 100 kpps 0.2 % of one CPU. Its own CPU time is among the metrics.",
        files=(
            _STATE,
            (
                "share/nettax, below where nettax was installed to",
                "A unit for systemd that runs it as an ordinary user in a sandbox, alert rules "
                "for Prometheus with their tests, and a board for Grafana.",
            ),
        ),
        see_also=("nettax-stat(1)", "prometheus(1)", "promtool(1)", "systemd.exec(5)"),
    ),
    "record": Page(
        overhead="Each event runs a program and fills 48 bytes; at a million a second it takes "
        "about 5 % of a CPU itself (``python -m bench record``). The rings take 16 MiB for each "
        "CPU, ``--last`` its ``--memory`` more. The last line tells what this run cost.",
        exits=(
            ("*the command's*", "where there is one; 128 + *n* if signal *n* ended it"),
            ("126, 127", "the command cannot be run, is not found"),
        ),
        see_also=("nettax-report(1)", "perf-record(1)", "pcap-filter(7)", "trace-cmd-record(1)"),
        notes="SIGUSR1 with ``--last`` has what is kept written at once.",
    ),
    "report": Page(
        overhead="It needs no privilege, and memory is bounded, however large the recording: each "
        "face fits into an address space that is smaller (``pytest -m full "
        "tests/unit/test_report_memory.py``). What each takes: ``python -m bench report``.",
        files=(("nettax.events", "What is read without *FILE*, as ``nettax record`` writes it."),),
        see_also=("nettax-record(1)", "perf-script(1)", "trace-cmd-report(1)"),
        notes="A group, which is a line of the timeline, is an interrupt with the softirqs that "
        "follow it within 20 µs, or such softirqs without one. In a trace that ``--chrome`` wrote, "
        "a viewer's sums of self time are the ledger's.",
    ),
    "serve": Page(
        overhead="None: nettax becomes the server. Beside nginx it waits, in 22 MB, to remove the "
        "directory with its configuration.",
        exits=(("*the server's*", "where it is another's"),),
        see_also=("nettax-load(1)", "nettax-soak(1)", "tcp(7)", "epoll(7)"),
        notes="SIGTERM and SIGINT end a reference server with 0, at once. It answers every GET, "
        "HEAD and POST alike; what is no right request of HTTP/1.1 (RFC 9112) is refused with "
        "4xx, and the connection closed. A head has 8 KiB at most, a body that is sent 16 MiB.",
    ),
    "soak": Page(
        overhead="At its usual 100 requests and 16 rude clients a second it took 3.9 % of one CPU "
        "for all: the epoll server, both kinds of clients, its own start (``nettax soak epoll -d "
        "40s``). A sample is a line of about 1.5 kB every five seconds: 26 MB a day.",
        files=(
            (
                "nettax-soak.jsonl",
                "The journal (``-o``): a plan, then a sample a line, each on disk before the next. "
                "What is reported is computed from it alone.",
            ),
            _JOURNAL,
        ),
        see_also=("nettax-serve(1)", "nettax-load(1)", "proc(5)", "tcp(7)"),
        notes="Ctrl-C and SIGTERM end it cleanly, with its report.",
    ),
    "load": Page(
        overhead=f"{_LEDGER}\n\nThe server's sockets are looked at for at most 2 % of a CPU. "
        "h2load writes a line for each request, which is in its own CPU time; wrk adds its "
        "latencies up after the measuring has stopped.",
        files=(_JOURNAL,),
        see_also=(
            *("nettax-serve(1)", "nettax-soak(1)", "wrk(1)", "ab(1)", "h2load(1)", "iperf3(1)"),
            *("netperf(1)", "sockperf(1)"),
        ),
        notes="A verdict is one of: *generator*, *server* (it was runnable for 90 % of the run, or "
        "held up by its quota), *shared* (both on CPUs that are full), *network* (softirqs), "
        "*latency* (nobody at a limit: connections / latency), *none*; or a warning before it: "
        "*disturbed*, *listen-queue*, *delayed-ack*, *one-request*.\n\n"
        "Counters are those of the server's network namespace: with ``--alone`` they are the run's "
        "alone.",
    ),
    "canary": Page(
        overhead="It is a load: a program that computes without end, at the usual priority, on the "
        "CPU that it is given. ``--calibrate`` also sends that CPU IPIs from another, and "
        "``--load`` packets. ``--watch`` takes at most its share: of 5 % of each CPU its canaries "
        "had 4.97 %, and nettax itself, with the ledger and a line a second, 0.28 % of one "
        "(``nettax canary --watch -C 0,1 -d 4 --share 5%``).",
        files=(_STATE,),
        see_also=("nettax-demo(1)", "openssl-speed(1ssl)", "membarrier(2)"),
    ),
    "demo": Page(
        overhead="For about 75 seconds it loads two CPUs: one with the canary, one with what sends "
        "the packets. No packet leaves the machine.",
        files=(_STATE, _JOURNAL),
        see_also=("nettax-canary(1)", "nettax-undo(1)", "veth(4)", "network_namespaces(7)"),
    ),
    "trace": Page(
        overhead="Counted in the kernel: an event costs a program of some tens of ns, and a chain "
        "two to five events; a switch is looked at for every chain that has waiting in it. Each "
        "trace of a chain or a function ends by calibrating what it added, the same work with and "
        "without it in turns. ``nettax trace graph`` costs more: each function below the traced "
        "one is entered and left through the tracer. Give it ``--depth`` or ``--only``.",
        exits=(
            ("*the command's*", "where there is one; 128 + *n* if signal *n* ended it"),
            ("126, 127", "the command cannot be run, is not found"),
        ),
        files=(_JOURNAL,),
        see_also=("nettax-lab(1)", "perf-trace(1)", "trace-cmd(1)", "funclatency(8)"),
        notes="Chains need CAP_BPF and CAP_PERFMON; ``graph`` and ``--backend tracefs`` need root "
        "and a mounted tracefs, which they leave as it was found.",
    ),
    "lab": Page(
        overhead="A guest is emulated in software: ``nettax lab vm run -- uname -r`` takes about "
        "6 s and as much of a CPU, the guest's memory, and 0.5 GB of cache for a kernel "
        "(``python -m bench lab``). In it, programs run some ten times slower than here, and what "
        "switches between them more: counts are exact there, times are not, but in ``--exact`` "
        "mode, which counts instructions.",
        exits=(
            ("*the command's*", "128 + *n* if signal *n* ended it"),
            ("126, 127", "the command cannot be run, is not found"),
            ("1", "the guest panicked, hung or would not start; its serial line's end tells"),
        ),
        files=(
            (
                "$XDG_CACHE_HOME/nettax, or ~/.cache/nettax",
                "Kernels, unpacked, and modules that were built for them: ``nettax lab vm clean`` "
                "removes them.",
            ),
            _JOURNAL,
        ),
        see_also=("qemu(1)", "insmod(8)", "apt-get(8)", "nettax-stat(1)"),
        notes="It takes qemu-system-x86, busybox-static and kmod; make and the kernel's compiler "
        "for ``--module``; apt to fetch kernels with. Nothing is installed, /dev/kvm is not "
        "used, and root is needed for ``--nic`` only.",
    ),
    "run": Page(
        overhead="An experiment boots between one and five guests, of 10 to 40 seconds each on two "
        "CPUs; ``--smoke`` boots fewer, and asks less of each.",
        files=(
            (
                "$XDG_CACHE_HOME/nettax, or ~/.cache/nettax",
                "Kernels, modules, and a QEMU that counts on two CPUs where the host's does not: "
                "unpacked from Debian's packages, not installed.",
            ),
            _JOURNAL,
        ),
        see_also=("nettax-lab(1)", "nettax-kmod(1)", "nettax-load(1)"),
        notes="It takes what ``nettax lab vm`` takes. ``thread-vs-pool`` also loads servers on "
        "this host, in a network namespace of their own: for that root and two CPUs.",
    ),
    "kmod": Page(
        overhead="Nothing but what the server itself does; it counts on each CPU apart.",
        exits=(("1", "the kernel refused the module or its parameters; its log tells why"),),
        files=(
            ("/sys/module/nettax_server/parameters", "How it was loaded."),
            ("/sys/kernel/debug/nettax_server/stats", "Its counters."),
            (
                "$XDG_CACHE_HOME/nettax, or ~/.cache/nettax",
                "Modules that were built: ``nettax lab vm clean`` removes them.",
            ),
        ),
        see_also=("nettax-lab(1)", "insmod(8)", "ip-netns(8)"),
        notes="``build`` takes the kernel's headers, make and its compiler; ``load`` and "
        "``unload`` take CAP_SYS_MODULE, and counters a debugfs that can be read. What is loaded "
        "stays until it is unloaded: it is no change that ``nettax undo`` undoes.",
    ),
    "doctor": Page(
        overhead="The ledger is loaded, attached and removed again, once: less than "
        "``nettax stat -d 0.1``, which takes 0.34–0.40 s in all (``python -m bench startup``).",
        see_also=("nettax-stat(1)", "capabilities(7)", "bpftool-feature(8)"),
    ),
    "undo": Page(
        overhead="With nothing to undo it is one look at a directory.",
        exits=(("1", "something could not be undone; the next start tries again"),),
        files=(_JOURNAL,),
        see_also=("nettax-demo(1)", "ip-netns(8)"),
    ),
}
