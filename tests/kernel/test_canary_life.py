"""How a canary starts, what it is on the host, and how it ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nettax.canary import Canary
from nettax.canary.canary import Engine
from nettax.errors import NettaxError, UsageError

CPU = max(os.sched_getaffinity(0))


def await_end(pidfd: int) -> None:
    """Wait until the process ends (pidfd_open(2): it polls readable then)."""
    ended, _, _ = select.select([pidfd], [], [], 10)
    assert ended, "the process did not end in 10 s"


@pytest.mark.parametrize("engine", ["chain", "gap"])
def test_it_is_an_ordinary_task_with_a_name_on_one_cpu(engine: Engine) -> None:
    with Canary(CPU, engine) as canary:
        assert Path(f"/proc/{canary.pid}/comm").read_text() == "nettax-canary\n"
        assert os.sched_getaffinity(canary.pid) == {CPU}
        assert os.sched_getscheduler(canary.pid) == os.SCHED_OTHER
        assert canary.read().iterations > 0
    assert not Path(f"/proc/{canary.pid}").exists()


def test_a_dead_canary_is_noticed() -> None:
    with Canary(CPU) as canary:
        pidfd = os.pidfd_open(canary.pid)
        try:
            os.kill(canary.pid, signal.SIGKILL)
            await_end(pidfd)
        finally:
            os.close(pidfd)
        for _ in range(2):
            with pytest.raises(NettaxError, match="killed by SIGKILL"):
                canary.read()


def test_its_lifetime_ends_it() -> None:
    with Canary(CPU, "gap", lifetime_s=1) as canary:
        pidfd = os.pidfd_open(canary.pid)
        try:
            await_end(pidfd)
        finally:
            os.close(pidfd)
        with pytest.raises(NettaxError, match="lifetime"):
            canary.read()


def test_it_dies_with_a_parent_that_is_killed() -> None:
    code = (
        "from nettax.canary import Canary\n"
        f"with Canary({CPU}) as canary:\n"
        "    print(canary.pid, flush=True)\n"
        "    input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        pidfd = os.pidfd_open(int(parent.stdout.readline()))
        try:
            parent.kill()
            await_end(pidfd)
        finally:
            os.close(pidfd)


@pytest.mark.parametrize("cpu", [-1, 100_000])
def test_a_cpu_that_does_not_exist_is_refused(cpu: int) -> None:
    with pytest.raises(UsageError), Canary(cpu):
        pass
