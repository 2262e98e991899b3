"""Traffic of one's own, steady before it is measured."""

from __future__ import annotations

import time

from nettax.errors import NettaxError
from nettax.lab import UdpFlow

__all__ = ["settle"]


def settle(flow: UdpFlow) -> None:
    """Wait until packets have been flowing for a tenth of a second.

    :raises NettaxError: none has left in 5 s
    """
    deadline = time.monotonic() + 5
    while not flow.sent():
        if time.monotonic() > deadline:
            raise NettaxError("the experiment's flow sent nothing for 5 s")
        time.sleep(0.005)
    time.sleep(0.1)
