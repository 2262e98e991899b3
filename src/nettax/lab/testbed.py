"""Two network namespaces joined by a veth pair: the network of an experiment, with no NIC.

The veth's receive work is steered to a CPU by RPS, as a NIC's queue would be by its interrupt. Its
packets cross in the sender's system call; RPS then moves them by an inter-processor interrupt to
the chosen CPU, which handles them in softirq context.
"""

from __future__ import annotations

import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from nettax.errors import NettaxError, UsageError
from nettax.host import Host, links, namespace
from nettax.kernel import cpus
from nettax.lab.device import Device
from nettax.lab.endpoint import Page, Place, Role
from nettax.lab.flow import TcpFlow, UdpFlow

DEVICE = "veth0"  # the name of either end, each in its own namespace
SENDER, RECEIVER = "198.18.0.1", "198.18.0.2"  # the network of benchmarks: RFC 2544, RFC 6890
_MAC = {SENDER: "02:00:c6:12:00:01", RECEIVER: "02:00:c6:12:00:02"}  # locally administered
_PERMANENT = 0x80  # NUD_PERMANENT, include/uapi/linux/neighbour.h
_LINK_UP = 5.0  # seconds allowed for the kernel's link watch
_MAX_FILTER = 4096  # BPF_MAXINSNS, include/uapi/linux/bpf_common.h
_MAX_PAYLOAD = 1472  # bytes that one Ethernet frame carries over IPv4 and UDP
_MAX_STREAMS = 64
_MAX_BATCH = 1024
_MAX_BURST = 64  # UDP_MAX_SEGMENTS, include/linux/udp.h
_MAX_DATAGRAM = 65507  # bytes of payload


