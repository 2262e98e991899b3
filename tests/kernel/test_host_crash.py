"""Whatever ends a process that changes the host, and whenever: nothing of it is left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from nettax.host import recover

pytestmark = pytest.mark.needs_root

CHANGER = Path(__file__).with_name("changer.py")
MASK = Path("/sys/class/net/lo/queues/rx-0/rps_cpus")
JOURNALS = Path("/run/nettax/journal")


class State(NamedTuple):
    namespaces: frozenset[str]
    cgroups: frozenset[str]
    processes: frozenset[int]
    journals: frozenset[str]
    mask: str


def state(owner: int, tag: str) -> State:
    """Everything that the changer with this pid makes; ``tag`` marks its processes."""
    prefix = f"nettax-{owner}-"
    return State(
        frozenset(path.name for path in Path("/run/netns").glob(prefix + "*")),
        frozenset(str(path) for path in Path("/sys/fs/cgroup").glob(f"**/{prefix}*")),
        frozenset(pid for pid in tagged(tag) if pid != owner),
        frozenset(path.name for path in JOURNALS.glob(f"{owner}-*")),
        MASK.read_text(),
    )


def tagged(tag: str) -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if tag.encode() in (path / "environ").read_bytes():
                yield int(path.name)


@contextmanager
def changer(mode: str, tag: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the changer until it has changed something; it inherits ``tag`` to all its children."""
    process = subprocess.Popen(
        [sys.executable, CHANGER, mode],
        stdout=subprocess.PIPE,
        env=os.environ | {"NETTAX_TEST": tag, "PYTHONPATH": ":".join(filter(None, sys.path))},
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        try:
            yield process
        finally:
            process.kill()


def clean(before: State) -> State:
    return State(frozenset(), frozenset(), frozenset(), frozenset(), before.mask)


@pytest.fixture
def tag(request: pytest.FixtureRequest) -> str:
    return f"{request.node.name}-{time.monotonic_ns()}"


def kill_and_recover(delays: Iterator[float], tag: str) -> None:
    before = state(0, tag)
    for turn, delay in enumerate(delays):
        mark = f"{tag}-{turn}"
        with changer("churn", mark) as process:
            with suppress(subprocess.TimeoutExpired):
                process.wait(delay)
            process.kill()
            process.wait()
            undone = recover()
            assert not undone.problems, undone
            assert state(process.pid, mark) == clean(before), f"killed after {delay * 1e3:.1f} ms"


@pytest.fixture(scope="module")
def turn_time() -> float:
    """How long the changer takes for all its changes and their undoing, in seconds."""
    with changer("churn", "turn") as process:
        assert process.stdout is not None
        process.stdout.readline()
        started = time.monotonic()
        process.stdout.readline()
        process.stdout.readline()
        return time.monotonic() - started


def test_killed_at_a_few_moments(tag: str, turn_time: float) -> None:
    kill_and_recover((turn_time * (turn + random.random()) / 6 for turn in range(6)), tag)


@pytest.mark.full
def test_killed_at_fifty_moments(tag: str, turn_time: float) -> None:
    kill_and_recover((turn_time * random.random() for _ in range(50)), tag)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_undoes_and_gives_the_exit_code(number: signal.Signals, tag: str) -> None:
    before = state(0, tag)
    with changer("hold", tag) as process:
        process.send_signal(number)
        assert process.wait(20) == 128 + number
        assert state(process.pid, tag) == clean(before)


def test_the_living_are_left_alone(tag: str) -> None:
    with changer("hold", tag) as process:
        during = state(process.pid, tag)
        assert len(during.namespaces) == 2
        assert len(during.cgroups) == 2
        assert len(during.processes) == 3
        recover()
        assert state(process.pid, tag) == during
        process.kill()
        process.wait()
        assert not recover().problems


def test_two_recoverers_at_once(tag: str) -> None:
    before = state(0, tag)
    with changer("hold", tag) as process:
        process.kill()
        process.wait()
        command = "from nettax.host import recover; print(*recover().problems)"
        environment = os.environ | {"PYTHONPATH": ":".join(filter(None, sys.path))}
        recoverers = [
            subprocess.Popen(
                [sys.executable, "-c", command], stdout=subprocess.PIPE, env=environment
            )
            for _ in range(2)
        ]
        for recoverer in recoverers:
            assert recoverer.communicate(timeout=30)[0] == b"\n"
            assert recoverer.returncode == 0
        assert state(process.pid, tag) == clean(before)
