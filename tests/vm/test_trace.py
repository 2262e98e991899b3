"""Functions of a kernel that lets itself be probed, against a module of known answers."""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nettax.lab.vm import Module, Vm, build

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]
PROBED = Path(__file__).with_name("probed")
THREADS = Path(__file__).with_name("threads")
THREADS_MADE = 150
SLEEPERS = 40
BACKENDS = ("fentry", "kprobe", "tracefs")
NETTAX = (sys.executable, "-m", "nettax")
FIRST, SECOND, DEPTH, READS = 20_000, 60_000, 5, 7
READ = ["sh", "-c", f"for i in $(seq {READS}); do cat /proc/nettax_probed; done"]


PARAMETERS = (f"first={FIRST}", f"second={SECOND}", f"depth={DEPTH}")


@pytest.fixture(scope="module", params=["6.1", "6.12"])
def probed(request: pytest.FixtureRequest) -> Iterator[Vm]:
    """A guest with the module, of which BTF tells, as fentry wants it.

    It has one CPU: with two, QEMU 7.2 now and then runs what the kernel has just patched, and the
    kernel panics over an int3 that it had taken away (seen as a tracepoint was switched off).
    """
    with Vm(request.param, cpus=1, modules=[Module(PROBED, PARAMETERS)]) as vm:
        if shutil.which("pahole"):
            describe(vm)
        yield vm


def describe(vm: Vm) -> None:
    """Load the module anew with BTF, which builds out of the kernel's tree do not have."""
    (file,) = build.built(vm.kernel, Module(PROBED)).files
    steps = (
        f"cp {file} /tmp/probed.ko && pahole -J --btf_base /sys/kernel/btf/vmlinux /tmp/probed.ko",
        f"rmmod nettax_probed && insmod /tmp/probed.ko {' '.join(PARAMETERS)}",
    )
    done = vm.run(["sh", "-c", " && ".join(steps)])
    assert done.code == 0, done.stderr


def needs(backend: str) -> None:
    if backend == "fentry" and not shutil.which("pahole"):
        pytest.skip("needs pahole (dwarves), which gives the module its BTF")


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


@pytest.mark.parametrize("backend", BACKENDS)
def test_latency_of_nested_and_recursive_calls(probed: Vm, backend: str) -> None:
    needs(backend)
    names = ("probed_parent", "probed_second", "probed_recursive", "probed_target")
    words = (*names, "--backend", backend, "--no-cost", "--json")
    seen = asked(probed, "trace", "latency", *words, "--", *READ)
    whole = {chain["name"]: chain["stages"][0] for chain in seen["chains"]}
    assert {name: stage["count"] for name, stage in whole.items()} == {
        "probed_parent": READS,
        "probed_second": READS,
        "probed_recursive": READS * (DEPTH + 1),
        "probed_target": READS * 3,
    }
    assert not any(seen["doubts"].values())
    assert backend in seen["backend"]
    parent = whole.pop("probed_parent")
    for name, stage in whole.items():  # what is within the parent's is shorter, whatever came in
        assert stage["least_ns"] < parent["least_ns"], name
        assert stage["most_ns"] < parent["most_ns"], name
    assert whole["probed_second"]["sum_ns"] < parent["sum_ns"]
    assert whole["probed_recursive"]["sum_ns"] < (DEPTH + 1) * parent["sum_ns"]


def test_the_best_backend_is_chosen_and_named(probed: Vm) -> None:
    """fentry where BTF has the function and its arguments are told; a kprobe where not."""
    needs("fentry")
    names = ("probed_second", "kthread_create_on_node")
    seen = asked(probed, "trace", "latency", *names, "--no-cost", "--json", "--", *READ)
    assert "fentry and fexit by BPF (probed_second)" in seen["backend"]
    assert "kprobe and kretprobe by BPF (kthread_create_on_node)" in seen["backend"]
    refused = probed.run([*NETTAX, "trace", "latency", "--backend", "fentry", names[1]])
    assert refused.code == 77
    assert b"cannot take kthread_create_on_node by fentry" in refused.stderr


