"""Network devices as sysfs shows them: queues, their steering masks and their interrupts.

Sources: net/core/net-sysfs.c, Documentation/networking/scaling.rst. A sysfs mount shows the
network namespace of the process that mounted it, not of the one that reads: inside another
namespace pass the `sys` of a fresh mount (`ip netns exec` makes one).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nettax.errors import UsageError
from nettax.kernel import cpus
from nettax.kernel.files import StrPath, read_text, read_word

__all__ = ["Irq", "NetDevice", "RxQueue", "TxQueue", "device", "devices"]


@dataclass(frozen=True, slots=True)
class RxQueue:
    """One receive queue."""

    index: int
    rps_cpus: tuple[int, ...]
    """CPUs to which RPS spreads its packets; none where RPS is off."""
    rps_flow_cnt: int
    """Entries in the queue's RFS table; 0 where RFS is off."""


@dataclass(frozen=True, slots=True)
class TxQueue:
    """One transmit queue."""

    index: int
    xps_cpus: tuple[int, ...]
    """CPUs that XPS sends through this queue; none where XPS is off, as with a single queue."""


@dataclass(frozen=True, slots=True)
class Irq:
    """One message-signalled interrupt of a device."""

    number: int
    actions: tuple[str, ...]
    """Names that the driver gave its handlers, such as ``mlx5_comp2@pci:0000:d8:00.0``."""
    affinity: tuple[int, ...]
    """CPUs that may take it."""
    effective: tuple[int, ...]
    """CPUs that the interrupt controller delivers it to; none where the kernel does not tell."""


@dataclass(frozen=True, slots=True)
class NetDevice:
    """One network device."""

    name: str
    ifindex: int
    driver: str | None
    """None for software devices (veth, lo, bridges), which sysfs ties to no driver."""
    threaded: bool | None
    """Whether NAPI polls in kernel threads; None where the kernel does not tell."""
    rx_queues: tuple[RxQueue, ...]
    tx_queues: tuple[TxQueue, ...]
    irqs: tuple[Irq, ...]


def devices(sys: StrPath = "/sys") -> list[str]:
    """Return the names of the network devices, sorted."""
    # A loaded bonding driver keeps a file beside them, bonding_masters.
    return sorted(entry.name for entry in Path(sys, "class/net").iterdir() if entry.is_dir())


def device(name: str, sys: StrPath = "/sys", proc: StrPath = "/proc") -> NetDevice:
    """Read one network device.

    :raises UsageError: if there is none of that name in this network namespace, or no longer.
    """
    there = devices(sys)
    if name in there:
        try:
            return _device(name, Path(sys, "class/net", name), sys, proc)
        except FileNotFoundError:  # it went away meanwhile
            there.remove(name)
    raise UsageError(f"no network device {name!r} here: there are {', '.join(there)}")


def _device(name: str, where: Path, sys: StrPath, proc: StrPath) -> NetDevice:
    driver = where / "device" / "driver"
    threaded = read_word(where / "threaded")
    return NetDevice(
        name=name,
        ifindex=int(read_text(where / "ifindex")),
        driver=driver.resolve().name if driver.exists() else None,
        threaded=None if threaded is None else threaded != "0",
        rx_queues=tuple(_rx_queue(where, index) for index in _queues(where, "rx-")),
        tx_queues=tuple(_tx_queue(where, index) for index in _queues(where, "tx-")),
        irqs=tuple(_irq(number, sys, proc) for number in _irq_numbers(where)),
    )


def _queues(where: Path, prefix: str) -> list[int]:
    names = [entry.name for entry in (where / "queues").iterdir()]
    return sorted(int(name.removeprefix(prefix)) for name in names if name.startswith(prefix))


def _rx_queue(where: Path, index: int) -> RxQueue:
    queue = where / "queues" / f"rx-{index}"
    rps_cpus = cpus.parse_mask(read_word(queue / "rps_cpus") or "0")
    return RxQueue(index, rps_cpus, int(read_word(queue / "rps_flow_cnt") or 0))


def _tx_queue(where: Path, index: int) -> TxQueue:
    queue = where / "queues" / f"tx-{index}"
    return TxQueue(index, cpus.parse_mask(read_word(queue / "xps_cpus") or "0"))


def _irq_numbers(where: Path) -> list[int]:
    # virtio's devices sit one step below the PCI function that owns the interrupts.
    owner = (where / "device").resolve()
    for candidate in (owner, owner.parent):
        vectors = candidate / "msi_irqs"
        if vectors.is_dir():
            return sorted(int(entry.name) for entry in vectors.iterdir())
    return []


def _irq(number: int, sys: StrPath, proc: StrPath) -> Irq:
    actions = read_word(f"{sys}/kernel/irq/{number}/actions")
    return Irq(
        number,
        tuple(actions.split(",")) if actions else (),
        cpus.parse_list(read_word(f"{proc}/irq/{number}/smp_affinity_list") or ""),
        cpus.parse_list(read_word(f"{proc}/irq/{number}/effective_affinity_list") or ""),
    )
