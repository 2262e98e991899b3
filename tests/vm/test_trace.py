"""Functions of a kernel that lets itself be probed, against a module of known answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nettax.lab.vm import Module, Vm

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]
PROBED = Path(__file__).with_name("probed")
NETTAX = (sys.executable, "-m", "nettax")
FIRST, SECOND, DEPTH, READS = 20_000, 60_000, 5, 7
READ = ["sh", "-c", f"for i in $(seq {READS}); do cat /proc/nettax_probed; done"]


PARAMETERS = (f"first={FIRST}", f"second={SECOND}", f"depth={DEPTH}")


@pytest.fixture(scope="module", params=["6.1", "6.12"])
def probed(request: pytest.FixtureRequest) -> Iterator[Vm]:
    with Vm(request.param, modules=[Module(PROBED, PARAMETERS)]) as vm:
        yield vm


def asked(vm: Vm, *words: str) -> dict[str, Any]:
    """What nettax prints as JSON, in the guest; what the command prints stands before it."""
    result = vm.run([*NETTAX, *words])
    assert result.code == 0, result.stderr
    text = result.stdout.decode()
    found: dict[str, Any] = json.loads(text[text.index("{") :])
    return found


def test_the_tree_of_calls_is_exact(probed: Vm) -> None:
    tree = asked(probed, "trace", "graph", "probed_parent", "--no-cost", "--json", "--", *READ)
    assert (tree["lost"], tree["cut"]) == (0, 0)
    root = tree["root"]
    assert root["count"] == READS
    below = {node["name"]: node for node in root["children"]}
    counts = {name: node["count"] for name, node in below.items()}
    assert counts == {
        "probed_first": READS,
        "probed_second": READS,
        "probed_target": 2 * READS,  # by the macro and by the inline
        "probed_by_wrapper": READS,
        "probed_recursive": READS,
    }
    node, levels = below["probed_recursive"], 1
    while node["children"]:
        (node,) = node["children"]
        assert node["count"] == READS
        levels += 1
    assert levels == DEPTH + 1
    assert root["total_ns"] == root["self_ns"] + sum(n["total_ns"] for n in below.values())


def test_latency_of_nested_and_recursive_calls(probed: Vm) -> None:
    names = ("probed_parent", "probed_second", "probed_recursive", "probed_target")
    seen = asked(probed, "trace", "latency", *names, "--no-cost", "--json", "--", *READ)
    whole = {chain["name"]: chain["stages"][0] for chain in seen["chains"]}
    assert {name: stage["count"] for name, stage in whole.items()} == {
        "probed_parent": READS,
        "probed_second": READS,
        "probed_recursive": READS * (DEPTH + 1),
        "probed_target": READS * 3,
    }
    assert not any(seen["doubts"].values())
    assert whole["probed_second"]["least_ns"] < whole["probed_parent"]["least_ns"]
    assert whole["probed_recursive"]["sum_ns"] < whole["probed_parent"]["sum_ns"]


def test_eight_concurrent_callers_do_not_mix(probed: Vm) -> None:
    """Each shell reads a number of times of its own, all at once."""
    caller = "for j in $(seq {n}); do read x < /proc/nettax_probed; done &"
    script = " ".join(caller.format(n=2 * n) for n in range(1, 9)) + " wait"
    words = ("probed_recursive", "probed_second", "--by", "pid", "--no-cost", "--json")
    seen = asked(probed, "trace", "latency", *words, "--", "sh", "-c", script)
    recursive, second = seen["chains"]
    counts = sorted(group["stages"][0]["count"] for group in second["groups"])
    assert counts == [2 * n for n in range(1, 9)]
    counts = sorted(group["stages"][0]["count"] for group in recursive["groups"])
    assert counts == [2 * n * (DEPTH + 1) for n in range(1, 9)]
    assert not any(seen["doubts"].values())


def test_wrappers_are_told_apart(probed: Vm) -> None:
    names = ("probed_by_macro", "probed_by_inline", "probed_by_wrapper", "probed_quiet")
    found = asked(
        probed, "trace", "explain", "--headers", str(PROBED), "--json", *names, "probed_target"
    )
    told = {each["symbol"]: each for each in found["symbols"]}
    assert {name: each["kind"] for name, each in told.items()} == {
        "probed_by_macro": "macro",
        "probed_by_inline": "static inline",
        "probed_by_wrapper": "function",
        "probed_quiet": "notrace",
        "probed_target": "function",
    }
    for name in names[:2]:
        assert [way[-1]["name"] for way in told[name]["instead"]] == ["probed_target"]


def test_refusals_and_leaving_tracefs_as_it_was(probed: Vm) -> None:
    script = (
        "cd /sys/kernel/tracing; cat current_tracer set_graph_function max_graph_depth tracing_on"
    )
    before = probed.run(["sh", "-c", script]).stdout
    quiet = probed.run([*NETTAX, "trace", "graph", "probed_quiet", "-d", "1"])
    assert quiet.code == 77
    assert b"cannot be traced" in quiet.stderr
    quiet = probed.run([*NETTAX, "trace", "latency", "probed_quiet", "-d", "1"])
    assert quiet.code == 77
    assert b"nettax trace explain probed_quiet" in quiet.stderr
    assert probed.run(["sh", "-c", script]).stdout == before
    probed.run(["sh", "-c", "echo function > /sys/kernel/tracing/current_tracer"])
    taken = probed.run([*NETTAX, "trace", "graph", "probed_parent", "-d", "1"])
    probed.run(["sh", "-c", "echo nop > /sys/kernel/tracing/current_tracer"])
    assert taken.code == 1
    assert b"somebody is tracing already: current_tracer is function" in taken.stderr


def test_list_gives_exactly_the_modules_part(probed: Vm) -> None:
    mine = probed.run([*NETTAX, "trace", "list", "--module", "nettax_probed"]).stdout
    file = "/sys/kernel/tracing/available_filter_functions"
    theirs = probed.run(["grep", "-F", "[nettax_probed]", file]).stdout
    assert mine.split() == theirs.split()
    assert b"probed_quiet" not in mine


@pytest.mark.parametrize("exact_series", ["6.1", "6.12"])
def test_times_are_those_of_the_instructions(exact_series: str) -> None:
    """A turn of a loop takes as many instructions in both children, of 2 ns each."""
    only = "probed_first,probed_second"
    words = ("trace", "graph", "probed_parent", "--only", only, "--no-cost", "--json", "--", *READ)
    with Vm(exact_series, exact=True, modules=[Module(PROBED, PARAMETERS)]) as vm:
        (first, second) = asked(vm, *words)["root"]["children"]
    ratio = second["median_ns"] / first["median_ns"]
    assert ratio == pytest.approx(SECOND / FIRST, rel=0.05)
