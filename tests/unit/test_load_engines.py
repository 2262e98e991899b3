"""The load engines on the reference servers: counts that must agree, and answers' ends."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nettax.errors import NettaxError, UsageError
from nettax.experiment.burst import burst_run
from nettax.load import own
from nettax.load.burst import burst
from nettax.load.histogram import BUCKETS, Histogram, bucket
from nettax.load.open_loop import OpenLoop, OpenLoopReading, http_request
from nettax.load.rude import KINDS, Rude
from nettax.load.tool import Job, Said
from nettax.load.udp import udp
from nettax.native import library
from nettax.report.burst import document, text
from nettax.servers import serve
from nettax.version import __version__

HERE = "127.0.0.1"
GET = http_request("/", "x")
WHOLE, MORE, WRONG = range(3)  # enum http_verdict of native/load_http.h
TIMES = st.lists(st.integers(0, 1 << 45), max_size=50)


@given(TIMES.filter(bool), st.floats(0, 1))
def test_quantiles_are_near(times: list[int], share: float) -> None:
    times = [min(time, (1 << 42) - 1) for time in times]
    found = Histogram.of(times).quantile(share)
    ordered, at = sorted(times), share * len(times)
    # Which of two neighbours it is hangs on a rounding error of `at`.
    near = {ordered[max(0, min(len(times) - 1, int(at) + step))] for step in (-1, 0)}
    assert found is not None
    assert any(abs(found - time) <= time / 64 for time in near)


@given(TIMES, TIMES)
def test_histograms_add_up(some: list[int], others: list[int]) -> None:
    both = Histogram.of(some) + Histogram.of(others)
    assert both == Histogram.of(some + others)
    assert both - Histogram.of(others) == Histogram.of(some)
    assert both.total == len(some) + len(others)


def test_buckets_join_up() -> None:
    counts = [1] * BUCKETS
    each = list(Histogram.of_counts(counts))
    assert [b.low_ns for b in each[1:]] == [b.high_ns for b in each[:-1]]
    assert all(bucket(b.low_ns) == i == bucket(b.high_ns - 1) for i, b in enumerate(each))
    assert bucket(1 << 60) == BUCKETS - 1
    with pytest.raises(UsageError, match="only grows"):
        Histogram() - Histogram.of([1])
    assert Histogram().quantile(0.5) is Histogram().mean_ns is None


def take(parts: list[bytes], no_body: bool = False) -> tuple[int, int]:
    """The verdict on an answer in parts, and how many bytes it took."""
    native = library()
    answer = ctypes.create_string_buffer(16384)
    taken = ctypes.c_size_t()
    total = 0
    for part in parts:
        verdict = native.http_take(
            answer, part, ctypes.c_size_t(len(part)), ctypes.byref(taken), no_body
        )
        total += taken.value
        if verdict != MORE:
            return verdict, total
    return MORE, total


ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n",
    b"HTTP/1.0 404 Not Found\r\nServer: x\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n2\r\nyz\r\n0\r\nT: 1\r\n\r\n",
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_end_of_an_answer(answer: bytes) -> None:
    assert take([answer + b"HTTP/1.1 next"]) == (WHOLE, len(answer))
    for i in range(1, len(answer)):
        assert take([answer[:i]]) == (MORE, i)
        assert take([answer[:i], answer[i:] + b"more"]) == (WHOLE, len(answer))
    assert take([answer[i : i + 1] for i in range(len(answer))]) == (WHOLE, len(answer))


def test_answers_without_a_body_or_an_end() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    assert take([head], no_body=True) == (WHOLE, len(head))
    open_end = b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\nto the end"
    assert take([open_end]) == (MORE, len(open_end))


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n",
        b"H" * 9000,
    ],
)
def test_what_is_no_answer(answer: bytes) -> None:
    assert take([answer])[0] == WRONG
    assert take([answer[i : i + 1] for i in range(len(answer))])[0] == WRONG


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1), max_size=5))
def test_any_bytes_are_judged(parts: list[bytes]) -> None:
    verdict, taken = take([b"HTTP/1.1 200 OK\r\n", *parts])
    assert verdict in (WHOLE, MORE, WRONG)
    assert taken <= 17 + sum(map(len, parts))


def test_a_burst_of_one_and_of_many() -> None:
    with serve("epoll", protocol="echo") as server:
        one = burst(HERE, server.port, 1, rounds=50)
        many = burst(HERE, server.port, 60, rounds=3, message_bytes=5000)
        stats = server.stats()
    assert (one.connect.total, one.echo.total, one.errors, one.retried) == (1, 50, {}, 0)
    assert (many.connect.total, many.echo.total, many.errors) == (60, 180, {})
    assert [c.start_ns for c in many.connections] == sorted(c.start_ns for c in many.connections)
    assert stats.accepted == 61
    assert stats.received_bytes == 50 * 13 + 180 * 5000


@pytest.mark.full
def test_a_burst_past_the_backlog() -> None:
    """A stopped server's queue takes backlog + 1 connections; the rest retry their SYNs."""
    with serve("epoll", protocol="echo", backlog=8) as server:
        os.kill(server.pid, signal.SIGSTOP)
        try:
            seen = burst(HERE, server.port, 40, rounds=0, patience_s=2)
        finally:
            os.kill(server.pid, signal.SIGCONT)
    assert seen.connect.total == 9
    assert seen.errors == {"ETIMEDOUT": 31}
    assert all(c.connect_ns is not None for c in seen.connections[:9])


