"""Network devices, through rtnetlink."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from nettax.errors import NettaxError, UsageError
from nettax.host import namespace

_LONGEST = 15  # bytes: IFNAMSIZ less the NUL, include/uapi/linux/if.h


def checked(name: str) -> str:
    """Return ``name`` if a network device can have it: dev_valid_name() in net/core/dev.c.

    :raises UsageError: it cannot.
    """
    if (
        not 0 < len(name.encode()) <= _LONGEST
        or name in (".", "..")
        or any(character in "/:" or character.isspace() for character in name)
    ):
        raise UsageError(f"{name!r} cannot name a network device: use at most 15 plain characters.")
    return name


@contextmanager
def rtnetlink(netns: str | None = None) -> Iterator[Any]:
    """Open a pyroute2 ``IPRoute`` in a namespace, by default the caller's.

    :raises NettaxError: the kernel refused a request made through it.
    """
    from pyroute2 import IPRoute  # 0.25 s
    from pyroute2.netlink.exceptions import NetlinkError

    place = nullcontext() if netns is None else namespace.within(netns)
    try:
        with place, IPRoute() as routes:
            yield routes
    except NetlinkError as error:
        raise NettaxError(
            f"the kernel refused a change to its network devices: {error}."
        ) from error


def exists(name: str, netns: str | None) -> bool:
    """Whether there is a device of that name."""
    with rtnetlink(netns) as routes:
        return bool(routes.link_lookup(ifname=name))


def create_veth(name: str, netns: str, peer: str, peer_netns: str, queues: int) -> None:
    """Make a veth pair with one end in each namespace, down, with ``queues`` queues a side."""
    with namespace.opened(peer_netns) as target, rtnetlink(netns) as routes:
        sides = {"num_tx_queues": queues, "num_rx_queues": queues}
        far = {"ifname": peer, "net_ns_fd": target, **sides}
        routes.link("add", ifname=name, kind="veth", peer=far, **sides)


def delete(name: str, netns: str | None) -> None:
    """Delete a device; one that is gone, or whose namespace is, is no error."""
    if netns is not None and not namespace.path_of(netns).exists():
        return
    with rtnetlink(netns) as routes:
        for index in routes.link_lookup(ifname=name):
            routes.link("del", index=index)


def set_feature(name: str, netns: str, feature: str, on: bool) -> None:
    """Turn an offload on or off, by the name that ``ethtool -k`` gives it.

    :raises NettaxError: the device has no such feature, or keeps it as it is.
    """
    from pyroute2.ethtool.ioctl import EthtoolError, IoctlEthtool

    with namespace.within(netns):
        device = IoctlEthtool(name)
        try:
            features = device.get_features()
            features[feature] = on
            device.set_features(features)
            if device.get_features()[feature] != on:
                raise NettaxError(f"the device {name} keeps its {feature} as it is.")
        except (EthtoolError, KeyError) as error:
            raise NettaxError(f"cannot change {feature} of the device {name}: {error}.") from error
        finally:
            device.close()


def bring_up_loopback(netns: str) -> None:
    """Turn a new namespace's loopback on; it is its own network then.

    It has 127.0.0.2 as well: where 127.0.0.1 is all there is, getaddrinfo(3) with AI_ADDRCONFIG, as
    netperf asks, holds that there is no IPv4.
    """
    with rtnetlink(netns) as socket:
        socket.link("set", index=1, state="up")  # loopback is the first in any namespace
        socket.addr("add", index=1, address="127.0.0.2", prefixlen=32)
