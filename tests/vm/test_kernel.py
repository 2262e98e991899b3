"""A kernel of one's own, by its path."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nettax.errors import NettaxError
from nettax.lab.vm import Vm, kernels

pytestmark = [pytest.mark.full, pytest.mark.timeout(400)]


@pytest.fixture
def vmlinuz() -> Path:
    """A bzImage as a package has it, its modules beside it."""
    kernel = kernels.find("6.1")
    assert kernel.tree
    return kernel.tree / f"boot/vmlinuz-{kernel.release}"


def test_with_the_modules_beside_it(vmlinuz: Path) -> None:
    with Vm(str(vmlinuz)) as vm:
        assert vm.kernel.tree is None
        assert vm.run(["uname", "-r"]).stdout.decode().strip() == vmlinuz.name.partition("-")[2]
        assert vm.run(["modprobe", "dummy"]).code == 0


def test_without_modules(vmlinuz: Path, tmp_path: Path) -> None:
    """A stock kernel has nothing built in that could mount a root: the guest says so."""
    alone = shutil.copy(vmlinuz, tmp_path / "vmlinuz")
    with (
        pytest.raises(NettaxError, match="this kernel cannot mount the host's root"),
        Vm(str(alone)),
    ):
        pass
