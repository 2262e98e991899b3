"""What sends and receives fail with, against what is known to have failed."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys

import pytest

from nettax.errors import Unsupported
from nettax.load.socket_errors import SocketErrors
from nettax.servers import serve
from nettax.servers.server import MODELS

OTHER = """\
import socket
one, other = socket.socketpair()
other.close()
for _ in range(5):
    try:
        one.send(b"x")
    except BrokenPipeError:
        pass
"""


@pytest.fixture
def errors() -> SocketErrors:
    try:
        return SocketErrors()
    except Unsupported as why:
        pytest.skip(str(why))


def test_each_is_counted_once_and_by_process(errors: SocketErrors) -> None:
    with errors:
        one, other = socket.socketpair()
        with one:
            one.setblocking(False)
            with pytest.raises(BlockingIOError):
                one.recv(1)  # no error
            other.close()
            for _ in range(3):
                with pytest.raises(BrokenPipeError):
                    one.send(b"x")
        with socket.socket() as alone, pytest.raises(OSError, match="not connected"):
            alone.recv(1)
        subprocess.run([sys.executable, "-c", OTHER], check=True)
        found = errors.read([os.getpid()])
        assert found == {("send", "EPIPE"): 3, ("receive", "ENOTCONN"): 1}
        assert errors.read([]) == {}


@pytest.mark.parametrize("model", MODELS)
def test_a_servers_own_counts_are_the_same(errors: SocketErrors, model: str) -> None:
    linger = struct.pack("ii", 1, 0)
    with errors, serve(model, two_writes=True, sleep_us=2000) as server:  # type: ignore[arg-type]
        for i in range(20):
            with socket.create_connection(("127.0.0.1", server.port), 10) as one:
                one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                if i % 2:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        while server.stats().closed < 20:
            pass
        assert errors.read([server.pid]) == server.stats().errors
        assert sum(server.stats().errors.values()) == 20
