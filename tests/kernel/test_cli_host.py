"""`nettax doctor` and `nettax undo`: what this host can do, and what a killed nettax left on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nettax.kernel import cpus, features
from nettax.kernel.cgroup import v2_mount

pytestmark = pytest.mark.needs_root
MASK = Path("/sys/class/net/lo/queues/rx-0/rps_cpus")

# Changes the host in the ways given, tells their names, and waits.
HOLDER = f"""
import signal, sys
from pathlib import Path
from nettax.host import Host
with Host() as host:
    for change in sys.argv[1:]:
        if change == "namespace": print(host.namespace("undo"))
        if change == "cgroup": print(host.cgroup("undo"))
        if change == "process": print(host.spawn(["sleep", "1000"]).pid)
        if change == "mask": print(host.write(Path("{MASK}"), "1"))
    print(flush=True)
    signal.pause()
"""


def nettax(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nettax", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def holder(*changes: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A process that has changed the host, and what it calls the changes."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, *changes], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process, [line.strip() for line in iter(process.stdout.readline, "\n")]
        finally:
            process.kill()


# --- doctor --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def health() -> Any:
    run = nettax("doctor", "--json")
    assert (run.returncode, run.stderr) == (0, "")
    return json.loads(run.stdout)


def test_doctors_document(health: Any) -> None:
    assert list(health) == ["schema", "probes", "ledger_works", "verdict"]
    assert health["schema"] == "nettax.doctor/1"
    assert health["ledger_works"] is True
    assert health["verdict"] == "The ledger works here."
    assert all(list(probe) == ["name", "available", "detail", "fix"] for probe in health["probes"])
    names = [probe["name"] for probe in health["probes"]]
    assert len(names) == len(set(names))


def test_doctor_finds_what_is_known(health: Any) -> None:
    probes = {probe["name"]: probe for probe in health["probes"]}
    for name in ("BTF", "libbpf", "CAP_BPF", "CAP_PERFMON", "cgroup v2", "ledger"):
        assert probes[name]["available"], probes[name]
        assert probes[name]["fix"] is None
    assert probes["HZ"]["detail"] == str(features.tick_hz())
    assert f"{len(cpus.online())} CPUs" in probes["ledger"]["detail"]
    assert "irq_handler" in probes["interrupts seen"]["detail"]


def test_doctor_tells_people_the_same(health: Any) -> None:
    run = nettax("doctor")
    assert (run.returncode, run.stderr) == (0, "")
    findings, _, verdict = run.stdout.rstrip("\n").rpartition("\n\n")
    assert verdict == health["verdict"]
    told = [line for line in findings.splitlines() if not line.startswith("    fix: ")]
    fixes = [line for line in findings.splitlines() if line.startswith("    fix: ")]
    # BPF objects may come and go between the two runs, names and marks may not.
    marks = {
        probe["name"]: "✓" if probe["available"] else "✗" if probe["fix"] else "–"
        for probe in health["probes"]
    }
    assert [line.partition(": ")[0] for line in told] == [
        f"{mark} {name}" for name, mark in marks.items()
    ]
    assert fixes == [f"    fix: {probe['fix']}" for probe in health["probes"] if probe["fix"]]


# --- undo ----------------------------------------------------------------------------------------


def test_undo_tells_what_it_undid_the_last_first() -> None:
    with holder("namespace", "cgroup", "process") as (process, (namespace, cgroup, child)):
        assert Path("/run/netns", namespace).exists()
        assert Path(cgroup).is_relative_to(v2_mount())
        process.kill()
        process.wait()
        run = nettax("undo")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines() == [
        f"undone: process {child}",
        f"undone: cgroup {cgroup}",
        f"undone: network namespace {namespace}",
    ]
    assert not Path("/run/netns", namespace).exists()
    assert not Path(cgroup).exists()
    assert nettax("undo").stdout == "nothing to undo\n"


def test_undo_leaves_the_living_alone() -> None:
    with holder("namespace") as (process, (namespace,)):
        run = nettax("undo")
        assert Path("/run/netns", namespace).exists()
        assert (run.returncode, run.stdout, run.stderr) == (0, "nothing to undo\n", "")
        process.terminate()
        process.wait()
    assert not Path("/run/netns", namespace).exists()


def test_any_verb_undoes_first() -> None:
    """And says so, where it is not taken for the verb's own output."""
    with holder("namespace") as (process, (namespace,)):
        process.kill()
        process.wait()
        run = nettax("stat", "-d", "0.1", "--json")
    assert run.returncode == 0
    assert run.stderr == f"nettax: undone: network namespace {namespace}\n"
    assert json.loads(run.stdout)["schema"] == "nettax.stat/1"
    assert not Path("/run/netns", namespace).exists()


@pytest.mark.skipif(len(cpus.possible()) < 2, reason="a mask of one CPU has two values only")
def test_undo_leaves_what_somebody_changed_since() -> None:
    before = MASK.read_text()
    MASK.write_text("2")
    try:
        with holder("mask") as (process, _):
            process.kill()
            process.wait()
            MASK.write_text("3")
            run = nettax("undo")
        assert MASK.read_text().strip().endswith("3")
    finally:
        MASK.write_text(before)
    assert (run.returncode, run.stdout) == (1, "")
    (line,) = run.stderr.splitlines()
    assert line.startswith(f"nettax: {MASK.resolve()} was left at ")
    assert nettax("undo").stdout == "nothing to undo\n"


def test_undo_needs_no_privilege_where_there_is_nothing(tmp_path: Path) -> None:
    """An ordinary user's journal is his own."""
    run = subprocess.run(
        ["unshare", "--user", sys.executable, "-m", "nettax", "undo"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "nothing to undo\n", "")