def test_an_echo_of_more_than_was_sent() -> None:
    with answering(b"more than ten bytes") as port:
        seen = burst(HERE, port, 3, rounds=2, message_bytes=10)
    assert seen.errors == {"EBADMSG": 3}
    assert seen.echo.total == 0


def test_syns_that_are_sent_again_are_told() -> None:
    """The queue takes 31 of 40; the server goes on, and the rest come with their retry, at 1 s."""
    with serve("epoll", protocol="echo", backlog=30) as server:
        os.kill(server.pid, signal.SIGSTOP)
        going = threading.Timer(0.5, os.kill, (server.pid, signal.SIGCONT))
        going.start()
        run = burst_run(HERE, server.port, 40, rounds=1)
        going.join()
    seen = run.burst
    assert (seen.connect.total, seen.echo.total, seen.errors) == (40, 40, {})
    late = [c for c in seen.connections if (c.connect_ns or 0) > 900_000_000]
    assert [c.syn_retries for c in late] == [1] * len(late)
    assert len(late) == seen.retried == 9
    assert run.counters["TcpExt.ListenOverflows"] >= 9
    assert run.counters["TcpExt.TCPSynRetrans"] >= 9
    shown = text(run)
    assert "9 of 40 connections waited a second or more to connect: the listen queue was" in shown
    assert json.loads(json.dumps(document(run)))["retried"] == 9


def test_a_burst_that_finds_nobody() -> None:
    with socket.socket() as unheard:
        unheard.bind((HERE, 0))
        seen = burst(HERE, unheard.getsockname()[1], 5)
    assert seen.errors == {"ECONNREFUSED": 5}
    assert seen.echo.total == 0
    with pytest.raises(UsageError, match="looked up"):
        burst("nowhere.invalid", 1)
    with pytest.raises(UsageError, match="too many"):
        burst(HERE, 1, 10_000, rounds=100_000)


def run(port: int, request: bytes = GET, **options: Any) -> OpenLoopReading:
    with OpenLoop(HERE, port, request, **{"rate": 500, "duration_s": 0.2, **options}) as loop:
        return loop.finish()


