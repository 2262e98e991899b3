"""The function_graph tracer: armed for one function, read, and left as it was found."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from nettax.errors import MissingFeature, MissingPrivilege, NettaxError
from nettax.functions.backends import checked_name, in_the_lab
from nettax.host import Host
from nettax.kernel.files import read_text, read_word
from nettax.kernel.ftrace import traceable
from nettax.kernel.tracefs import tracefs_mount

__all__ = ["GraphTracer", "require_graph"]

_PAUSE_S = 0.02
_EMPTY = "#"  # how a list without names begins when it is read
# Interrupts' own functions, so that they can be told from what they interrupt.
_INTERRUPTS = (
    *("irq_enter_rcu", "irq_exit_rcu", "__common_interrupt", "__sysvec_apic_timer_interrupt"),
    *("__sysvec_call_function_single", "__sysvec_call_function", "__sysvec_irq_work"),
)
_OPTIONS = {
    "funcgraph-irqs": "1",
    "funcgraph-proc": "1",
    "funcgraph-cpu": "1",
    "funcgraph-duration": "1",
    "funcgraph-abstime": "0",
    "funcgraph-tail": "0",
    "funcgraph-overhead": "0",
}


class GraphTracer:
    """Traces from entering the context on; `lines` gives what the kernel prints.

    The function_graph tracer has its lists of functions once for the whole kernel, so the one of
    the top level is used, by one owner at a time.
    """

    def __init__(
        self,
        host: Host,
        function: str,
        *,
        depth: int = 0,
        only: Sequence[str] = (),
        sleeping: bool = False,
        tracefs: Path | None = None,
    ) -> None:
        """Say what to trace; nothing is changed yet.

        `depth`: how many calls deep (0: all); `only`: which functions below it; `sleeping`: time
        that a task was off its CPU counts, too.

        :raises UsageError: a name is no symbol's
        """
        self._host = host
        self._function = checked_name(function)
        self._only = [checked_name(name) for name in only]
        self._depth = depth
        self._sleeping = sleeping
        self._tracefs = tracefs
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Arm the tracer.

        :raises Unsupported: as `require_graph`
        :raises NettaxError: somebody else is tracing
        """
        self._root = self._tracefs or tracefs_mount()
        known = require_graph([self._function, *self._only], self._root)
        self._interrupts = [name for name in _INTERRUPTS if name in known]
        with ExitStack() as stack:
            stack.enter_context(self._host.temporarily())
            self._arm()
            # While it is open the kernel keeps the tracer (EBUSY), so it is closed before the rest.
            self._pipe = os.open(
                self._root / "trace_pipe", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
            )
            stack.callback(os.close, self._pipe)
            self._host.write(self._root / "tracing_on", "1")
            self._stack = stack.pop_all()
        return self

    def _arm(self) -> None:
        host, root = self._host, self._root
        host.write(root / "tracing_on", "0")
        host.trace_filter(root / "set_graph_function", [self._function])
        if self._only:
            names = [self._function, *self._only, *self._interrupts]
            host.trace_filter(root / "set_ftrace_filter", names)
        untraced = root / "set_ftrace_notrace_pid"  # since v5.8
        if untraced.exists() and not read_text(untraced).strip(" \nnopid"):
            # What reads the trace would be traced, and have ever more to read.
            host.trace_filter(untraced, [str(os.getpid())])
        host.write(root / "max_graph_depth", str(self._depth))
        host.write(root / "current_tracer", "function_graph")
        options = {**_OPTIONS, "sleep-time": "1" if self._sleeping else "0"}
        for name, value in options.items():  # they are there only with the tracer
            if (root / "options" / name).exists():
                host.write(root / "options" / name, value)

    def lines(self, over: Callable[[float], bool]) -> Iterator[str]:
        """What the tracer prints until it is over: `over` waits for that, up to so many seconds."""
        rest = b""
        stopped = False
        while True:
            try:
                chunk = os.read(self._pipe, 1 << 16)
            except BlockingIOError:
                chunk = b""
            if chunk:
                *whole, rest = (rest + chunk).split(b"\n")
                yield from (line.decode(errors="replace") for line in whole)
            elif stopped:
                return
            if not stopped and over(0 if chunk else _PAUSE_S):
                (self._root / "tracing_on").write_text("0")  # the rest is in the buffer
                stopped = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave tracefs as it was."""
        self._stack.__exit__(kind, error, trace)


def require_graph(functions: Sequence[str], tracefs: Path | None = None) -> frozenset[str]:
    """Make sure that these functions can be traced now; give all that can be.

    :raises UsageError: a name is no symbol's
    :raises MissingFeature: no tracefs, no such tracer, or a function cannot be traced
    :raises MissingPrivilege: tracefs may not be read
    :raises NettaxError: somebody else is tracing
    """
    first = checked_name(functions[0])
    root = tracefs or tracefs_mount()
    if not os.access(root / "current_tracer", os.R_OK | os.W_OK):
        raise MissingPrivilege(f"tracing functions is for root: {root} cannot be written")
    tracers = (read_word(root / "available_tracers") or "").split()
    if "function_graph" not in tracers:
        raise MissingFeature(
            f"this kernel has no function_graph tracer ({root}/available_tracers: "
            f"{' '.join(tracers) or 'not there'}).\n"
            f"In a kernel that has it: {in_the_lab(f'trace graph {first}')}"
        )
    if (tracer := read_word(root / "current_tracer")) != "nop":
        raise NettaxError(
            f"somebody is tracing already: current_tracer is {tracer}.\n"
            f"When they are done, or if they are gone: echo nop > {root}/current_tracer"
        )
    for name in ("set_graph_function", "set_ftrace_filter"):
        if not read_text(root / name).startswith(_EMPTY):
            raise NettaxError(
                f"somebody is tracing, or was: {name} is not empty.\n"
                f"When they are done: echo > {root}/{name}"
            )
    known = frozenset(found.name for found in traceable(root / "available_filter_functions"))
    for name in map(checked_name, functions):
        if name not in known:
            raise MissingFeature(
                f"{name} cannot be traced: available_filter_functions does not have it.\n"
                f"Why, and what instead: nettax trace explain {name}"
            )
    return known
