"""What the tests that need this kernel share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest

from nettax.host import Host
from nettax.kernel import proc_pid, proc_stat

QUIET = 0.10  # of all CPUs' time
_WHY_NOT = "" if os.geteuid() == 0 else "needs root: namespaces, cgroups and masks are changed"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs_root: changes the host, which only root may")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if _WHY_NOT and item.get_closest_marker("needs_root"):
        pytest.skip(_WHY_NOT)


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    """Wait until a condition holds; fail when it does not within ten seconds."""

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, "not so within 10 s"
            time.sleep(0.005)

    return wait


@pytest.fixture
def host() -> Iterator[Host]:
    """A host to change: skips where one may not."""
    if _WHY_NOT:
        pytest.skip(_WHY_NOT)
    with Host() as host:
        yield host


@pytest.fixture
def await_quiet() -> Callable[..., None]:
    """Wait until somebody else's load has gone: a known answer is known of a quiet host only.

    Its argument is a process of the test's own, which may be busy.
    """
    deadline = time.monotonic() + 20

    def wait(own: int | None = None) -> None:
        while (busy := busy_share(0.2, own)) > QUIET:
            if time.monotonic() > deadline:
                pytest.skip(f"this host has been busy for 20 s (now {busy:.0%})")

    return wait


def busy_share(seconds: float, own: int | None = None) -> float:
    """The share of all CPUs' time that was not idle, nor a process's own."""
    ran, before = run_time(own), proc_stat.stat().total
    time.sleep(seconds)
    times = proc_stat.stat().total - before
    busy_ns = times.wall_ns - times.idle_ns - times.iowait_ns - (run_time(own) - ran)
    return busy_ns / times.wall_ns


def run_time(pid: int | None) -> int:
    """What the scheduler billed a process, in ns."""
    stat = proc_pid.schedstat(pid) if pid else None
    return stat.cpu_ns if stat else 0