@pytest.mark.parametrize(
    "options",
    [
        {"connections": 3},
        {"connections": 2, "arrivals": "poisson"},
        {"connections": 1, "depth": 8},
        {"connections": 2, "rate": 0},
        {"connections": 1, "rate": 0},
    ],
)
def test_counts_agree_with_the_servers(options: dict[str, Any]) -> None:
    with serve("epoll") as server:
        seen = run(server.port, **options)
        stats = server.stats()
    assert seen.due == seen.sent + seen.unsent
    assert seen.answered + seen.unanswered == seen.sent
    assert seen.unanswered == 0
    assert stats.requests == seen.answered == seen.statuses[2]
    assert stats.received_bytes == seen.sent_bytes == seen.sent * len(GET)
    assert stats.sent_bytes == seen.received_bytes
    assert stats.accepted == seen.connects == options["connections"]
    assert seen.latency.total == seen.service.total == seen.answered
    assert dict(seen.errors) == {}
    if options.get("rate") != 0 and "arrivals" not in options:
        assert seen.due in (100, 101)


def test_one_request_a_connection() -> None:
    with serve("epoll") as server:
        ours = run(server.port, lone=True, connections=2)
        stats = server.stats()
    assert stats.accepted >= ours.answered == stats.requests > 0
    with serve("epoll", keep_alive="off") as server:
        theirs = run(server.port, connections=2)
    assert theirs.connects >= theirs.answered == theirs.sent
    assert dict(theirs.errors) == {}


def test_the_queue_is_seen() -> None:
    """A server that takes 5 ms each is asked 400 times a second: the queue grows all the time."""
    with serve("epoll", sleep_us=5000) as server:
        seen = run(server.port, rate=400, duration_s=0.5)
    assert seen.due in (200, 201)
    assert seen.answered <= 100 + 1
    assert (seen.service.quantile(0) or 0) >= 4_900_000
    assert (seen.latency.quantile(1) or 0) > 5 * (seen.service.quantile(0.5) or 0)
    assert seen.unsent > 0


@pytest.mark.parametrize("asked", [{"rate": 200, "keep_alive": False}, {"kind": "echo"}])
def test_as_a_tool(asked: dict[str, Any], tmp_path: Path) -> None:
    job = Job(
        **{"kind": "http", "host": HERE, "connections": 2, "port": 0, "duration_s": 1, **asked}
    )
    with serve("epoll", protocol="echo" if job.kind == "echo" else "http") as server:
        job = replace(job, port=server.port)
        command = [own.TOOL.find(), *own.TOOL.command(job, tmp_path)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        result = own.TOOL.parse(job, Said(ran.stdout, ran.stderr))
        stats = server.stats()
    assert result.latency
    assert result.done == result.latency.total == stats.requests > 0
    assert result.connections == stats.accepted
    assert result.bytes == stats.sent_bytes
    assert dict(result.errors) == {}
    if job.rate:
        assert result.done in (200, 201)
    if not job.keep_alive:
        assert stats.accepted >= result.done
    for broken in ("", "text", "aGVsbG8="):
        with pytest.raises(NettaxError, match="cannot read what nettax printed"):
            own.TOOL.parse(job, Said(broken))


def test_its_version_is_ours() -> None:
    assert own.TOOL.tell_version() == __version__


def test_echo_in_a_deep_pipeline() -> None:
    with serve("pool", protocol="echo") as server:
        seen = run(server.port, b"\0x" * 50, protocol="echo", rate=20_000, depth=256)
        assert server.stats().received_bytes == seen.sent * 100 == seen.received_bytes
    assert seen.answered == seen.sent


@contextmanager
def answering(said: bytes) -> Iterator[int]:
    """A server that says one thing to each connection, and closes."""
    with socket.create_server((HERE, 0)) as listener:

        def work() -> None:
            while True:
                try:
                    one, _ = listener.accept()
                except OSError:
                    return
                with one:
                    one.recv(1000)
                    one.sendall(said)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"220 mail.example ESMTP\r\n\r\n", ("answer", "malformed")),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", ("answer", "closed early")),
    ],
)
def test_errors_of_answers(said: bytes, error: tuple[str, str]) -> None:
    with answering(said) as port:
        seen = run(port, rate=50)
    assert seen.answered == 0
    assert seen.errors[error] == seen.unanswered == seen.sent > 0


