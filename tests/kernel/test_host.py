"""Changes to this host: what they do, what they refuse, and that they go."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from nettax.errors import NettaxError, UsageError
from nettax.host import Host, namespace, spawn

pytestmark = pytest.mark.needs_root

MASK = Path("/sys/class/net/lo/queues/rx-0/rps_cpus")
PARENT = """
import subprocess, sys
from nettax.host import spawn
print(spawn(["sleep", "1000"]).pid, flush=True)
sys.stdin.read()
"""


def output(*argv: str, **options: Any) -> str:
    with spawn(argv, stdout=subprocess.PIPE, **options) as child:
        return child.communicate()[0].decode().strip()


def test_a_child_is_placed_before_it_runs(host: Host) -> None:
    netns, cgroup = host.namespace("place"), host.cgroup("place")
    script = (
        "grep Cpus_allowed_list /proc/self/status; readlink /proc/self/ns/net;"
        " cat /proc/self/cgroup"
    )
    said = output("sh", "-c", script, cpus=[1], netns=netns, cgroup=cgroup).splitlines()
    assert said[0].split() == ["Cpus_allowed_list:", "1"]
    assert said[1] != str(Path("/proc/self/ns/net").readlink())
    assert f"0::/{cgroup.name}" in said


def test_a_child_dies_with_its_parent() -> None:
    environment = os.environ | {"PYTHONPATH": ":".join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as parent:
        assert parent.stdout is not None
        handle = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    try:
        assert select.select([handle], [], [], 10)[0]
    finally:
        os.close(handle)


def test_stop_ends_and_reaps(host: Host) -> None:
    child = host.spawn(["sleep", "1000"])
    host.stop(child)
    assert child.returncode is not None
    assert not Path(f"/proc/{child.pid}").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"cpus": []},
        {"cpus": [4095]},
        {"cpus": [-1]},
        {"netns": "nettax-no-such"},
        {"netns": "../../proc/self/ns/net"},
        {"netns": ""},
        {"cgroup": Path("/tmp")},
    ],
)
def test_a_place_that_is_none(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        spawn(["true"], **options)


def test_names_that_are_none(host: Host) -> None:
    for label in ("a/b", "\0", "x" * 300):
        with pytest.raises(UsageError):
            host.namespace(label)
        with pytest.raises(UsageError):
            host.cgroup(label)
    netns = host.namespace("names")
    for device in ("", ".", "a/b", "a b", "sixteen-letters-"):
        with pytest.raises(UsageError):
            host.veth(device, netns, "veth1", netns)
    with pytest.raises(UsageError):
        host.veth("lo", netns, "veth1", netns)


@pytest.mark.parametrize("value", ["", "x", "-1", "f" * 5000, "1,2,3,4\nmore"])
def test_a_mask_that_is_none_changes_nothing(host: Host, value: str) -> None:
    before = MASK.read_text()
    with pytest.raises(UsageError):
        host.write(MASK, value)
    assert MASK.read_text() == before


def test_a_mask_is_put_back(host: Host) -> None:
    before = MASK.read_text()
    with host.temporarily():
        host.write(MASK, "00000003")
        assert MASK.read_text().strip().endswith("3")
    assert MASK.read_text() == before


def test_a_file_that_is_not_there(host: Host) -> None:
    with pytest.raises(UsageError):
        host.write(Path("/sys/class/net/nettax-none/queues/rx-0/rps_cpus"), "1")


def test_a_namespace_shows_its_own_devices(host: Host) -> None:
    here = Path("/proc/thread-self/ns/net").readlink()
    left, right = host.namespace("left"), host.namespace("right")
    host.veth("near", left, "far", right, queues=3)
    with namespace.sysfs(right) as root:
        shown = Path(f"/proc/self/fd/{root}/class/net")
        devices = {path.name for path in shown.iterdir()}
        queues = {path.name for path in (shown / "far" / "queues").iterdir()}
    assert devices - {"bonding_masters"} == {"far", "lo"}
    assert {"rx-0", "rx-1", "rx-2"} < queues
    assert Path("/proc/thread-self/ns/net").readlink() == here
    assert left in output("ip", "netns")


def test_a_cgroup_goes_with_all_that_is_in_it() -> None:
    with Host() as host:
        cgroups = [host.cgroup("v2"), host.cgroup("quota", "cpu")]
        children = []
        for cgroup in cgroups:
            (cgroup / "deep" / "er").mkdir(parents=True)
            # By the plain spawn, so that only the cgroup's undoing can end it.
            children.append(spawn(["sleep", "1000"], cgroup=cgroup / "deep" / "er"))
    for cgroup, child in zip(cgroups, children, strict=True):
        assert child.wait(10) < 0
        assert not cgroup.exists()


def test_a_file_system_that_offers_no_such_controller(host: Host) -> None:
    with pytest.raises(NettaxError, match="teapot"):
        host.cgroup("none", "teapot")


def test_without_privilege_the_capability_is_named() -> None:
    code = """
from nettax.errors import MissingPrivilege
from nettax.host import Host
with Host() as host:
    for change in (lambda: host.namespace("x"), lambda: host.veth("a", "x", "b", "x"),
                   lambda: host.spawn(["true"], netns="x")):
        try:
            change()
        except MissingPrivilege as error:
            print(str(error).splitlines()[0])
"""
    environment = os.environ | {"PYTHONPATH": ":".join(filter(None, sys.path))}
    powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    said = output(*powerless, sys.executable, "-c", code, env=environment)
    assert [word for word in said.split() if word.startswith("CAP_")] == [
        "CAP_SYS_ADMIN.",
        "CAP_NET_ADMIN.",
        "CAP_SYS_ADMIN.",
    ], said


def test_in_another_thread_signals_are_left_alone() -> None:
    def change() -> None:
        with Host() as host:
            host.namespace("thread")

    thread = threading.Thread(target=change)
    thread.start()
    thread.join()
    assert not list(namespace.DIRECTORY.glob(f"nettax-{os.getpid()}-*"))
