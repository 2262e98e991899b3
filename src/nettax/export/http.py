"""What the exporter speaks of HTTP/1.1 (RFC 9112): heads of requests, and answers to them.

Strict and small: no bodies are read, no header is continued on a second line, and whatever does
not parse is a `BadRequest`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

__all__ = ["BadRequest", "Request", "Response", "parse_head"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_TARGET = re.compile(r"[!-~]+")


class BadRequest(Exception):
    """A request that gets an error for an answer, and is the last one of its connection."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request."""

    method: str
    path: str
    """Without the query."""
    headers: Mapping[str, str]
    """By lower-case name; of one that came twice, the values joined by commas."""
    keep_alive: bool
    """Whether the connection may serve another request."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer."""

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def text(cls, status: HTTPStatus, reason: str, **headers: str) -> Response:
        """One line of text; `_` in a header's name stands for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(status, f"{reason}\n".encode(), headers=named)

    def encoded(self, *, head_only: bool, close: bool) -> bytes:
        """As it goes over the wire."""
        lines = [
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            time.strftime("Date: %a, %d %b %Y %H:%M:%S GMT", time.gmtime()),
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            "X-Content-Type-Options: nosniff",
            *(f"{name}: {value}" for name, value in self.headers.items()),
            *(["Connection: close"] if close else []),
        ]
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        return head if head_only else head + self.body


def parse_head(head: bytes) -> Request:
    """Parse a request's head, from its first line up to the empty line that ends it.

    :raises BadRequest: it is not HTTP/1.0 or HTTP/1.1
    """
    line, *rest = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    words = line.split(" ")
    if len(words) != 3 or not _TOKEN.fullmatch(words[0]) or not _TARGET.fullmatch(words[1]):
        raise BadRequest(HTTPStatus.BAD_REQUEST, "this is not an HTTP request")
    method, target, version = words
    if version not in ("HTTP/1.0", "HTTP/1.1"):
        raise BadRequest(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.1 is spoken here")
    headers: dict[str, str] = {}
    for row in rest:
        name, colon, value = row.partition(":")
        if not colon or not _TOKEN.fullmatch(name) or any(c in value for c in "\r\n\0"):
            raise BadRequest(HTTPStatus.BAD_REQUEST, "a header is malformed")
        name, value = name.lower(), value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if version == "HTTP/1.1" and "host" not in headers:
        raise BadRequest(HTTPStatus.BAD_REQUEST, "the Host header is missing")
    return Request(method, target.partition("?")[0], headers, _keeps_alive(version, headers))


def _keeps_alive(version: str, headers: Mapping[str, str]) -> bool:
    """Bodies are never read, so a request that has one ends its connection."""
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        return False
    options = {option.strip() for option in headers.get("connection", "").lower().split(",")}
    return "close" not in options and (version == "HTTP/1.1" or "keep-alive" in options)