def test_an_answer_that_ends_with_its_connection() -> None:
    with answering(b"HTTP/1.0 200 OK\r\n\r\nall of it") as port:
        seen = run(port, rate=50)
    assert seen.answered == seen.statuses[2] == seen.sent > 0
    assert dict(seen.errors) == {}


def test_requests_go_out_as_they_are() -> None:
    with socket.create_server((HERE, 0)) as listener:
        port = listener.getsockname()[1]
        sent = bytes(range(256)) * 64
        with OpenLoop(HERE, port, sent, protocol="echo", rate=0, duration_s=60):
            one, _ = listener.accept()
            with one:
                one.settimeout(10)
                said = b""
                while len(said) < len(sent):
                    said += one.recv(65536)
    assert said == sent


def test_nobody_listens() -> None:
    with socket.socket() as unheard:
        unheard.bind((HERE, 0))
        with OpenLoop(HERE, unheard.getsockname()[1], GET, rate=100, duration_s=0.2) as loop:
            seen = loop.finish()
    assert seen.sent == 0
    assert seen.unsent == seen.due in (20, 21)
    assert seen.errors["connect", "ECONNREFUSED"] > 1


def test_it_is_read_while_it_runs_and_ended() -> None:
    with (
        serve("epoll") as server,
        OpenLoop(HERE, server.port, GET, rate=1000, duration_s=60) as loop,
    ):
        first = loop.read()
        deadline = time.monotonic() + 10
        seen = first.latency.total  # taken after `answered`, so it may be ahead of that
        while (later := loop.read()).answered < seen + 50:
            assert loop.running()
            assert time.monotonic() < deadline
        assert (later - first).latency.total >= 50
        loop.end()
        assert loop.finish().unanswered == 0
        assert not loop.running()


@pytest.mark.parametrize(
    "options",
    [{"rate": -1.0}, {"depth": 0}, {"depth": 2, "lone": True}, {"duration_s": 0}],
)
def test_schedules_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        run(1, **options)
    with pytest.raises(UsageError, match="bytes"):
        run(1, b"")


def test_a_generator_that_was_killed_is_told() -> None:
    with serve("epoll") as server, OpenLoop(HERE, server.port, GET, rate=10, duration_s=60) as loop:
        os.kill(loop.pid, signal.SIGKILL)
        with pytest.raises(NettaxError, match="killed by signal 9"):
            loop.finish()


def test_datagrams() -> None:
    seen = udp(rate=2000, duration_s=0.1, payload_bytes=1400)
    assert 0 < seen.sent <= 201
    assert (seen.received, seen.lost) == (seen.sent, 0)
    assert seen.duplicates == seen.reordered == seen.foreign == 0
    assert seen.transit.total == seen.received
    assert seen.late.total == seen.sent
    assert dict(seen.errors) == {}


def test_datagrams_as_many_as_go() -> None:
    seen = udp(rate=0, duration_s=0.1)
    assert seen.sent == seen.received + seen.lost > 0
    assert seen.lost >= 0
    assert seen.late.total == 0
    with pytest.raises(UsageError):
        udp(rate=1, duration_s=1, payload_bytes=8)


def test_rude_clients() -> None:
    with (
        serve("threads", two_writes=True) as server,
        Rude(HERE, server.port, GET, dict.fromkeys(KINDS, 100.0), stall_s=0.1) as rude,
    ):
        deadline = time.monotonic() + 10
        while min((rude.read().done.get(kind, 0) for kind in KINDS), default=0) < 5:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        while not {("send", "EPIPE"), ("receive", "ECONNRESET")} <= set(server.stats().errors):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert dict(rude.read().errors) == {}
