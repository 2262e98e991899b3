"""`nettax load --server-kmod` in a guest that counts: a known answer, billed to the right side."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from nettax.lab import kmod
from nettax.lab.vm import Module, Vm, build, kernels

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]
SOURCE = Path(__file__).parents[2] / "kmod"
RUNS = {
    "kthread": "run_in_thread",
    "workqueue": "run_in_queue",
    "workqueue-unbound": "run_in_queue",
}
STATS = "/sys/kernel/debug/nettax_server/stats"
WORK_US = 500


def load(
    vm: Vm, module: Path, kind: str, tool: str, *parameters: str, seconds: int = 1
) -> dict[str, Any]:
    """One run on the server, loaded with these parameters and unloaded again."""
    vm.run(["insmod", module, f"protocol={kind}", *parameters])
    where = ("http://127.0.0.1:8081/",) if kind == "http" else ("127.0.0.1:8081",)
    words = ["load", kind, *where, "--tool", tool, "-c", "1", "-d", str(seconds)]
    ran = vm.run([sys.executable, "-m", "nettax", *words, "--server-kmod", "--json"])
    assert ran.code == 0, ran.stderr.decode()
    assert vm.run(["rmmod", "nettax_server"]).code == 0
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def own_us(side: dict[str, Any]) -> float:
    return float(side["own_ns"]) / 1e3


def done(found: dict[str, Any]) -> int:
    return int(found["result"]["done"])


@pytest.mark.parametrize("mode", RUNS)
def test_work_is_billed_to_the_server(mode: str) -> None:
    """Each message takes so much more of the server's own time, and no more of the tool's.

    The tool also starts, which under emulation takes as long as a thousand messages: that is what
    two runs of different lengths have in common.
    """
    module = build.built(kernels.find("6.1"), build.Module(SOURCE)).files[0]
    with Vm(exact=True) as vm:
        idle, longer, works = (
            load(vm, module, "http", "nettax", f"mode={mode}", f"work_us={us}", seconds=seconds)
            for us, seconds in ((0, 1), (0, 2), (WORK_US, 1))
        )
    for found in (idle, longer, works):
        parts = found["server_functions"]
        assert sum(part["oncpu_ns"] for part in parts.values()) == found["server"]["oncpu_ns"]
        assert found["events"]["lost"] == found["events"]["unmatched"] == 0
        assert found["verdict"]["bound"] == "shared", "one CPU for both, and no pause"
    name = RUNS[mode]
    server = [own_us(found["server_functions"][name]) / done(found) for found in (idle, works)]
    print(f"{mode}: {server[1] - server[0]:.2f} µs of {WORK_US}")
    assert server[1] - server[0] == pytest.approx(WORK_US, rel=0.05)
    tool = [own_us(found["generator"]) for found in (idle, longer, works)]
    each = (tool[1] - tool[0]) / (done(longer) - done(idle))
    start = tool[0] - each * done(idle)
    more = (tool[2] - start) / done(works) - each
    print(f"{mode}: the tool's {more:+.2f} µs, {each:.2f} a message, its start {start:.0f}")
    assert start > 0
    assert abs(more) < 0.05 * WORK_US


def test_tools(series: str) -> None:
    """Each drives it; what is the server's is told, though it is in no cgroup."""
    nettax = [sys.executable, "-m", "nettax", "load"]
    module = build.built(kernels.find(series), build.Module(SOURCE)).files[0]
    with Vm(series) as vm:
        vm.run(["insmod", module, "protocol=http", "mode=workqueue"])
        for tool in ("ab", "wrk", "h2load"):
            words = ["http", "127.0.0.1:8081", "--tool", tool, "-c", "4", "-d", "1"]
            ran = vm.run([*nettax, *words, "--server-kmod", "--json"])
            assert ran.code == 0, ran.stderr.decode()
            found = json.loads(ran.stdout)
            print(series, tool, found["result"]["done"], found["server_functions"].keys())
            assert found["result"]["done"] > 0
            assert found["server"]["own_ns"] > 0
            assert set(found["server_functions"]) <= {"run_in_queue", "accept_all"}


def test_burst(series: str) -> None:
    """A hundred at once: connected and answered, as the server has counted."""
    module = Module(SOURCE, ("protocol=echo", "mode=workqueue"))
    with Vm(series, modules=[module]) as vm:
        words = ["load", "echo", "127.0.0.1:8081", "--burst", "-c", "100", "--rounds", "3"]
        ran = vm.run([sys.executable, "-m", "nettax", *words, "--server-kmod", "--json"])
        stats = kmod.parse_stats(vm.run(["cat", STATS]).stdout.decode())
    assert ran.code == 0, ran.stderr.decode()
    found = json.loads(ran.stdout)
    answered = [len(each["echo_ns"]) - each["echo_ns"].count(None) for each in found["connections"]]
    assert answered == [3] * 100
    assert stats["accepted"] == 100
    assert stats["received_bytes"] == stats["sent_bytes"] == 100 * 3 * 13
