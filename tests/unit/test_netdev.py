"""Devices in a sysfs made by hand: a mlx5-like NIC, virtio one step deeper, and a veth."""

from __future__ import annotations

from pathlib import Path

import pytest

from nettax.errors import UsageError
from nettax.kernel.netdev import Irq, RxQueue, TxQueue, device, devices


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def host(tmp_path: Path) -> tuple[Path, Path]:
    sys, proc = tmp_path / "sys", tmp_path / "proc"
    nic = sys / "class/net/eth0"
    write(nic / "ifindex", "4\n")
    write(nic / "threaded", "1\n")
    for index, mask in enumerate(("00000000,00000000", "2,00000001")):
        write(nic / f"queues/rx-{index}/rps_cpus", f"{mask}\n")
        write(nic / f"queues/rx-{index}/rps_flow_cnt", f"{index * 4096}\n")
    write(nic / "queues/tx-0/xps_cpus", "3\n")
    for index in (2, 10):  # sorted as numbers, not as text
        write(nic / f"queues/tx-{index}/xps_cpus", "0\n")
    pci = sys / "devices/pci0000:d7/0000:d8:00.0"
    write(pci / "msi_irqs/152", "msix\n")
    (sys / "bus/pci/drivers/mlx5_core").mkdir(parents=True)
    (pci / "driver").symlink_to(sys / "bus/pci/drivers/mlx5_core")
    (nic / "device").symlink_to(pci)
    write(sys / "kernel/irq/152/actions", "mlx5_comp2@pci:0000:d8:00.0\n")
    write(proc / "irq/152/smp_affinity_list", "4-5\n")
    write(proc / "irq/152/effective_affinity_list", "5\n")
    guest = sys / "class/net/ens3"
    (guest / "queues").mkdir(parents=True)
    write(guest / "ifindex", "2\n")
    write(sys / "devices/pci0/0000:00:03.0/msi_irqs/7", "msix\n")
    (sys / "devices/pci0/0000:00:03.0/virtio0").mkdir()
    (guest / "device").symlink_to(sys / "devices/pci0/0000:00:03.0/virtio0")
    write(sys / "class/net/bonding_masters", "bond0\n")
    veth = sys / "class/net/veth0"
    write(veth / "ifindex", "9\n")
    write(veth / "queues/rx-0/rps_cpus", "2\n")
    (veth / "queues/tx-0").mkdir()  # reading xps_cpus of a single queue gives ENOENT
    return sys, proc


def test_a_multi_queue_nic(host: tuple[Path, Path]) -> None:
    sys, proc = host
    nic = device("eth0", sys, proc)
    assert (nic.ifindex, nic.driver, nic.threaded) == (4, "mlx5_core", True)
    assert nic.rx_queues == (RxQueue(0, (), 0), RxQueue(1, (0, 33), 4096))
    assert nic.tx_queues == (TxQueue(0, (0, 1)), TxQueue(2, ()), TxQueue(10, ()))
    assert nic.irqs == (Irq(152, ("mlx5_comp2@pci:0000:d8:00.0",), (4, 5), (5,)),)


def test_virtio_keeps_its_interrupts_one_step_up(host: tuple[Path, Path]) -> None:
    assert device("ens3", *host).irqs == (Irq(7, (), (), ()),)


def test_a_software_device(host: tuple[Path, Path]) -> None:
    veth = device("veth0", *host)
    assert (veth.driver, veth.threaded, veth.irqs) == (None, None, ())
    assert veth.rx_queues == (RxQueue(0, (1,), 0),)
    assert veth.tx_queues == (TxQueue(0, ()),)


def test_devices_and_strangers(host: tuple[Path, Path]) -> None:
    sys, proc = host
    assert devices(sys) == ["ens3", "eth0", "veth0"]
    for name in ("eth1", "", "../net/eth0"):
        with pytest.raises(UsageError, match="there are ens3, eth0, veth0"):
            device(name, sys, proc)
