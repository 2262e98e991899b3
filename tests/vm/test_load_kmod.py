"""`nettax load --server-kmod` in a guest that counts: a known answer, billed to the right side."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from nettax.lab.vm import Module, Vm, build, kernels

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]
SOURCE = Path(__file__).parents[2] / "kmod"
RUNS = {
    "kthread": "run_in_thread",
    "workqueue": "run_in_queue",
    "workqueue-unbound": "run_in_queue",
}
WORK_US = 500


def load(vm: Vm, module: Path, kind: str, tool: str, *parameters: str) -> dict[str, Any]:
    """One run on the server, loaded with these parameters and unloaded again."""
    vm.run(["insmod", module, f"protocol={kind}", *parameters])
    where = ("http://127.0.0.1:8081/",) if kind == "http" else ("127.0.0.1:8081",)
    words = ["load", kind, *where, "--tool", tool, "-c", "1", "-d", "1", "--server-kmod", "--json"]
    ran = vm.run([sys.executable, "-m", "nettax", *words])
    assert ran.code == 0, ran.stderr.decode()
    assert vm.run(["rmmod", "nettax_server"]).code == 0
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def own_us(side: dict[str, Any], found: dict[str, Any]) -> float:
    return float(side["own_ns"]) / 1e3 / float(found["result"]["done"])


@pytest.mark.parametrize("mode", RUNS)
def test_work_is_billed_to_the_server(mode: str) -> None:
    """Each message takes so much more of the server's own time, and no more of the tool's."""
    module = build.built(kernels.find("6.1"), build.Module(SOURCE)).files[0]
    with Vm(exact=True) as vm:
        idle, works = (
            load(vm, module, "http", "nettax", f"mode={mode}", f"work_us={us}")
            for us in (0, WORK_US)
        )
    for found in (idle, works):
        parts = found["server_functions"]
        assert sum(part["oncpu_ns"] for part in parts.values()) == found["server"]["oncpu_ns"]
        assert found["events"]["lost"] == found["events"]["unmatched"] == 0
        assert found["verdict"]["bound"] == "shared", "one CPU for both, and no pause"
    name = RUNS[mode]
    more = own_us(works["server_functions"][name], works) - own_us(
        idle["server_functions"][name], idle
    )
    print(f"{mode}: {more:.2f} µs of {WORK_US}")
    assert more == pytest.approx(WORK_US, rel=0.05)
    tool = own_us(works["generator"], works) - own_us(idle["generator"], idle)
    print(f"{mode}: the tool's {tool:+.2f} µs")
    assert abs(tool) < 0.05 * WORK_US


@pytest.mark.parametrize("tool", ["ab", "wrk", "h2load"])
def test_tools(tool: str) -> None:
    """Each drives it; what is the server's is told, though it is in no cgroup."""
    with Vm(modules=[Module(SOURCE, ("protocol=http", "mode=workqueue"))]) as vm:
        words = ["load", "http", "127.0.0.1:8081", "--tool", tool, "-c", "4", "-d", "1"]
        ran = vm.run([sys.executable, "-m", "nettax", *words, "--server-kmod", "--json"])
    assert ran.code == 0, ran.stderr.decode()
    found = json.loads(ran.stdout)
    assert found["result"]["done"] > 0
    assert found["server"]["own_ns"] > 0
    assert set(found["server_functions"]) <= {"run_in_queue", "accept_all"}
