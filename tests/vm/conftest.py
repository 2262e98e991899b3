"""What the tests that boot a kernel share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nettax.host import Host
from nettax.lab.vm import Vm, qemu
from nettax.lab.vm.initramfs import BUSYBOX

SERIES = ("6.1", "6.12")


def _why_not() -> str:
    if shutil.which(qemu.PROGRAM) is None:
        return "needs QEMU (qemu-system-x86)"
    return "" if BUSYBOX.exists() else "needs busybox-static"


_WHY_NOT = _why_not()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if _WHY_NOT:
        pytest.skip(_WHY_NOT)


@pytest.fixture
def host() -> Iterator[Host]:
    """A host to change: skips where one may not."""
    if os.geteuid() != 0:
        pytest.skip("needs root: a namespace and a tap are made")
    with Host() as host:
        yield host


@pytest.fixture(params=SERIES)
def series(request: pytest.FixtureRequest) -> str:
    """A series of kernels that is in the cache or can be fetched."""
    return str(request.param)


@pytest.fixture(scope="module")
def guest() -> Iterator[Vm]:
    """One guest for the tests that need no other."""
    with Vm() as vm:
        yield vm


@pytest.fixture(scope="session", autouse=True)
def leaves_nothing() -> Iterator[None]:
    """No QEMU of this process is left when all is done."""
    yield
    assert not children("qemu-system-x86")


def children(name: str) -> list[int]:
    """Processes of this name whose parent is this one."""
    mine = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, rest = path.read_text().rpartition(")")
        except OSError:
            continue
        if head.partition("(")[2].startswith(name[:15]) and int(rest.split()[1]) == os.getpid():
            mine.append(int(path.parent.name))
    return mine
