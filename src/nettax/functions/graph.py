"""What a function calls, folded over its calls: a tree with counts and times.

The function_graph tracer prints each call's entry and return (Documentation/trace/ftrace.rst). An
interrupt that comes in between is printed inside, as calls of what it interrupted; here its time is
taken out of the calls that it fell into, and counted on its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from nettax.functions.histogram import Histogram

__all__ = ["CallTree", "Node", "fold"]

_LINE = re.compile(
    r"\s*(?P<cpu>\d+)\)\s+(?P<task>\S.*)-(?P<pid>\d+)\s*\|"
    r"(?:\D*?(?P<us>\d+(?:\.\d+)?) us)?\s*\|\s*(?P<what>.*?)\s*$"
)
_CALL = re.compile(r"(?P<name>[\w.$]+)(?: \[[\w-]+\])?\(.*?\)(?P<end>;| \{)")
_LOST = re.compile(r"CPU:(\d+) \[LOST (\d+) EVENTS\]")
# What the entry code calls as an interrupt begins, for its handler, and as it ends
# (kernel/softirq.c, arch/x86/include/asm/idtentry.h).
_INTERRUPT = re.compile(
    r"irq_enter(_rcu)?|_*irq_exit(_rcu)?|_*sysvec_\w+|_*common_interrupt|_*exc_nmi|nmi_\w+|"
    r"irqentry_\w+|handle_IPI|do_IRQ|run_irq_on_irqstack_cond"
)


@dataclass(slots=True)
class Node:
    """A function at one place of the tree: reached by one way of calls."""

    name: str
    times: list[int] = field(default_factory=list)
    """Of its calls, ns, interrupts taken out."""
    self_ns: int = 0
    """Less what it called."""
    children: dict[str, Node] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How often it was called."""
        return len(self.times)

    @property
    def total_ns(self) -> int:
        """All its calls together."""
        return sum(self.times)

    @property
    def histogram(self) -> Histogram:
        """Of the times of its calls."""
        return Histogram.of(self.times)

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Node]]:
        """This node and those below, the longest first, each with its depth."""
        yield depth, self
        for child in sorted(self.children.values(), key=lambda node: -node.total_ns):
            yield from child.walk(depth + 1)


@dataclass(frozen=True, slots=True)
class CallTree:
    """What was seen of one function."""

    root: Node
    interrupts: int = 0
    """How many functions of interrupts fell into its calls."""
    interrupt_ns: int = 0
    lost: int = 0
    """Events for which the kernel's buffer had no room."""
    cut: int = 0
    """Calls of which only the begin or only the end was seen."""


@dataclass(slots=True)
class _Frame:
    name: str
    node: Node | None
    """None of an interrupt's."""
    inside_ns: int = 0
    """Of the functions that it called, interrupts taken out."""
    interrupt_ns: int = 0


class _Folder:
    def __init__(self, function: str) -> None:
        self.root = Node(function)
        self.interrupts = self.interrupt_ns = self.lost = self.cut = 0
        self._stacks: dict[tuple[int, int], list[_Frame]] = {}

    def line(self, text: str) -> None:
        if lost := _LOST.search(text):
            self.lost += int(lost[2])
            self.cut += sum(map(bool, self._stacks.values()))
            self._stacks.clear()
            return
        found = _LINE.match(text)
        if not found:
            return
        pid = int(found["pid"])
        # The idle tasks are all pid 0.
        stack = self._stacks.setdefault((pid, -1 if pid else int(found["cpu"])), [])
        what, us = found["what"], found["us"]
        if call := _CALL.match(what):
            self._enter(stack, call["name"])
            if call["end"] == ";":
                self._leave(stack, us)
        elif what.startswith("}"):
            self._leave(stack, us)

    def _enter(self, stack: list[_Frame], name: str) -> None:
        if not stack:
            # A recursion's or a tracer's rest that does not begin with the function is left out.
            node = self.root if name == self.root.name else None
        elif stack[-1].node is None or _INTERRUPT.fullmatch(name):
            node = None
        else:
            node = stack[-1].node.children.setdefault(name, Node(name))
        stack.append(_Frame(name, node))

    def _leave(self, stack: list[_Frame], us: str | None) -> None:
        if not stack:
            self.cut += 1
            return
        frame = stack.pop()
        ns = round(float(us or 0) * 1000)
        if frame.node is None:
            if stack and stack[-1].node is not None:
                self.interrupts += 1
                self.interrupt_ns += ns
                stack[-1].interrupt_ns += ns
            return
        net = max(ns - frame.interrupt_ns, 0)
        frame.node.times.append(net)
        frame.node.self_ns += net - frame.inside_ns
        if stack:
            stack[-1].inside_ns += net
            stack[-1].interrupt_ns += frame.interrupt_ns

    def finish(self) -> CallTree:
        self.cut += sum(bool(stack) for stack in self._stacks.values())
        return CallTree(self.root, self.interrupts, self.interrupt_ns, self.lost, self.cut)


def fold(function: str, lines: Iterable[str]) -> CallTree:
    """Fold what the tracer printed into the tree of one function.

    Lines are those of the options funcgraph-cpu, -proc and -duration. Each task has a stack of its
    own, so that what concurrent callers do does not mix.
    """
    folder = _Folder(function)
    for text in lines:
        folder.line(text)
    return folder.finish()
