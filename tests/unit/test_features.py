"""Probes of the kernel over hosts made by hand."""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path

import pytest

from nettax.errors import MissingFeature
from nettax.kernel import features

INITIAL = "user:[4026531837]"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_btf_is_found_missed_and_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(features.SIMULATE_NO_BTF, raising=False)
    with pytest.raises(MissingFeature, match="CONFIG_DEBUG_INFO_BTF=y"):
        features.btf_path(tmp_path)
    write(tmp_path / "kernel/btf/vmlinux", "")
    assert features.btf_path(tmp_path) == tmp_path / "kernel/btf/vmlinux"
    monkeypatch.setenv(features.SIMULATE_NO_BTF, "1")
    with pytest.raises(MissingFeature):
        features.btf_path(tmp_path)


@pytest.mark.parametrize(
    ("namespace", "mask", "expected"),
    [
        (INITIAL, "0000000000000000", set()),
        (INITIAL, "000000c000000000", {"CAP_BPF", "CAP_PERFMON"}),
        (INITIAL, "0000000000001000", {"CAP_NET_ADMIN"}),
        ("", "0000000000001000", {"CAP_NET_ADMIN"}),  # a kernel without user namespaces
        (INITIAL, "0000000000200000", {"CAP_SYS_ADMIN", "CAP_BPF", "CAP_PERFMON"}),
        ("user:[4026532201]", "000001ffffffffff", set()),  # root of a container without privilege
    ],
)
def test_capabilities(tmp_path: Path, namespace: str, mask: str, expected: set[str]) -> None:
    write(tmp_path / "self/status", f"Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t{mask}\n")
    (tmp_path / "self/ns").mkdir()
    if namespace:
        (tmp_path / "self/ns/user").symlink_to(namespace)
    assert features.capabilities(tmp_path) == expected


def test_each_capability_that_is_asked_for_can_be_held(tmp_path: Path) -> None:
    """One that is not known would be lacking, whoever asks."""
    source = Path(features.__file__).parents[1]
    texts = [path.read_text() for path in source.rglob("*.py")]
    asked = {name for text in texts for name in re.findall(r'require\("(CAP_\w+)"', text)}
    write(tmp_path / "self/status", "CapEff:\t000001ffffffffff\n")
    assert asked
    assert asked <= features.capabilities(tmp_path)


def test_sysctls(tmp_path: Path) -> None:
    write(tmp_path / "sys/net/core/netdev_max_backlog", "1000\n")
    assert features.sysctl("net.core.netdev_max_backlog", tmp_path) == "1000"
    assert features.sysctl("kernel.nope", tmp_path) is None


def test_the_configuration_is_the_kernels_own_or_the_distributions(tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    proc.mkdir()
    assert features.kernel_config(proc, tmp_path) is None
    boot = f"boot/config-{os.uname().release}"
    write(tmp_path / boot, "CONFIG_HZ=1000\n")
    assert features.kernel_config(proc, tmp_path) == ("CONFIG_HZ=1000", f"/{boot}")
    (proc / "config.gz").write_bytes(gzip.compress(b"CONFIG_HZ=250\n"))
    assert features.kernel_config(proc, tmp_path) == ("CONFIG_HZ=250\n", "/proc/config.gz")


def test_hypervisors(tmp_path: Path) -> None:
    write(tmp_path / "cpuinfo", "processor\t: 0\nmodel name\t: A CPU: fast\nflags\t\t: fpu tsc\n")
    assert features.hypervisor(tmp_path, tmp_path) is None
    assert features.cpu_model(tmp_path) == "A CPU: fast"
    write(tmp_path / "cpuinfo", "flags\t\t: fpu hypervisor tsc\n")
    assert features.hypervisor(tmp_path, tmp_path) == "unknown"
    assert features.cpu_model(tmp_path) == os.uname().machine
    write(tmp_path / "class/dmi/id/sys_vendor", "QEMU\n")
    assert features.hypervisor(tmp_path, tmp_path) == "QEMU"
    write(tmp_path / "hypervisor/type", "xen\n")
    assert features.hypervisor(tmp_path, tmp_path) == "xen"


def test_realtime_kernels_say_so(tmp_path: Path) -> None:
    assert not features.is_realtime(tmp_path)
    write(tmp_path / "kernel/realtime", "1\n")
    assert features.is_realtime(tmp_path)
