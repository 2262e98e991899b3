"""Modules out of their tree: built for the guest's kernel, loaded, with parameters."""

from __future__ import annotations

from pathlib import Path

import pytest

from nettax.errors import NettaxError
from nettax.lab.vm import Module, Vm

pytestmark = [pytest.mark.full, pytest.mark.timeout(400)]
KNOWN = Path(__file__).with_name("module")


def test_built_loaded_unloaded(series: str) -> None:
    before = sorted(KNOWN.rglob("*"))
    with Vm(series, modules=[Module(KNOWN, ("first=20", "second=3"))]) as vm:
        assert vm.run(["cat", "/proc/nettax_known"]).stdout == b"23\n"
        assert b"nettax_known" in vm.run(["lsmod"]).stdout
        assert vm.run(["rmmod", "nettax_known"]).code == 0
        assert vm.run(["cat", "/proc/nettax_known"]).code == 1
    assert sorted(KNOWN.rglob("*")) == before, "it is built elsewhere"


def test_headers_are_where_a_build_looks(series: str) -> None:
    """A guest's own /lib/modules/RELEASE/build leads to them once a module was built."""
    with Vm(series, modules=[Module(KNOWN)]) as vm:
        found = vm.run(["sh", "-c", "ls /usr/src/linux-headers-$(uname -r)/Makefile"])
        assert found.code == 0, found.stderr


def test_what_does_not_compile(tmp_path: Path) -> None:
    (tmp_path / "Kbuild").write_text("obj-m := broken.o\n")
    (tmp_path / "broken.c").write_text("this is no C\n")
    with pytest.raises(NettaxError, match=r"does not build:(?s:.)*broken\.c:1"):
        Vm(modules=[Module(tmp_path)]).__enter__()


def test_what_does_not_load() -> None:
    said = r"did not start: nettax_known\.ko would not load"
    with pytest.raises(NettaxError, match=said), Vm(modules=[Module(KNOWN, ("first=x",))]):
        pass


def test_exact_counts_are_the_same_again() -> None:
    """The work of a fixed loop in the kernel, by the guest's own clock of 2 ns an instruction."""
    turns = 2_000_000
    script = (
        "import time\n"
        "file = open('/proc/nettax_known')\n"
        "def took():\n"
        "    began = time.monotonic_ns()\n"
        "    file.seek(0)\n"
        "    file.read()\n"
        "    return time.monotonic_ns() - began\n"
        "took()\n"
        "print(took())\n"
    )
    counts = []
    for _ in range(2):
        module = Module(KNOWN, (f"first={turns}", f"second={turns}"))
        with Vm(exact=True, modules=[module]) as vm:
            result = vm.run(["python3", "-IS", "-c", script])
            assert result.code == 0, result.stderr
            counts.append(int(result.stdout) // 2)
    print("instructions:", counts)
    assert counts[0] == pytest.approx(counts[1], rel=1e-3)
    assert counts[0] > 2 * turns
