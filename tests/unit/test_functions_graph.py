"""The fold of what the function_graph tracer prints, against the calls that were printed."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from nettax.functions.graph import Node, fold

PRINTED = """\
# tracer: function_graph
#
# CPU  TASK/PID         DURATION                  FUNCTION CALLS
# |     |    |           |   |                     |   |   |   |
 0)   python-123   |               |  vfs_read() {
 0)   python-123   |   0.500 us    |    rw_verify_area();
 ------------------------------------------
 1)   sh-77   =>   cat-124
 ------------------------------------------

 1)    cat-124     |               |  vfs_read() {
 0)   python-123   |   ==========> |
 0)   python-123   |   1.000 us    |    irq_enter_rcu();
 0)   python-123   |               |    __sysvec_apic_timer_interrupt() {
 0)   python-123   |   2.000 us    |      hrtimer_interrupt();
 0)   python-123   |   3.000 us    |    }
 0)   python-123   |   <========== |
 1)    cat-124     |   7.000 us    |    read_zero [mem]();
 0)   python-123   | + 12.000 us   |  }
 1)    cat-124     | # 1009.000 us |  }
"""


def test_what_a_kernel_prints() -> None:
    tree = fold("vfs_read", PRINTED.splitlines())
    assert sorted(tree.root.times) == [8000, 1009000]
    assert tree.root.self_ns == 7500 + 1002000
    assert {name: node.times for name, node in tree.root.children.items()} == {
        "rw_verify_area": [500],
        "read_zero": [7000],
    }
    assert (tree.interrupts, tree.interrupt_ns, tree.lost, tree.cut) == (2, 4000, 0, 0)


def test_lost_events_cut_the_calls_around_them() -> None:
    lines = [
        " 0)   a-1   |               |  f() {",
        "CPU:0 [LOST 17 EVENTS]",
        " 0)   a-1   |   5.000 us    |  }",
        " 0)   a-1   |   2.000 us    |  f();",
    ]
    tree = fold("f", lines)
    assert (tree.root.times, tree.lost, tree.cut) == ([2000], 17, 2)


@dataclass
class Call:
    name: str
    own: int
    inside: list[Call] = field(default_factory=list)

    @property
    def ns(self) -> int:
        return self.own + sum(call.ns for call in self.inside)

    def printed(self, pid: int, depth: int = 0) -> list[str]:
        head = f" 0)   task-{pid}   |"
        shown = "  " * depth + self.name
        told = f"   {self.ns / 1000:.3f} us    |  "
        if not self.inside:
            return [f"{head}{told}{shown}();"]
        middle = [line for call in self.inside for line in call.printed(pid, depth + 1)]
        return [f"{head}               |  {shown}() {{", *middle, f"{head}{told}{'  ' * depth}}}"]


def calls(names: st.SearchStrategy[str]) -> st.SearchStrategy[Call]:
    return st.recursive(
        st.builds(Call, names, st.integers(1, 10**6)),
        lambda inner: st.builds(
            Call, names, st.integers(1, 10**6), st.lists(inner, min_size=1, max_size=3)
        ),
        max_leaves=12,
    )


def expected(roots: list[Call]) -> Node:
    """The tree of calls, folded the plain way."""
    node = Node("f")
    for call in roots:
        node.times.append(call.ns)
        node.self_ns += call.own
    names = dict.fromkeys(inner.name for call in roots for inner in call.inside)
    for name in names:
        below = expected([c for call in roots for c in call.inside if c.name == name])
        below.name = name
        node.children[name] = below
    return node


def same(a: Node, b: Node) -> bool:
    return (
        (a.name, sorted(a.times), a.self_ns) == (b.name, sorted(b.times), b.self_ns)
        and a.children.keys() == b.children.keys()
        and all(same(child, b.children[name]) for name, child in a.children.items())
    )


@settings(deadline=None)  # the machine may be busy
@given(
    st.lists(
        st.lists(
            calls(st.sampled_from("fgh")).map(lambda c: Call("f", c.own, c.inside)), max_size=3
        ),
        min_size=1,
        max_size=4,
    ),
    st.randoms(use_true_random=False),
)
def test_concurrent_and_recursive_calls_do_not_mix(tasks: list[list[Call]], random: object) -> None:
    """Each task's lines in their order, the tasks' in any."""
    left = [
        [line for call in mine for line in call.printed(100 + pid)]
        for pid, mine in enumerate(tasks)
    ]
    lines = []
    while any(left):
        mine = random.choice([task for task in left if task])  # type: ignore[attr-defined]
        lines.append(mine.pop(0))
    tree = fold("f", lines)
    assert tree.cut == tree.interrupts == 0
    assert same(tree.root, expected([call for mine in tasks for call in mine]))