@pytest.mark.parametrize("backend", BACKENDS)
def test_eight_concurrent_callers_do_not_mix(probed: Vm, backend: str) -> None:
    """Each shell reads a number of times of its own, all at once."""
    needs(backend)
    caller = "for j in $(seq {n}); do read x < /proc/nettax_probed; done &"
    script = " ".join(caller.format(n=2 * n) for n in range(1, 9)) + " wait"
    words = ("--by", "pid", "--backend", backend, "--no-cost", "--json", "--", "sh", "-c", script)
    seen = asked(probed, "trace", "latency", "probed_recursive", "probed_second", *words)
    recursive, second = (
        sorted(group["stages"][0]["count"] for group in chain["groups"]) for chain in seen["chains"]
    )
    assert len(second) == len(recursive) == 8
    assert not any(seen["doubts"].values())
    assert second == [2 * n for n in range(1, 9)]
    assert recursive == [2 * n * (DEPTH + 1) for n in range(1, 9)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_calls_that_are_all_under_way_at_once(probed: Vm, backend: str) -> None:
    """Forty sleepers: more than kprobes follow unless they are told to."""
    script = f"for i in $(seq {SLEEPERS}); do sleep 4 & done; wait"
    words = ("hrtimer_nanosleep", "--by", "pid", "--backend", backend, "--no-cost", "--json")
    seen = asked(probed, "trace", "latency", *words, "--", "sh", "-c", script)
    groups = [group["stages"][0] for group in seen["chains"][0]["groups"]]
    assert [group["count"] for group in groups] == [1] * SLEEPERS
    assert min(group["least_ns"] for group in groups) >= 4 * 10**9
    assert not any(seen["doubts"].values())


def test_returns_that_the_kernel_does_not_follow_are_told(probed: Vm) -> None:
    """Without tracefs kprobes follow ten calls at once: of forty each is counted or told."""
    hidden = ["unshare", "--mount", "sh", "-c", 'umount -a -t tracefs; exec "$@"', "sh"]
    words = ("hrtimer_nanosleep", "--by", "pid", "--backend", "kprobe", "--no-cost", "--json")
    script = f"for i in $(seq {SLEEPERS}); do sleep 4 & done; wait"
    result = probed.run([*hidden, *NETTAX, "trace", "latency", *words, "--", "sh", "-c", script])
    assert result.code == 0, result.stderr
    seen = json.loads(result.stdout)
    groups = [group["stages"][0] for group in seen["chains"][0]["groups"]]
    lost = SLEEPERS - len(groups)
    assert all(group["count"] == 1 for group in groups)
    assert lost > 0
    assert seen["doubts"]["abandoned"] == lost
    assert seen["doubts"]["missed"] in (0, lost)  # told since Linux 6.7


@pytest.mark.parametrize("by", ["pid", "cgroup", "arg"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_told_apart(probed: Vm, backend: str, by: str) -> None:
    """Calls of a recursion by how many are left; of two readers in cgroups of their own."""
    needs(backend)
    words = ("trace", "latency", "probed_recursive", "--by", by, "--backend", backend)
    if (backend, by) == ("tracefs", "cgroup"):
        refused = probed.run([*NETTAX, *words])
        assert refused.code == 2
        assert b"--by cgroup takes BPF" in refused.stderr
        return
    reader = "mkdir -p $0/$1; echo $$ > $0/$1/cgroup.procs; read x < /proc/nettax_probed"
    mount = "$(awk '$3 == \"cgroup2\" {print $2}' /proc/mounts)"
    script = f"for c in one two two; do sh -c '{reader}' {mount} $c; done"
    seen = asked(probed, *words, "--no-cost", "--json", "--", "sh", "-c", script)
    groups = {group["name"]: group["stages"][0]["count"] for group in seen["chains"][0]["groups"]}
    if by == "arg":
        assert groups == {str(left): 3 for left in range(DEPTH + 1)}
    elif by == "cgroup":
        assert groups == {"/one": DEPTH + 1, "/two": 2 * (DEPTH + 1)}
    else:
        assert list(groups.values()) == [DEPTH + 1] * 3
        assert all(name.startswith("sh ") for name in groups)


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


@pytest.mark.parametrize("backend", ["kprobe", "tracefs"])
def test_tracefs_is_left_as_it_was(probed: Vm, backend: str) -> None:
    """Events, triggers and instance are taken away again; after a kill, by the next start."""
    shown = "cd /sys/kernel/tracing; cat kprobe_events synthetic_events; ls instances"
    before = probed.run(["sh", "-c", shown]).stdout
    words = (*NETTAX, "trace", "latency", "probed_second", "--backend", backend, "--no-cost")
    killed = "import os; os.kill(os.getppid(), 9)"
    probed.run([*words, "--", sys.executable, "-IS", "-c", killed])
    assert probed.run(["sh", "-c", shown]).stdout != before, "the kill left something to undo"
    assert probed.run([*words, "--", "true"]).code == 0
    assert probed.run(["sh", "-c", shown]).stdout == before
    for name, code in (("probed_quiet", 77), ("no_such_function", 77), ("probed_*", 2)):
        refused = probed.run([*words[:5], name, *words[6:]])
        assert refused.code == code, refused.stderr
        assert b"Traceback" not in refused.stderr
    assert probed.run(["sh", "-c", shown]).stdout == before


def test_without_tracefs_and_without_bpf(probed: Vm) -> None:
    """What is lacking is told; where BPF is, tracefs does."""
    graph = (*NETTAX, "trace", "graph", "probed_parent", "-d", "1")
    hidden = ["unshare", "--mount", "sh", "-c", 'umount -a -t tracefs; exec "$@"', "sh"]
    refused = probed.run([*hidden, *graph])
    assert refused.code == 77
    assert b"mount -t tracefs" in refused.stderr
    drop = ["setpriv", "--bounding-set=-bpf,-perfmon,-sys_admin", "--inh-caps=-all"]
    words = ("trace", "latency", "probed_second", "--no-cost", "--json", "--", *READ)
    result = probed.run([*drop, *NETTAX, *words])
    assert result.code == 0, result.stderr
    seen = json.loads(result.stdout[result.stdout.index(b"{") :])
    assert "tracefs" in seen["backend"]
    assert seen["chains"][0]["stages"][0]["count"] == READS


@pytest.fixture(scope="module", params=["6.1", "6.12"])
def exact(request: pytest.FixtureRequest) -> Iterator[Vm]:
    """A guest whose clock counts instructions, 2 ns each: its times are the same again."""
    modules = [Module(PROBED, PARAMETERS), Module(THREADS, (f"threads={THREADS_MADE}",))]
    with Vm(request.param, exact=True, modules=modules) as vm:
        yield vm


def test_times_are_those_of_the_instructions(exact: Vm) -> None:
    """A turn of a loop takes as many instructions in both children."""
    only = "probed_first,probed_second"
    words = ("trace", "graph", "probed_parent", "--only", only, "--no-cost", "--json", "--", *READ)
    (first, second) = asked(exact, *words)["root"]["children"]
    ratio = second["median_ns"] / first["median_ns"]
    assert ratio == pytest.approx(SECOND / FIRST, rel=0.05)


@pytest.mark.parametrize("backend", ["kprobe", "tracefs"])
def test_latency_of_known_times(exact: Vm, backend: str) -> None:
    names = ("probed_first", "probed_second")
    words = ("trace", "latency", *names, "--backend", backend, "--no-cost", "--json", "--", *READ)
    first, second = (chain["stages"][0]["least_ns"] for chain in asked(exact, *words)["chains"])
    assert second / first == pytest.approx(SECOND / FIRST, rel=0.05)


@pytest.mark.parametrize("backend", ["kprobe", "tracefs"])
def test_kernel_threads_beside_a_clock_of_the_kernels(exact: Vm, backend: str) -> None:
    """The module takes the time of each thread's making itself, and nettax of the same calls.

    Around a traced call the module's clock has the whole of the tracer, nettax's a part of it. What
    either tells of an empty function is so much, and is taken off: what is left is the call's own.
    """
    ask = ["cat", "/proc/nettax_threads"]

    def columns(text: str) -> tuple[list[int], list[int]]:
        rows = [tuple(map(int, line.split())) for line in text.splitlines()]
        assert len(rows) == THREADS_MADE
        return [making for making, _ in rows], [empty for _, empty in rows]

    def untraced() -> list[int]:
        return columns(exact.run(ask).stdout.decode())[0]

    untraced()
    before = untraced()
    names = ("kthread_create_on_node", "threads_empty")
    words = ("trace", "latency", *names, "--backend", backend, "--json", "--", *ask)
    result = exact.run([*NETTAX, *words])
    assert result.code == 0, result.stderr
    lines, brace, rest = result.stdout.decode().partition("{")
    others = before + untraced()
    seen = json.loads(brace + rest)
    making, empty = (chain["stages"][0] for chain in seen["chains"])
    assert making["count"] == empty["count"] == THREADS_MADE
    assert not any(seen["doubts"].values())
    by_module = [statistics.mean(column) for column in columns(lines)]
    by_nettax = [stage["sum_ns"] / THREADS_MADE for stage in (making, empty)]
    inside = seen["chains"][0]["tracing_adds"]["inside_ns"]
    print(
        f"\n{exact.kernel.release} {backend}: means {by_nettax[0]:.0f} - {by_nettax[1]:.0f} ns, "
        f"by the module {by_module[0]:.0f} - {by_module[1]:.0f}; median {making['p50_ns']}, "
        f"{inside} of it the tracer's; untraced {statistics.median(others):.0f}"
    )
    own = by_module[0] - by_module[1]
    assert by_nettax[0] - by_nettax[1] == pytest.approx(own, rel=0.05)
    assert by_nettax[0] - inside == pytest.approx(own, rel=0.05)  # as nettax tells it
    assert 0 < inside < making["p50_ns"]
    if backend == "kprobe":  # as nettax takes this function, unless told otherwise
        untold = statistics.median(others)
        assert making["p50_ns"] - inside == pytest.approx(untold, rel=0.05)