class Testbed:
    """Set up on entering, taken down on leaving.

    ``steer`` is the CPU that RPS hands the receive work to; without it that work is done inline,
    on the sender's CPU, in the sender's system call. ``queues`` is the number of receive and of
    transmit queues of each end. ``gro`` makes the receiver poll by NAPI, with generic receive
    offload; ``threaded`` moves that poll into a kernel thread for each queue, and implies ``gro``.
    """

    __test__ = False  # pytest: no test, whatever its name

    def __init__(
        self,
        host: Host,
        *,
        steer: int | None = None,
        queues: int = 1,
        gro: bool = False,
        threaded: bool = False,
    ) -> None:
        """Set up nothing yet.

        :raises UsageError: ``steer`` is no CPU that is online.
        """
        self._host = host
        self._mask = "0" if steer is None else cpus.format_mask(cpus.select(str(steer)))
        self._queues = queues
        self._gro = gro or threaded
        self._threaded = threaded
        self._ports = iter(range(5001, 65536))
        self._stack = ExitStack()

    def __enter__(self) -> Testbed:
        """Make the namespaces and the link, and wait until it is up at both ends.

        :raises MissingPrivilege: CAP_SYS_ADMIN or CAP_NET_ADMIN is lacking.
        :raises NettaxError: the link did not come up.
        """
        with ExitStack() as stack:
            stack.enter_context(self._host.temporarily())
            self.sender = self._host.namespace("sender")
            self.receiver = self._host.namespace("receiver")
            for netns in (self.sender, self.receiver):
                _silence_ipv6(netns)
            self._host.veth(DEVICE, self.sender, DEVICE, self.receiver, queues=self._queues)
            if self._gro:
                # A veth with it polls by NAPI: veth_open() in drivers/net/veth.c.
                links.set_feature(DEVICE, self.receiver, "rx-gro", True)
            # So that a burst of UDP crosses as the packets that it is.
            links.set_feature(DEVICE, self.sender, "tx-udp-segmentation", False)
            _configure(self.sender, SENDER, RECEIVER)
            _configure(self.receiver, RECEIVER, SENDER)
            self._device = stack.enter_context(Device(self.receiver, DEVICE))
            for netns in (self.sender, self.receiver):
                _await_up(netns)
            self._steer()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take it all down."""
        self._stack.__exit__(kind, error, traceback)

    def udp(
        self,
        pps: int | None = None,
        size: int = 64,
        cpu: int = 0,
        *,
        reader: int | None = None,
        filter_instructions: int = 0,
        batch: int = 32,
        burst: int = 1,
        cgroup: Path | None = None,
        limit: float = 120.0,
    ) -> UdpFlow:
        """Describe a flow of datagrams; entering it starts it.

        ``pps`` are packets a second, held by a sender that spins between its batches (None: as
        many as it can); ``size`` is bytes of payload; ``cpu`` is the sender's. ``reader`` is the
        CPU of a process that reads the socket; without one, the socket drops each packet when
        the softirq has done its work on it, and no process takes part. ``filter_instructions``
        make that work costlier, by a socket filter of so many divisions, some ns each
        (before Linux 6.7, net.core.optmem_max allows 2,500).
        The device gets ``burst`` packets at a time, and the steered CPU one interrupt for them,
        as from a NIC that coalesces; the sender's own cost falls with it. One system call takes
        ``batch`` such bursts. Both processes run in ``cgroup``, and end after
        ``limit`` seconds at the latest.

        :raises UsageError: an argument is out of its range.
        """
        _check("pps", 1 if pps is None else pps, 1, 10**9)
        _check("size", size, 0, _MAX_PAYLOAD)
        _check("filter_instructions", filter_instructions, 0, _MAX_FILTER)
        _check("batch", batch, 1, _MAX_BATCH)
        _check("burst", burst, 1, _MAX_BURST)
        _check("size × burst", size * burst, 0, _MAX_DATAGRAM)
        page = self._page(
            Role.UDP_SINK if reader is None else Role.UDP_READER,
            limit,
            size=size,
            batch=batch,
            burst=burst,
            filter=filter_instructions,
            pps=pps or 0,
        )
        receiving = Place(self.receiver, cpu if reader is None else reader, cgroup)
        return UdpFlow(self._host, page, Place(self.sender, cpu, cgroup), receiving)

    def tcp(
        self,
        streams: int = 1,
        cpu: int = 0,
        *,
        reader: int = 0,
        cgroup: Path | None = None,
        limit: float = 120.0,
    ) -> TcpFlow:
        """Describe bulk TCP streams from ``cpu`` to a process on CPU ``reader``.

        :raises UsageError: an argument is out of its range.
        """
        _check("streams", streams, 1, _MAX_STREAMS)
        page = self._page(Role.TCP_READER, limit, batch=1, streams=streams)
        sending = Place(self.sender, cpu, cgroup)
        return TcpFlow(self._host, page, sending, Place(self.receiver, reader, cgroup))

    def arrived(self) -> int:
        """Return the packets that the receiver's device has counted since it was made."""
        return int(self._device.read("statistics/rx_packets"))

    def _page(self, role: Role, limit: float, **fields: int) -> Page:
        _check("limit", limit, 0.001, 86400)
        return Page(
            role=role,
            address=int.from_bytes(socket.inet_aton(RECEIVER), sys.byteorder),
            port=next(self._ports),
            limit=int(limit * 1e9),
            **fields,
        )

    def _steer(self) -> None:
        for queue in range(self._queues):
            self._device.write(f"queues/rx-{queue}/rps_cpus", self._mask)
        if self._threaded:
            self._device.write("threaded", "1")


def _check(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise UsageError(f"{name} cannot be {value}: choose from {least} to {most}.")


def _silence_ipv6(netns: str) -> None:
    """Turn IPv6 off before there is a link, whose coming up would be announced by multicasts."""
    with namespace.within(netns):
        for scope in ("all", "default"):
            switch = Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6")
            if switch.exists():
                switch.write_text("1")


def _configure(netns: str, own: str, other: str) -> None:
    """Give the device its addresses, and the other end's, so that nobody need ask by ARP."""
    with links.rtnetlink(netns) as routes:
        (index,) = routes.link_lookup(ifname=DEVICE)
        routes.link("set", index=index, address=_MAC[own], state="up")
        routes.addr("add", index=index, address=own, prefixlen=24)
        routes.neigh("add", ifindex=index, dst=other, lladdr=_MAC[other], state=_PERMANENT)


def _await_up(netns: str) -> None:
    """Wait until the kernel's link watch has seen the device's carrier; until then it is mute.

    That takes up to a second, but since Linux v6.8 ("net: core: synchronize link-watch when
    carrier is queried") the question alone brings it about.
    """
    deadline = time.monotonic() + _LINK_UP
    with Device(netns, DEVICE) as device:
        while device.read("carrier") != "1" or device.read("operstate") != "up":
            if time.monotonic() > deadline:
                raise NettaxError(f"the testbed's veth did not come up within {_LINK_UP:g} s.")
            time.sleep(0.001)
