"""A guest's NIC, whose other end is a tap in a network namespace of ours.

The tap is no device that stays: it goes with QEMU's descriptors, and the namespace with the Host.
"""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import ExitStack
from pathlib import Path

from nettax.errors import MissingFeature, NettaxError, UsageError
from nettax.host import Host, links, namespace
from nettax.host.privilege import require

__all__ = ["GUEST", "HERE", "TAP", "Nic"]

HERE, GUEST = "198.18.0.1", "198.18.0.2"  # the network of benchmarks: RFC 2544, RFC 6890
TAP = "tap0"
_MAC = "02:00:c6:12:00:02"  # the guest's: locally administered
_TUNSETIFF = 0x400454CA  # include/uapi/linux/if_tun.h
_IFF_TAP, _IFF_NO_PI, _IFF_MULTI_QUEUE, _IFF_VNET_HDR = 0x0002, 0x1000, 0x0100, 0x4000
_IFREQ = struct.Struct("16sH22x")
_PERMANENT = 0x80  # NUD_PERMANENT, include/uapi/linux/neighbour.h
_MOST = {"virtio": 64, "igb": 8}  # queues: igb_max_rss_queues() of the 82576 that QEMU emulates
_SINCE = {"virtio": (0, 0), "igb": (8, 0)}


class Nic:
    """A NIC with real queues: MSI-X interrupts of their own, and RSS."""

    def __init__(self, kind: str, queues: int, cpus: int) -> None:
        """Check that the guest can have it.

        :raises UsageError: the kind is unknown, or the queues do not go with the CPUs.
        """
        if kind not in _MOST:
            raise UsageError(f"a guest's NIC cannot be {kind}: virtio or igb.")
        # Either driver makes at most a queue for each CPU when it finds the device.
        if not 1 <= queues <= min(cpus, _MOST[kind]):
            raise UsageError(f"{kind} has 1 to {min(cpus, _MOST[kind])} queues with {cpus} CPUs.")
        if kind == "igb" and queues != cpus:
            raise UsageError(f"igb makes a queue for each CPU: {cpus} here, not {queues}.")
        self._kind = kind
        self._queues = queues
        self.driver = {"virtio": "virtio_net", "igb": "igb"}[kind]
        """The name of its kernel module."""
        self.least_qemu = _SINCE[kind]
        """The first version of QEMU that emulates it."""
        self.netns = ""
        """The namespace of the tap, once it is attached."""
        self.descriptors: list[int] = []
        """What QEMU must be given, one for each queue."""

    def attach(self, host: Host, stack: ExitStack) -> tuple[str, ...]:
        """Make the namespace and the tap in it; return what QEMU's command line says of it.

        :raises MissingPrivilege: CAP_SYS_ADMIN or CAP_NET_ADMIN is lacking.
        :raises NettaxError: the kernel refused.
        """
        require("CAP_NET_ADMIN", "make a tap")
        self.netns = host.namespace("lab")
        with namespace.within(self.netns):
            for _ in range(self._queues):
                fd = _tap(self._queues > 1)
                stack.callback(os.close, fd)
                self.descriptors.append(fd)
        _configure(self.netns)
        fds = ":".join(map(str, self.descriptors))
        way = f"fds={fds}" if self._queues > 1 else f"fd={fds}"
        if self._kind == "igb":
            device = "igb"
        else:
            # Two vectors for each queue, one for changes of the configuration, one for control.
            device = f"virtio-net-pci,mq=on,vectors={2 * self._queues + 2},rss=on"
        return (
            *("-netdev", f"tap,id=nic,{way},vhost=off"),
            *("-device", f"{device},netdev=nic,mac={_MAC},romfile="),
        )


def _tap(several: bool) -> int:
    """Open one queue of the tap, which the first one makes."""
    flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR | (_IFF_MULTI_QUEUE if several else 0)
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fcntl.ioctl(fd, _TUNSETIFF, _IFREQ.pack(TAP.encode(), flags))
        except OSError:
            os.close(fd)
            raise
    except FileNotFoundError:
        raise MissingFeature("there is no /dev/net/tun: modprobe tun") from None
    except OSError as error:
        raise NettaxError(f"cannot make a tap: {error.strerror}.") from error
    return fd


def _configure(netns: str) -> None:
    """Address the tap and bring it up; nothing but what is sent crosses it."""
    with namespace.within(netns):
        switch = Path(f"/proc/sys/net/ipv6/conf/{TAP}/disable_ipv6")
        if switch.exists():
            switch.write_text("1")
    with links.rtnetlink(netns) as routes:
        (index,) = routes.link_lookup(ifname=TAP)
        routes.addr("add", index=index, address=HERE, prefixlen=24)
        routes.link("set", index=index, state="up")
        routes.neigh("add", dst=GUEST, lladdr=_MAC, ifindex=index, state=_PERMANENT)
