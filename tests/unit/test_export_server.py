"""The server, over loopback: what it answers, and what it puts up with."""

from __future__ import annotations

import asyncio
import http.client
import os
import resource
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from http import HTTPStatus
from pathlib import Path

import pytest

from nettax.export import server as served
from nettax.export.guard import Gate
from nettax.export.http import Request, Response
from nettax.export.webconfig import Tls, WebConfig

SOON = 30.0  # seconds, for what should take milliseconds


def answer(request: Request) -> Response:
    if request.path == "/large":
        return Response(HTTPStatus.OK, bytes(32 << 20))
    return Response.text(HTTPStatus.OK, f"this is {request.path}")


class Running:
    """A server in a thread of its own."""

    def __init__(self, config: WebConfig) -> None:
        self.refused: Counter[str] = Counter()
        self.said: list[str] = []
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=served.BACKLOG)
        self.listening.setblocking(False)
        self.address: tuple[str, int] = self.listening.getsockname()
        self._gate = Gate(config, self.said.append)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        server = served.Server([self.listening], answer, self._gate, self.refused)
        self._task = self._loop.create_task(server.serve())
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.close()

    def __enter__(self) -> Running:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(lambda: self._task.cancel())
        self._thread.join()
        self.listening.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=SOON)

    def get(self, path: str = "/x", method: str = "GET", **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(*self.address, timeout=SOON)
        try:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def told(self, data: bytes) -> bytes:
        """All that it says to what is sent, until it closes."""
        with self.connect() as connection:
            connection.sendall(data)
            return drained(connection)

    def counts(self, reason: str, least: int = 1) -> None:
        deadline = time.monotonic() + SOON
        while self.refused[reason] < least:
            assert time.monotonic() < deadline, self.refused
            time.sleep(0.005)


def drained(connection: socket.socket) -> bytes:
    said = b""
    with suppress(ConnectionResetError):
        while more := connection.recv(1 << 16):
            said += more
    return said


@pytest.fixture
def server() -> Iterator[Running]:
    with Running(WebConfig()) as running:
        yield running


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines that a test can wait for."""
    for name in ("HEAD_S", "IDLE_S", "WRITE_S", "LINGER_S"):
        monkeypatch.setattr(served, name, 0.2)


# --- answers -------------------------------------------------------------------------------------


def test_requests_of_one_connection(server: Running) -> None:
    connection = http.client.HTTPConnection(*server.address, timeout=SOON)
    for path in ("/a", "/b"):
        connection.request("GET", path)
        assert connection.getresponse().read() == f"this is {path}\n".encode()
    connection.close()


def test_requests_in_one_go(server: Running) -> None:
    one = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
    said = server.told(one + b"\r\n" + one.replace(b"Host", b"Connection: close\r\nHost"))
    assert said.count(b"this is /a") == 2


def test_head_and_other_methods(server: Running) -> None:
    assert server.get(method="HEAD") == (200, b"")
    assert server.get(method="POST")[0] == 405
    assert b"Allow: GET, HEAD" in server.told(b"DELETE / HTTP/1.0\r\n\r\n")


def test_http_1_0_ends_the_connection(server: Running) -> None:
    assert server.told(b"GET /a HTTP/1.0\r\n\r\n").endswith(b"this is /a\n")


# --- what is sent in malice or by mistake --------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x00" * 100 + b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + b"a: " + b"b" * (1 << 20), 431),
        (b"GET /" + b"x" * (1 << 20), 431),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000 + b"\r\n", 431),
        (b"GET / HTTP/3\r\nHost: a\r\n\r\n", 505),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n" + bytes(300_000), 405),
    ],
)
def test_garbage_is_answered_and_ends_there(server: Running, data: bytes, status: int) -> None:
    with server.connect() as connection:
        with suppress(ConnectionError):
            connection.sendall(data)
        assert drained(connection).startswith(f"HTTP/1.1 {status} ".encode())
    assert server.get()[0] == 200


def test_noise_leaves_it_as_it_was(server: Running) -> None:
    for size in (1, 10, 1000, 100_000):
        with server.connect() as connection, suppress(ConnectionError):
            connection.sendall(os.urandom(size))
    assert server.get()[0] == 200


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("data", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\n"])
def test_a_head_that_does_not_come(server: Running, data: bytes) -> None:
    assert server.told(data) == b""
    server.counts("timeout")


@pytest.mark.usefixtures("hasty")
def test_a_head_that_comes_a_byte_at_a_time(server: Running) -> None:
    """The deadline is for the whole of it, not for each byte."""
    start = time.monotonic()
    with server.connect() as connection, suppress(ConnectionError):
        while time.monotonic() < start + SOON:
            connection.sendall(b"a")
            time.sleep(0.01)
    assert time.monotonic() < start + SOON
    server.counts("timeout")


@pytest.mark.usefixtures("hasty")
def test_a_reader_that_does_not_read(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        server.counts("timeout")
    assert server.get()[0] == 200


def test_clients_that_go_away(server: Running) -> None:
    for data in (b"", b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTT"):
        connection = server.connect()
        connection.sendall(data)
        # Reset, not closed in order.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    server.counts("broken", 2)
    assert server.get()[0] == 200


# --- how many ------------------------------------------------------------------------------------


def test_two_hundred_at_once(server: Running) -> None:
    with ThreadPoolExecutor(200) as pool:
        found = list(pool.map(lambda number: server.get(f"/{number}"), range(200)))
    # One that was served may be sent away before its thread reads; none may get a wrong answer.
    assert [body for _, body in found] == [f"this is /{i}\n".encode() for i in range(200)]


def test_those_who_only_wait_make_room(server: Running) -> None:
    """Three times as many idle connections as it keeps; a request is answered all the same."""
    with ExitStack() as stack:
        for _ in range(3 * served.MOST_CONNECTIONS):
            stack.enter_context(server.connect())
        start = time.monotonic()
        assert server.get()[0] == 200
        assert time.monotonic() < start + SOON / 2
        assert server.refused["evicted"] >= 2 * served.MOST_CONNECTIONS


def test_no_descriptors_left(server: Running) -> None:
    """It makes room, waits a moment, and goes on."""
    former = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/proc/self/fd").iterdir()))
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, former)
        idle = [stack.enter_context(server.connect()) for _ in range(8)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 16 + 1, former[1]))
        with server.connect() as last:  # takes the last descriptor; accepting finds none
            last.sendall(b"GET /a HTTP/1.0\r\n\r\n")
            assert drained(last).endswith(b"this is /a\n")
        assert idle


# --- TLS -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return made(tmp_path_factory.mktemp("tls"), "first")


def made(directory: Path, name: str) -> Tls:
    """A certificate that signs itself, for localhost."""
    found = Tls(directory / "cert.pem", directory / "key.pem")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", f"/O={name}"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", found.key_file, "-out", found.cert_file),
        ],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    return found


@contextmanager
def securely(server: Running, trusted: Path, **versions: ssl.TLSVersion) -> Iterator[ssl.SSLSocket]:
    context = ssl.create_default_context(cafile=str(trusted))
    for name, version in versions.items():
        setattr(context, name, version)
    with (
        server.connect() as connection,
        context.wrap_socket(connection, server_hostname="localhost") as wrapped,
    ):
        yield wrapped


def test_tls(certificate: Tls) -> None:
    with (
        Running(WebConfig(certificate)) as server,
        securely(server, certificate.cert_file) as wrapped,
    ):
        wrapped.sendall(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wrapped.recv(1 << 16).endswith(b"this is /a\n")


def test_tls_that_is_too_old(certificate: Tls) -> None:
    young = Tls(certificate.cert_file, certificate.key_file, min_version=ssl.TLSVersion.TLSv1_3)
    with Running(WebConfig(young)) as server:
        old = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError), securely(server, young.cert_file, maximum_version=old):
            pass
        server.counts("tls")


@pytest.mark.usefixtures("hasty")
def test_what_is_no_tls(certificate: Tls) -> None:
    """Garbage, plain HTTP, and a handshake that is begun and left."""
    with Running(WebConfig(certificate)) as server:
        for data in (os.urandom(200), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"):
            assert b"this is" not in server.told(data)
        server.counts("tls", 2)
        server.told(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a ClientHello
        with securely(server, certificate.cert_file):
            pass


def test_a_certificate_that_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nettax.export.guard.LOOK_S", 0.0)
    first = made(tmp_path, "first")
    with Running(WebConfig(first)) as server:
        with securely(server, first.cert_file) as wrapped:
            assert wrapped.getpeercert(binary_form=True)
        made(tmp_path, "second")
        trusted = Path(shutil.copy(first.cert_file, tmp_path / "trusted.pem"))
        with securely(server, trusted) as wrapped:
            assert "second" in str(wrapped.getpeercert())
        first.cert_file.write_text("not a certificate")
        with securely(server, trusted) as wrapped:
            assert "second" in str(wrapped.getpeercert())
        assert "the certificate read before stays in use" in server.said[0]


def test_a_client_without_a_certificate(certificate: Tls) -> None:
    mutual = Tls(
        certificate.cert_file,
        certificate.key_file,
        ssl.CERT_REQUIRED,
        certificate.cert_file,
        max_version=ssl.TLSVersion.TLSv1_2,  # from 1.3 on a client is told with the first answer
    )
    with Running(WebConfig(mutual)) as server:
        with pytest.raises(OSError), securely(server, certificate.cert_file):
            pass
        server.counts("tls")
