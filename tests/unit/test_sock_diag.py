"""Sockets by netlink: real ones, beside what /proc tells of them."""

from __future__ import annotations

import socket

import pytest

from nettax.kernel import tcp_sockets
from nettax.kernel.sock_diag import SockDiag


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_what_waits_and_what_is_not_acknowledged(address: str) -> None:
    """A listener with two in its queue, a third accepted; as /proc tells them."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        server = socket.create_server((address, 0), family=family, backlog=8)
    except OSError:
        pytest.skip("no IPv6 here")
    with server, SockDiag() as diag:
        port = server.getsockname()[1]
        clients = [socket.create_connection((address, port)) for _ in range(3)]
        accepted = server.accept()[0]
        try:
            clients[0].sendall(bytes(5))
            found = list(diag.sockets(port))
            (listener,) = (each for each in found if each.listens)
            assert listener.receive_queue == 2
            ends = [each for each in found if each.established]
            assert sorted(each.peer_port for each in ends) == sorted(
                client.getsockname()[1] for client in clients
            )
            assert {each.port for each in found} == {port}
            assert sum(each.receive_queue for each in ends) == 5
            seen = {each.inode for each in tcp_sockets.sockets() if each.port == port}
            assert {each.inode for each in found} <= seen
            assert list(diag.sockets(port)) == found
        finally:
            for each in (accepted, *clients):
                each.close()


def test_a_port_of_nobody() -> None:
    with SockDiag() as diag:
        assert list(diag.sockets(1)) == []
