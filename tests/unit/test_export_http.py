"""Heads of requests: what is read of them, and what is refused."""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nettax.export.http import BadRequest, Response, parse_head


def head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def test_a_request() -> None:
    found = parse_head(
        head("GET /metrics?name=x HTTP/1.1", "Host: a", "Accept:  text/plain ", "ACCEPT: */*")
    )
    assert (found.method, found.path, found.keep_alive) == ("GET", "/metrics", True)
    assert found.headers == {"host": "a", "accept": "text/plain, */*"}


@pytest.mark.parametrize(
    ("lines", "keeps"),
    [
        (["GET / HTTP/1.1", "Host: a"], True),
        (["GET / HTTP/1.1", "Host: a", "Connection: close"], False),
        (["GET / HTTP/1.1", "Host: a", "Connection: foo, Close"], False),
        (["GET / HTTP/1.0"], False),
        (["GET / HTTP/1.0", "Connection: keep-alive"], True),
        (["POST / HTTP/1.1", "Host: a", "Content-Length: 5"], False),
        (["POST / HTTP/1.1", "Host: a", "Content-Length: 0"], True),
        (["POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked"], False),
    ],
)
def test_what_ends_a_connection(lines: list[str], keeps: bool) -> None:
    assert parse_head(head(*lines)).keep_alive is keeps


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["GET /"], HTTPStatus.BAD_REQUEST),
        (["GET  / HTTP/1.1"], HTTPStatus.BAD_REQUEST),
        (["\x16\x03\x01 / HTTP/1.1"], HTTPStatus.BAD_REQUEST),
        (["GET /\x00 HTTP/1.1", "Host: a"], HTTPStatus.BAD_REQUEST),
        (["GET / HTTP/2.0"], HTTPStatus.HTTP_VERSION_NOT_SUPPORTED),
        (["GET / HTTP/1.1"], HTTPStatus.BAD_REQUEST),
        (["GET / HTTP/1.1", "Host: a", " folded"], HTTPStatus.BAD_REQUEST),
        (["GET / HTTP/1.1", "Host: a", "no colon"], HTTPStatus.BAD_REQUEST),
        (["GET / HTTP/1.1", "Host : a"], HTTPStatus.BAD_REQUEST),
        (["GET / HTTP/1.1", "Host: a\nb: c"], HTTPStatus.BAD_REQUEST),
    ],
)
def test_what_is_refused(lines: list[str], status: HTTPStatus) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_head(head(*lines))
    assert refused.value.status is status


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_whatever_comes_is_read_or_refused(noise: bytes) -> None:
    with suppress(BadRequest):
        parse_head(noise + b"\r\n\r\n")


def test_an_answer() -> None:
    response = Response.text(HTTPStatus.METHOD_NOT_ALLOWED, "no", Allow="GET", Retry_After="1")
    wire = response.encoded(head_only=False, close=True)
    lines = wire.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 405 Method Not Allowed"
    assert {"Allow: GET", "Retry-After: 1", "Content-Length: 3", "Connection: close"} <= set(lines)
    assert wire.endswith(b"\r\n\r\nno\n")
    assert response.encoded(head_only=True, close=True) == wire.removesuffix(b"no\n")
