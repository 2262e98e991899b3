"""The ledger on real queues: MSI-X interrupts of a NIC, from a flow through a tap."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from nettax.errors import MissingFeature
from nettax.host import Host, links
from nettax.lab.vm import Vm
from nettax.lab.vm.nic import GUEST, TAP

pytestmark = [pytest.mark.full, pytest.mark.timeout(400)]
PACKETS = 3000
# igb's driver has its RSS look at UDP's addresses only, by a key that is new in each boot: sixteen
# addresses without a pattern, so that both queues have some whatever the key.
ADDRESSES = [f"198.18.{37 * n % 256}.{(53 * n) % 250 + 3}" for n in range(1, 17)]
SENDER = f"""
import socket, time
flows = []
for number, address in enumerate({ADDRESSES}):
    flows.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    flows[-1].bind((address, 7000 + number))
for number in range({PACKETS}):
    flows[number % len(flows)].sendto(b"x" * 64, ("{GUEST}", 9000))
    time.sleep(0.001)
"""


def add_addresses(netns: str) -> None:
    """A source address for each flow."""
    with links.rtnetlink(netns) as routes:
        (index,) = routes.link_lookup(ifname=TAP)
        for address in ADDRESSES:
            routes.addr("add", index=index, address=address, prefixlen=32)


@pytest.mark.parametrize("nic", ["virtio", "igb"])
def test_counts_equal_the_kernels(host: Host, series: str, nic: str, tmp_path: Path) -> None:
    """Bracketed by readings of the kernel's counters, they can only lie between them.

    The ledger's `irqs` and NET_RX, and the recorder's `lines`. With virtio the guest is quiet at
    both ends, and they are equal; igb's watchdog has each queue interrupt every two seconds.
    """
    senders: list[subprocess.Popen[bytes]] = []
    said = bytearray()
    with ExitStack() as stack:
        try:
            vm = stack.enter_context(Vm(series, host=host, nic=nic, queues=2, limit=300))
        except MissingFeature as error:
            pytest.skip(str(error))  # no QEMU with igb, and none to be fetched
        add_addresses(vm.netns)

        def hear(data: bytes) -> None:
            said.extend(data)
            if said == b"ready\n":
                senders.append(host.spawn([sys.executable, "-IS", "-c", SENDER], netns=vm.netns))

        script = Path(__file__).with_name("counted.py")
        command = [sys.executable, str(script), str(PACKETS), "/run/events"]
        result = vm.run(command, stdout=hear)
    assert result.code == 0, result.stderr.decode()
    counted = json.loads(said.splitlines()[1])
    print(series, nic, counted)
    assert senders[0].wait() == 0
    assert counted["received"] == PACKETS
    assert counted["lost"] == [{}, 0, 0]
    # A queue for each CPU, each with an interrupt of its own for what comes.
    receiving = {name for name, _, least, _, _ in counted["irqs"] if least > PACKETS / 20}
    assert len(receiving) >= 2, counted["irqs"]
    for *where, least, ours, most in (*counted["irqs"], *counted["lines"], *counted["net_rx"]):
        assert least <= ours <= most, where
        assert nic == "igb" or least == most, where
    assert counted["polled"] >= PACKETS
    assert counted["residual"] < 1e-3
