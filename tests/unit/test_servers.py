"""The reference servers, by real clients: framing, what is malformed, options, counts, the end."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nettax.errors import NettaxError, UsageError
from nettax.kernel import proc_pid
from nettax.servers import Model, Server, ServerStats, serve

MODELS = get_args(Model)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
PIPELINE = (
    GET
    + b"POST /a HTTP/1.1\r\nhost:x\r\nContent-Length: 5\r\n\r\nhello"
    + b"\r\n"  # some clients put an empty line behind a body
    + b"HEAD /b HTTP/1.1\r\nHost: x\r\n\r\n"
    + b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"3;note=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n"
    + LAST
)
ANSWERS = 5
fuzz = settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module", params=MODELS)
def web(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serve(request.param, protocol="http", threads=2, body_bytes=10) as server:
        yield server


@pytest.fixture(scope="module", params=MODELS)
def echo(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serve(request.param, protocol="echo", threads=2) as server:
        yield server


def connect(server: Server) -> socket.socket:
    one = socket.create_connection(("127.0.0.1", server.port), 10)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one


def rest(one: socket.socket) -> bytes:
    """All until the server closes."""
    said = b""
    while more := one.recv(65536):
        said += more
    return said


def ask(server: Server, *parts: bytes) -> bytes:
    with connect(server) as one:
        for part in parts:
            one.sendall(part)
        return re.sub(rb"Date: [^\r]*\r\n", b"", rest(one))


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "not so within 10 s"
        time.sleep(0.005)


def test_pipelined_requests_are_answered_in_turn(web: Server) -> None:
    said = ask(web, PIPELINE)
    assert said.count(b"HTTP/1.1 200 OK\r\n") == ANSWERS
    assert said.count(b"Content-Length: 10\r\n") == ANSWERS
    assert said.count(b"abcdefghij") == ANSWERS - 1  # HEAD has none
    assert said.count(b"Connection: close") == 1


def test_split_at_every_byte(web: Server) -> None:
    whole = ask(web, PIPELINE)
    for i in range(1, len(PIPELINE)):
        assert ask(web, PIPELINE[:i], PIPELINE[i:]) == whole, i


def test_a_byte_at_a_time(web: Server) -> None:
    assert ask(web, *(PIPELINE[i : i + 1] for i in range(len(PIPELINE)))) == ask(web, PIPELINE)


@pytest.mark.parametrize("body", [0, 1, 4096, 4097, 300_000])
@pytest.mark.parametrize("model", MODELS)
def test_http_client(model: Model, body: int) -> None:
    with serve(model, body_bytes=body, two_writes=body == 4097, cork=body == 4096) as server:
        one = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        for method, sent in (("GET", None), ("POST", b"x" * 100_000), ("HEAD", None)):
            one.request(method, "/", sent)
            answer = one.getresponse()
            assert (answer.status, len(answer.read())) == (200, 0 if method == "HEAD" else body)
        one.request("POST", "/", iter([b"ab", b"c" * 9000]), encode_chunked=True)
        assert len(one.getresponse().read()) == body
        one.close()
        assert server.stats().requests == 4
        assert server.stats().accepted == 1


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"G@T / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: x\r\n\r\n", 400),
        (b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x01\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET / http/1.1\r\nHost: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", 413),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nExpect: more\r\n\r\n", 417),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 9000 + b"\r\n\r\n", 431),
    ],
)
def test_malformed(web: Server, sent: bytes, status: int) -> None:
    said = ask(web, sent, GET)  # what follows is not read as a request
    assert said.startswith(b"HTTP/1.1 %d " % status), said
    assert said.count(b"HTTP/1.1") == 1
    assert b"Connection: close" in said


@pytest.mark.parametrize(
    "body",
    [
        *(b"x\r\n", b"-1\r\n", b"3\nabc\r\n", b"3\r\r\nabc", b"3\r\nabcd\r\n", b"1\x00\r\n"),
        *(b"\r\n", b"0" * 300, b"1234567890abcdef\r\n", b"0\r\nT: 1\n\r\n", b"fffffff\r\n"),
    ],
)
def test_malformed_chunks(web: Server, body: bytes) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    said = ask(web, head + body, GET)
    assert re.match(rb"HTTP/1.1 4\d\d ", said), said
    assert said.count(b"HTTP/1.1") == 1


def test_unknown_methods_are_told_and_framed(web: Server) -> None:
    said = ask(web, b"BREW / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" + LAST)
    assert re.findall(rb"HTTP/1.1 (\d+)", said) == [b"501", b"200"]


def test_continue(web: Server) -> None:
    with connect(web) as one:
        one.sendall(
            b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
        assert one.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        one.sendall(b"ab" + LAST)
        assert rest(one).count(b"HTTP/1.1 200 OK") == 2


def test_versions(web: Server) -> None:
    assert b"Connection: close" in ask(web, b"GET / HTTP/1.0\r\n\r\n")
    kept = ask(web, b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\nGET / HTTP/1.0\r\n\r\n")
    assert re.findall(rb"Connection: ([-\w]+)", kept) == [b"keep-alive", b"close"]


@pytest.mark.parametrize(("keep_alive", "answers"), [("on", 3), ("asked", 1), ("off", 1)])
def test_keep_alive(keep_alive: str, answers: int) -> None:
    with serve("epoll", keep_alive=keep_alive) as server:  # type: ignore[arg-type]
        assert ask(server, GET + GET + LAST).count(b"200 OK") == answers
        asked = GET.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n")
        assert ask(server, asked + LAST).count(b"200 OK") == (1 if keep_alive == "off" else 2)


def test_requests_per_connection() -> None:
    with serve("pool", max_requests=2) as server:
        assert ask(server, GET * 5).count(b"200 OK") == 2


@fuzz
@given(st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=4))
def test_garbage_does_no_harm(web: Server, parts: list[bytes]) -> None:
    with connect(web) as one:
        one.sendall(b"".join(parts))
        one.shutdown(socket.SHUT_WR)
        said = rest(one)
    assert re.fullmatch(rb"(HTTP/1.1 [2-5]\d\d [^\n]*\r\n([^\n]+\n)*\r\n(abcdefghij)?)*", said)
    assert ask(web, LAST).startswith(b"HTTP/1.1 200 OK")


@fuzz
@given(st.lists(st.integers(1, len(PIPELINE) - 1), max_size=8))
def test_any_segments(web: Server, cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(PIPELINE)]
    parts = [PIPELINE[a:b] for a, b in itertools.pairwise(places)]
    assert ask(web, *parts).count(b"200 OK") == ANSWERS


@fuzz
@given(st.lists(st.binary(max_size=3000), max_size=6))
def test_echo_gives_back(echo: Server, parts: list[bytes]) -> None:
    with connect(echo) as one:
        for part in parts:
            one.sendall(part)
        one.shutdown(socket.SHUT_WR)
        assert rest(one) == b"".join(parts)


def test_echo_of_more_than_the_sockets_hold(echo: Server) -> None:
    sent = os.urandom(1 << 20) * 4
    with connect(echo) as one:
        one.setblocking(False)
        back, at = bytearray(), 0
        while len(back) < len(sent):
            if at < len(sent):
                try:
                    at += one.send(sent[at : at + 65536])
                except BlockingIOError:
                    one.settimeout(10)
                    back += one.recv(65536)
                    one.setblocking(False)
                continue
            one.settimeout(10)
            back += one.recv(65536)
    assert bytes(back) == sent


@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize("protocol", ["echo", "http"])
def test_one_write_or_two(protocol: str, two: bool) -> None:
    options = {"protocol": protocol, "two_writes": two}
    with serve("epoll", **options) as server, connect(server) as one:  # type: ignore[arg-type]
        one.sendall(GET)
        said = one.recv(65536)
        while len(said) < (len(GET) if protocol == "echo" else 150):
            said += one.recv(65536)
        info = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
    # tcpi_data_segs_in, by include/uapi/linux/tcp.h
    assert int.from_bytes(info[152:156], "little") == (2 if two else 1)


@pytest.mark.parametrize("model", MODELS)
def test_sleep_and_work(model: Model) -> None:
    with serve(model, sleep_us=2000) as server:
        start = time.monotonic()
        assert ask(server, GET * 9 + LAST).count(b"200 OK") == 10
        assert time.monotonic() - start >= 0.020
    with serve(model, work_us=10_000) as server:
        ask(server, GET * 9 + LAST)
        stat = proc_pid.task_stat(server.pid)
        assert stat
        assert stat.billed_ns >= 50_000_000


@pytest.mark.parametrize("model", MODELS)
def test_errors_are_counted_by_name(model: Model) -> None:
    with serve(model, two_writes=True, sleep_us=30_000) as server:
        with connect(server) as one:
            one.sendall(GET)
        # The peer has gone when it writes: the head is answered with a reset, the body meets it.
        until(lambda: server.stats().closed == 1)
        assert dict(server.stats().errors) == {("send", "EPIPE"): 1}
        before = server.stats()
        with connect(server) as one:
            until(lambda: server.stats().accepted == 2)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        until(lambda: server.stats().closed == 2)
        since = server.stats() - before
        assert dict(since.errors) == {("receive", "ECONNRESET"): 1}
        with pytest.raises(UsageError, match="only grow"):
            before - server.stats()


@pytest.mark.full
def test_silent_connections_are_closed() -> None:
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(serve(model, idle_s=1)) for model in MODELS]
        clients = [stack.enter_context(connect(server)) for server in servers]
        for one in clients:
            one.sendall(b"GET / HT")
        assert [one.recv(10) for one in clients] == [b"", b"", b""]
        until(lambda: all(server.stats().closed == 1 for server in servers))
        assert [server.stats().idle for server in servers] == [1, 1, 1]


@pytest.mark.parametrize("model", MODELS)
def test_many_connections(model: Model) -> None:
    with serve(model, protocol="echo", threads=3) as server:
        many = [connect(server) for _ in range(200)]
        for i, one in enumerate(many):
            one.sendall(b"%d" % i)
        assert [one.recv(10) for one in many] == [b"%d" % i for i in range(200)]
        assert server.stats().open == 200
        for one in many:
            one.close()
        until(lambda: server.stats().open == 0)
        assert dict(server.stats().errors) == {}


def test_the_end() -> None:
    with serve("epoll") as server:
        assert server.alive()
        os.kill(server.pid, signal.SIGTERM)
        until(lambda: not server.alive())
        with pytest.raises(ConnectionRefusedError):
            connect(server)
    assert server.stats() == ServerStats(0, 0, 0, 0, 0, 0, 0, {})
    with serve("pool", bind="::1") as six:
        socket.create_connection(("::1", six.port), 5).close()


def test_what_cannot_be() -> None:
    with (
        serve("epoll") as server,
        pytest.raises(NettaxError, match="Address already in use"),
        serve(port=server.port),
    ):
        pass
    with pytest.raises(NettaxError, match="no number that fits"), serve(port=70_000):
        pass
    with pytest.raises(NettaxError, match="no such model"), serve("fork"):  # type: ignore[arg-type]
        pass
    with pytest.raises(UsageError, match="not been started"):
        _ = serve().pid


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_curl(web: Server) -> None:
    url = f"http://127.0.0.1:{web.port}/"
    command = ["curl", "-sS", "-w", "%{http_code} %{num_connects}\n", url, "-o", "/dev/null"]
    command += [url, "-o", "/dev/null", "--data-binary", "@" + __file__]
    said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    assert said.stdout == "200 1\n200 0\n"


@pytest.mark.skipif(not shutil.which("h2load"), reason="nghttp2-client is not installed")
def test_h2load(web: Server) -> None:
    url = f"http://127.0.0.1:{web.port}/"
    command = ["h2load", "--h1", "-n", "500", "-c", "5", "-m", "4", url]
    said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    assert "500 succeeded, 0 failed, 0 errored, 0 timeout" in said.stdout
