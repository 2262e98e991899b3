"""However a guest ends, the host is told why, and nothing is left."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from nettax.errors import NettaxError
from nettax.host import Host
from nettax.lab.vm import Vm, cache

pytestmark = pytest.mark.full
RUN = [sys.executable, "-m", "nettax", "lab", "vm", "run"]


def traces() -> dict[str, object]:
    """What a run of this process could leave; others may run on this host meanwhile."""
    mine = f"{os.getpid()}-"
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return {
        "children": [pid for pid in _qemus() if _parent(pid) == os.getpid()],
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "mounts": [line for line in mounts if f"nettax-{mine}" in line],
        "namespaces": [path.name for path in Path("/run/netns").glob(f"nettax-{mine}*")],
        "journals": [path.name for path in Path("/run/nettax/journal").glob(f"{mine}*")],
        "cache": sorted(path.name for path in cache.root().glob("*/*")),
        "files": sorted(Path(tempfile.gettempdir()).iterdir()),
    }


def _qemus() -> list[int]:
    """Those that run a guest; one that is asked for its version does not."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            comm, words = (path / "comm").read_text(), (path / "cmdline").read_bytes().split(b"\0")
            if comm.startswith("qemu-system-x86") and b"-kernel" in words:
                found.append(int(path.name))
        except OSError:
            continue
    return found


def test_panic() -> None:
    said = r"kernel panicked: sysrq triggered crash(?s:.)*\n  .*sysrq_handle_crash"
    with pytest.raises(NettaxError, match=said), Vm() as vm:
        vm.run(["sh", "-c", "echo c >/proc/sysrq-trigger"])


def test_hang() -> None:
    """The guest says no more, and its time runs out."""
    said = r"not done after 30 s(?s:.)*\n  going away"
    with pytest.raises(NettaxError, match=said), Vm(limit=30) as vm:
        vm.run(["sh", "-c", "echo going away >/dev/ttyS0; sleep 300"])


def test_power_off_by_the_command() -> None:
    with pytest.raises(NettaxError, match="shut down before the command"), Vm() as vm:
        vm.run(["sh", "-c", "echo o >/proc/sysrq-trigger; sleep 60"])


def test_kernel_without_a_root() -> None:
    with pytest.raises(NettaxError, match="Its serial line ends:"), Vm(append="rdinit=/no") as vm:
        vm.run(["true"])


@pytest.mark.parametrize("moment", ["booting", "running"])
def test_kill_of_the_parent_ends_qemu(moment: str) -> None:
    parent = subprocess.Popen([*RUN, "--", "sh", "-c", "echo up; sleep 300"], stdout=-1)
    assert parent.stdout
    try:
        deadline = time.monotonic() + 60
        while not (mine := [pid for pid in _qemus() if _parent(pid) == parent.pid]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        if moment == "running":
            assert parent.stdout.readline() == b"up\n"
        handle = os.pidfd_open(mine[0])
    finally:
        parent.stdout.close()
        parent.kill()
        parent.wait()
    assert select.select([handle], [], [], 10)[0], "QEMU outlived its parent"
    os.close(handle)


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_command_line_passes_on_what_it_is_told() -> None:
    child = subprocess.Popen(
        [*RUN, "--", "sh", "-c", "read line; echo got $line; sleep 300"], stdin=-1, stdout=-1
    )
    assert child.stdin and child.stdout
    child.stdin.write(b"this\n")
    child.stdin.flush()
    assert child.stdout.readline() == b"got this\n"
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 128 + signal.SIGTERM
    child.stdin.close()
    child.stdout.close()


def test_without_privilege_or_network_and_side_by_side(guest: Vm) -> None:
    """From the cache, which `guest` has filled: two at once, each with its own code."""
    apart = ["unshare", "--net"] if os.geteuid() == 0 else []
    plain = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if apart else []
    runs = [
        subprocess.Popen([*apart, *plain, *RUN, "--", "sh", "-c", f"exit {code}"])
        for code in (3, 4)
    ]
    assert [run.wait(100) for run in runs] == [3, 4]


@pytest.mark.timeout(600)
def test_twenty_runs_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a NIC, where one may: it takes a namespace, a tap and a journal."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = traces()
    for number in range(20):
        with ExitStack() as stack:
            network: dict[str, Any] = {}
            if os.geteuid() == 0:
                network = {"host": stack.enter_context(Host()), "nic": "virtio"}
            vm = stack.enter_context(Vm(cpus=1, **network))
            assert vm.run(["sh", "-c", f"exit {number}"]).code == number
    assert traces() == before
