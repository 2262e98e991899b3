"""Arming a tracer and leaving it, on a directory of plain files with tracefs' names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nettax.errors import MissingFeature, NettaxError, UsageError
from nettax.functions.graph import fold
from nettax.functions.tracer import GraphTracer
from nettax.host import Host

pytestmark = pytest.mark.needs_root
NETTAX = (sys.executable, "-m", "nettax", "trace")
PRINTED = """\
 0)   cat-5   |               |  vfs_read() {
 0)   cat-5   |   1.000 us    |    rw_verify_area();
 0)   cat-5   |   3.000 us    |  }
"""
FILES = {
    "available_tracers": "function_graph function nop\n",
    "available_filter_functions": "vfs_read\nrw_verify_area\nirq_enter_rcu\nveth_xmit [veth]\n",
    "current_tracer": "nop\n",
    "set_graph_function": "#### all functions enabled ####\n",
    "set_ftrace_filter": "#### all functions enabled ####\n",
    "set_ftrace_notrace_pid": "no pid\n",
    "max_graph_depth": "0\n",
    "tracing_on": "1\n",
    "options/sleep-time": "1\n",
    "options/funcgraph-irqs": "1\n",
    "trace_pipe": PRINTED,
}


@pytest.fixture
def tracefs(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


def contents(root: Path) -> dict[str, str]:
    return {name: (root / name).read_text().strip() for name in FILES}


def test_armed_and_left_as_found(host: Host, tracefs: Path) -> None:
    before = contents(tracefs)
    tracer = GraphTracer(host, "vfs_read", depth=3, only=["rw_verify_area"], tracefs=tracefs)
    with tracer:
        armed = contents(tracefs)
        tree = fold("vfs_read", tracer.lines(lambda seconds: True))
    assert armed == before | {
        "current_tracer": "function_graph",
        "set_graph_function": "vfs_read",
        "set_ftrace_filter": "vfs_read\nrw_verify_area\nirq_enter_rcu",
        "set_ftrace_notrace_pid": str(os.getpid()),
        "max_graph_depth": "3",
        "options/sleep-time": "0",
    }
    # A list that nothing is in is an empty file here; the kernel shows a line of its own for it.
    lists = ("set_graph_function", "set_ftrace_filter", "set_ftrace_notrace_pid")
    left = {name: "" for name in lists}
    assert contents(tracefs) == before | left
    assert tree.root.times == [3000]


def test_killed_and_undone(tracefs: Path) -> None:
    """What a kill leaves armed, the next start disarms."""
    script = (
        "import os, sys, pathlib\n"
        "from nettax.host import Host\n"
        "from nettax.functions.tracer import GraphTracer\n"
        "with Host() as host, GraphTracer(host, 'vfs_read', tracefs=pathlib.Path(sys.argv[1])):\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tracefs)])
    assert killed.returncode == -9
    assert contents(tracefs)["current_tracer"] == "function_graph"
    with Host():
        pass
    assert contents(tracefs)["current_tracer"] == "nop"
    assert contents(tracefs)["set_graph_function"] == ""


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("current_tracer", "function", "somebody is tracing already: current_tracer is function"),
        ("set_graph_function", "schedule", "set_graph_function is not empty"),
        ("set_ftrace_filter", "schedule", "set_ftrace_filter is not empty"),
    ],
)
def test_in_use_by_another(host: Host, tracefs: Path, name: str, text: str, told: str) -> None:
    (tracefs / name).write_text(text + "\n")
    before = contents(tracefs)
    with pytest.raises(NettaxError, match=told):
        GraphTracer(host, "vfs_read", tracefs=tracefs).__enter__()
    assert contents(tracefs) == before


def test_what_cannot_be_traced(host: Host, tracefs: Path) -> None:
    with pytest.raises(MissingFeature, match=r"(?s)kthread_run cannot be traced.*trace explain"):
        GraphTracer(host, "kthread_run", tracefs=tracefs).__enter__()
    (tracefs / "available_tracers").write_text("nop\n")
    with pytest.raises(MissingFeature, match=r"(?s)no function_graph tracer.*nettax lab vm run"):
        GraphTracer(host, "vfs_read", tracefs=tracefs).__enter__()
    with pytest.raises(UsageError, match="no symbol's name"):
        GraphTracer(host, "vfs_*", tracefs=tracefs)


@pytest.mark.parametrize("words", [("latency", "workqueue", "-d", "1"), ("graph", "vfs_read")])
def test_without_capabilities(words: tuple[str, ...], tmp_path: Path) -> None:
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--reuid=65534", "--clear-groups"]
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    run = subprocess.run(
        [*drop, *NETTAX, *words], capture_output=True, text=True, env=environment, cwd="/"
    )
    assert run.returncode == 77, run.stderr
    assert "Traceback" not in run.stderr
    assert "root" in run.stderr or "tracefs" in run.stderr
