"""Other tools, run as their users run them, from when they trace until they are told to stop."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from nettax.errors import NettaxError
from nettax.kernel import cpus

__all__ = ["TOOLS", "Tool", "in_private_tracefs", "tracing"]

START_S, STOP_S = 15.0, 10.0

EVENTS = (
    *(f"irq:irq_handler_{edge}" for edge in ("entry", "exit")),
    *(f"irq:softirq_{edge}" for edge in ("entry", "exit")),
    *(
        f"irq_vectors:{vector}_{edge}"
        for vector in ("call_function_single", "call_function", "reschedule", "local_timer")
        for edge in ("entry", "exit")
    ),
    "napi:napi_poll",
    "sched:sched_switch",
)

SOFTIRQS_BY_PID = """
tracepoint:irq:softirq_entry { @start[cpu] = nsecs; }
tracepoint:irq:softirq_exit /@start[cpu]/ {
    @ns[pid, comm, args->vec] = sum(nsecs - @start[cpu]); delete(@start[cpu]);
}
interval:s:1 { print(@ns); clear(@ns); }
interval:ms:50 /!@traces/ { printf("traces\\n"); @traces = 1; }
"""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that accounts for interrupts, with a report every second where it can."""

    name: str
    command: tuple[str, ...]
    ready: str
    """What it writes once it traces, on either output."""
    victims: bool
    """Whether it tells in which task's time the softirqs ran."""
    package: str | None = None
    """Debian's, if it is no part of nettax."""

    @property
    def installed(self) -> bool:
        """Whether the command is found."""
        return shutil.which(self.command[0]) is not None


TOOLS = (
    Tool(
        "nettax stat",
        (sys.executable, "-m", "nettax", "stat", "-I", "1"),
        ready="\n",
        victims=True,
    ),
    Tool("softirqs", ("softirqs", "1"), "Tracing", victims=False, package="libbpf-tools"),
    Tool(
        "bpftrace by pid",
        ("bpftrace", "-e", SOFTIRQS_BY_PID),
        ready="traces",
        victims=True,
        package="bpftrace",
    ),
    Tool(
        "perf record -a",
        # The acknowledgement of `enable` goes to descriptor 1: perf writes nothing else before.
        (
            *("perf", "record", "-a", "--no-buildid", "--no-buildid-cache", "--delay=-1"),
            *("--control=fd:0,1", "-o", "/dev/null", "-e", ",".join(EVENTS)),
        ),
        ready="ack",
        victims=True,
        package="linux-perf",
    ),
)


def in_private_tracefs(command: Sequence[str]) -> list[str]:
    """Run a command with tracefs where tools look for it, out of sight of the host."""
    mount = 'mount -t tracefs tracefs /sys/kernel/tracing; exec "$@"'
    return ["unshare", "--mount", "sh", "-c", mount, "sh", *command]


@contextmanager
def tracing(tool: Tool) -> Iterator[None]:
    """Run a tool on any CPU, from when it traces.

    :raises NettaxError: it ended, or did not come to trace in time
    """
    everywhere = cpus.format_list(cpus.online())
    command = in_private_tracefs(["taskset", "-c", everywhere, "stdbuf", "-oL", *tool.command])
    output = os.memfd_create("output")  # it holds whatever comes: nobody has to keep reading
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            assert process.stdin
            process.stdin.write(b"enable\n")  # for perf; the others do not read
            process.stdin.flush()
            _await(process, output, tool)
            yield
        finally:
            _stop(process)
    finally:
        os.close(output)


def _await(process: subprocess.Popen[bytes], output: int, tool: Tool) -> None:
    deadline = time.monotonic() + START_S
    while tool.ready.encode() not in (said := os.pread(output, 1 << 16, 0)):
        if process.poll() is not None or time.monotonic() > deadline:
            raise NettaxError(f"{tool.name} does not trace: {said.decode(errors='replace')}")
        time.sleep(0.01)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
