"""What the guests of test_server.py run against the server in their kernel, printing JSON.

``python served.py held COUNT``: how many of so many connections that stay open are answered;
``http``: what the server answers to requests, right and wrong.
"""

from __future__ import annotations

import json
import select
import socket
import sys

AT = ("127.0.0.1", 8081)
QUIET = 2.0  # seconds without an answer
HOST = b"Host: a\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
CASES = {
    "plain": GET,
    "pipelined": GET * 3,
    "head": b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n" + GET,
    "old": b"GET / HTTP/1.0\r\n\r\n",
    "old kept": b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 2,
    "closed": b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n" + GET,
    "elsewhere": b"GET /x HTTP/1.1\r\n" + HOST + b"\r\n" + GET,
    "length": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello" + GET,
    "chunks": b"PUT / HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    + GET,
    "no host": b"GET / HTTP/1.1\r\n\r\n" + GET,
    "bare LF": b"GET / HTTP/1.1\n" + HOST + b"\r\n",
    "folded": b"GET / HTTP/1.1\r\n" + HOST + b" more\r\n\r\n",
    "both": b"POST / HTTP/1.1\r\n"
    + HOST
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "lengths": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "much": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999\r\n\r\n",
    "long": b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "large": b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"x" * 9000 + b"\r\n\r\n",
    "unknown": b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n",
    "version": b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
    "coding": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n",
    "expects": b"GET / HTTP/1.1\r\n" + HOST + b"Expect: tea\r\n\r\n",
    "slow": b"GET / HTTP/1.1\r\nHos",
    "nothing": b"",
}


def held(count: int) -> object:
    """Connections that are open together, each with one byte to be echoed."""
    sockets = [socket.create_connection(AT) for _ in range(count)]
    for each in sockets:
        each.sendall(b"?")
    waiting = set(sockets)
    while ready := select.select(list(waiting), [], [], QUIET)[0]:
        for each in ready:
            assert each.recv(2) == b"?"
            waiting.discard(each)
    answered = count - len(waiting)
    for each in set(sockets) - waiting:
        each.close()
    for each in waiting:  # and once those are gone, the others are
        assert each.recv(2) == b"?"
    return answered


def said(request: bytes, pause: float = 0) -> bytes:
    """All that the server answers to bytes, sent at once or one by one."""
    with socket.create_connection(AT) as each:
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        step = 1 if pause else max(len(request), 1)
        for at in range(0, len(request), step):
            each.sendall(request[at : at + step])
        each.settimeout(30)
        answer = b""
        while got := each.recv(1 << 16):
            answer += got
        return answer


def http() -> object:
    """The statuses of each case, whole and byte by byte."""
    found = {}
    for name, request in CASES.items():
        whole, split = (
            [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]
            for answer in (said(request), said(request, 1) if len(request) < 999 else b"")
        )
        found[name] = whole
        assert whole == split or len(request) >= 999, (name, whole, split)
    return found


def main() -> None:
    """Do what the words say."""
    _, what, *words = sys.argv
    match what:
        case "held":
            done = held(int(words[0]))
        case _:
            done = http()
    print(json.dumps(done))


if __name__ == "__main__":
    main()
