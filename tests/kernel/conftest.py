"""What the tests that need this kernel share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import pytest

from nettax.host import Host

_WHY_NOT = "" if os.geteuid() == 0 else "needs root: namespaces, cgroups and masks are changed"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs_root: changes the host, which only root may")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if _WHY_NOT and item.get_closest_marker("needs_root"):
        pytest.skip(_WHY_NOT)


class Eventually(Protocol):
    def __call__(self, condition: Callable[[], object], limit: float = ...) -> None: ...


@pytest.fixture
def eventually() -> Eventually:
    """Wait until a condition holds; fail when it does not within ``limit`` seconds."""

    def wait(condition: Callable[[], object], limit: float = 10.0) -> None:
        deadline = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < deadline, f"not so within {limit:g} s"
            time.sleep(0.005)

    return wait


@pytest.fixture
def host() -> Iterator[Host]:
    """A host to change: skips where one may not."""
    if _WHY_NOT:
        pytest.skip(_WHY_NOT)
    with Host() as host:
        yield host
