"""Cgroups, devices and features of this host, held against other witnesses."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nettax.errors import UsageError
from nettax.kernel import features, netdev, proc_pid, tracefs
from nettax.kernel.accounting import accounting
from nettax.kernel.cgroup import Cgroups, cgroup_of, v2_mount
from nettax.kernel.probes import all_probes


@pytest.fixture
def child() -> Iterator[Path]:
    """Make a cgroup with one below it, and remove both."""
    outer = v2_mount() / f"nettax-test-{os.getpid()}"
    inner = outer / "inner"
    inner.mkdir(parents=True)
    try:
        yield inner
    finally:
        inner.rmdir()
        outer.rmdir()


def test_my_own_cgroup_has_my_path() -> None:
    path = cgroup_of(os.getpid())
    assert path is not None
    cgroups = Cgroups()
    assert cgroups.path(cgroups.resolve(path)) == path


def test_an_id_is_the_kernels_own(child: Path) -> None:
    """name_to_handle_at(2) gives the kernfs id itself, whatever stat(2) says."""
    cgroups = Cgroups()
    code = (
        "import ctypes, sys; handle = (ctypes.c_uint * 34)(128); mount = ctypes.c_int()\n"
        "ctypes.CDLL(None, use_errno=True).name_to_handle_at(\n"
        "    -100, sys.argv[1].encode(), handle, ctypes.byref(mount), 0)\n"
        "print(handle[2] | handle[3] << 32)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(child)], check=True, capture_output=True, text=True
    )
    assert cgroups.resolve(str(child)) == int(told.stdout)


def test_a_new_cgroup_is_found_and_a_task_followed_into_it(child: Path) -> None:
    cgroups = Cgroups()
    relative = f"/{child.relative_to(cgroups.mount)}"
    assert cgroups.path(child.stat().st_ino) == relative
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        (child / "cgroup.procs").write_text(str(process.pid))
        assert cgroup_of(process.pid) == relative
        process.communicate()
    with pytest.raises(UsageError):
        cgroups.resolve("nettax-no-such-cgroup")


def test_every_device_can_be_read() -> None:
    names = netdev.devices()
    found = {name: netdev.device(name) for name in names}
    assert all(found[name].rx_queues and found[name].tx_queues for name in names)
    assert {dev.ifindex for dev in found.values()} == {
        int(Path(f"/sys/class/net/{name}/ifindex").read_text()) for name in names
    }


def test_a_veth_in_a_namespace_of_its_own() -> None:
    """Sysfs shows the namespace that mounted it, so the reader runs there and prints."""
    code = (
        "from nettax.kernel.netdev import device; d = device('a0')\n"
        "print(d.driver, len(d.rx_queues), d.rx_queues[1].rps_cpus, d.irqs, d.threaded)"
    )
    script = (
        "mount -t sysfs none /sys && ip link add a0 numrxqueues 2 numtxqueues 2 "
        "type veth peer name a1 && echo 1 > /sys/class/net/a0/queues/rx-1/rps_cpus && "
        f'{sys.executable} -c "{code}"'
    )
    source = str(Path(netdev.__file__).parents[2])
    ran = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", script],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stderr == ""
    assert ran.stdout == "None 2 (0,) () False\n"


def test_features_of_this_kernel() -> None:
    assert features.btf_path().read_bytes()[:2] in (b"\x9f\xeb", b"\xeb\x9f")  # BTF's magic
    told = subprocess.run(["getconf", "CLK_TCK"], check=True, capture_output=True, text=True)
    assert features.tick_hz() in (100, 250, 300, 1000)
    assert features.tick_hz() >= int(told.stdout)
    assert features.clocksource() is not None
    config = features.kernel_config()
    if config is not None:
        assert f"CONFIG_HZ={features.tick_hz()}\n" in config[0]
        apart = "CONFIG_IRQ_TIME_ACCOUNTING=y" in config[0]
        assert apart or accounting().interrupts_apart is False


def test_capabilities_are_those_of_the_task() -> None:
    """CAP_SYS_ADMIN dropped, what it implied goes with it."""
    code = "from nettax.kernel.features import capabilities; print(*sorted(capabilities()))"
    ran = subprocess.run(
        [
            "setpriv",
            "--bounding-set=-all,+net_admin",
            "--inh-caps=-all",
            sys.executable,
            "-c",
            code,
        ],
        env={**os.environ, "PYTHONPATH": str(Path(features.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.stderr, ran.stdout) == ("", "CAP_NET_ADMIN\n")


def test_probes_agree_with_what_they_stand_for() -> None:
    found = {probe.name: probe for probe in all_probes()}
    assert len(found) == len(all_probes())
    assert found["BTF"].available
    assert found["run delay"].available == (proc_pid.schedstat(os.getpid()) is not None)
    for probe in found.values():
        assert probe.detail
        assert probe.fix is None or not probe.available
        assert "\n" not in probe.detail


def test_hidden_btf_is_a_finding_with_a_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(features.SIMULATE_NO_BTF, "1")
    (probe,) = (probe for probe in all_probes() if probe.name == "BTF")
    assert not probe.available
    assert probe.fix is not None
    assert "CONFIG_DEBUG_INFO_BTF=y" in probe.fix


def test_event_ids_of_a_private_tracefs() -> None:
    """Mounted in a mount namespace of its own, so that nothing stays behind on the host."""
    code = (
        "from nettax.kernel.tracefs import event_id, events, tracefs_mount\n"
        "print(tracefs_mount(), event_id('irq', 'softirq_entry') > 0, *events('napi'))"
    )
    ran = subprocess.run(
        [
            *("unshare", "--mount", "sh", "-c"),
            "mountpoint -q /sys/kernel/tracing || mount -t tracefs none /sys/kernel/tracing; "
            f'{sys.executable} -c "{code}"',
        ],
        env={**os.environ, "PYTHONPATH": str(Path(tracefs.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stderr == ""
    assert ran.stdout.startswith("/sys/kernel/tracing True")
    assert "napi_poll" in ran.stdout
