"""Requests to the server in the kernel, of which few are right, and what it must answer to them.

As a program, in a guest, it sends them, in pieces and with pauses, and compares: ``python fuzzed.py
LIBRARY SECONDS SEED``, for so many seconds of the guest's clock. LIBRARY is drive.c, the server's
own text as a program.
"""

from __future__ import annotations

import ctypes
import json
import random
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

AT = ("127.0.0.1", 8081)
ROOM = 1 << 17  # bytes of answers
GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"
LINES = (
    *(b"GET / HTTP/1.1", b"HEAD / HTTP/1.1", b"POST /?a HTTP/1.1", b"GET / HTTP/1.0"),
    *(b"GET http://a/ HTTP/1.1", b"PUT /x HTTP/1.1", b"BREW / HTTP/1.1", b"GET / HTTP/2.0"),
    *(b"OPTIONS * HTTP/1.1", b"GET  / HTTP/1.1", b"GET /\xff HTTP/1.1", b"GET", b"", b"\0"),
)
FIELDS = (
    *(b"Host: a", b"Host:", b"Connection: close", b"Connection: x , keep-alive", b"Accept: */*"),
    *(b"Content-Length: 5", b"Content-Length: 0", b"content-length:\t9", b"Content-Length: +1"),
    *(b"Content-Length: 9999999999999999999999", b"Transfer-Encoding: chunked", b"A : b", b" a"),
    *(b"Transfer-Encoding: gzip, chunked", b"Expect: 100-continue", b"Expect: x", b"A", b":"),
    *(b"TRANSFER-ENCODING: Chunked", b"A: \x7f", b"A: \xff", b"A:" + b"a" * 5000),
)
CHUNKS = (
    *(b"5\r\nhello\r\n", b"A;x=y\r\n0123456789\r\n", b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"fff"),
    *(b"1\r\na\n", b"g\r\n", b"00000000000000001\r\na\r\n", b"100001\r\n", b"0\r\nA\rb\r\n\r\n"),
    b"0\r\n" + b"A: b\r\n" * 200,
)
BODIES = (b"", b"hello", b"123456789")


def generated(source: random.Random) -> bytes:
    """A connection's worth of requests, of which one, on average, is damaged."""
    text = b"".join(_request(source) for _ in range(source.randint(1, 4)))
    for _ in range(source.choice((0, 0, 1, 2))):
        at = source.randrange(len(text) + 1)
        match source.randrange(4):
            case 0:
                text = text[:at] + source.randbytes(1) + text[at + 1 :]
            case 1:
                text = text[:at] + source.choice((b"\r", b"\n", b"\r\n", b"\0", b" ")) + text[at:]
            case 2:
                text = text[:at] + text[at + source.randint(1, 9) :]
            case _:
                text = text[: source.randint(0, len(text))]
    return text


def _request(source: random.Random) -> bytes:
    if source.random() < 0.6:
        fields = [b"Host: a"]
        body = b""
        if source.random() < 0.4:
            fields.append(b"Transfer-Encoding: chunked")
            body = CHUNKS[0] * source.randint(0, 3) + CHUNKS[source.choice((2, 3))]
        elif source.random() < 0.4:
            size = source.choice((1, 5, 100, 9000))
            fields.append(b"Content-Length: %d" % size)
            body = bytes(size)
        line = LINES[source.randrange(6)]
    else:
        line = source.choice(LINES)
        fields = source.choices(FIELDS, k=source.randint(0, 4))
        body = b"".join(source.choices((*CHUNKS, *BODIES), k=source.randint(0, 3)))
    return b"\r\n".join((line, *fields, b"", b"")) + body


Answers = Callable[[bytes, int, bool], bytes]


def driven(library: str) -> Answers:
    """What drive.c answers to bytes, cut by a seed, from a peer that stalls or ends after them."""
    answers = ctypes.CDLL(library).answers
    answers.restype = ctypes.c_size_t
    sizes = (ctypes.c_size_t, ctypes.c_uint, ctypes.c_bool, ctypes.c_char_p, ctypes.c_size_t)
    answers.argtypes = (ctypes.c_char_p, *sizes)
    out = ctypes.create_string_buffer(ROOM)

    def of(text: bytes, seed: int, stalls: bool) -> bytes:
        return ctypes.string_at(out, answers(text, len(text), seed, stalls, out, ROOM))

    return of


def _answered(text: bytes, source: random.Random, stalls: bool) -> bytes:
    """What the kernel's server answers, on a connection of its own."""
    got = b""
    with socket.create_connection(AT) as each:
        each.settimeout(60)
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        at = 0
        with suppress(BrokenPipeError, ConnectionResetError):  # it has answered, and left
            for size in _cuts(source, len(text)):
                each.sendall(text[at : at + size])
                at += size
                time.sleep(source.choice((0, 0, 0.001, 0.05)))
            if not stalls:
                each.shutdown(socket.SHUT_WR)
        while more := each.recv(1 << 16):
            got += more
    return got.replace(GO_ON, b"")


def _cuts(source: random.Random, count: int) -> list[int]:
    """Sizes of up to ten pieces."""
    places = sorted(source.randint(0, count) for _ in range(source.randint(0, 9)))
    return [end - begin for begin, end in zip([0, *places], [*places, count], strict=True)]


def _dateless(text: bytes) -> bytes:
    return re.sub(rb"Date: [^\r]*", b"Date:", text)


def main() -> None:
    """Send, compare, print what was seen."""
    _, library, seconds, seed = sys.argv
    source = random.Random(int(seed))
    answers = driven(library)
    statuses: Counter[str] = Counter()
    wrong: list[list[str]] = []
    inputs = bytes_sent = 0
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        text = generated(source)
        stalls = source.random() < 0.1
        right = _dateless(answers(text, 0, stalls))
        try:
            said = _dateless(_answered(text, source, stalls))
        except OSError as error:
            said = repr(error).encode()
        inputs += 1
        bytes_sent += len(text)
        statuses.update(each.decode() for each in re.findall(rb"HTTP/1.1 (\d{3})", said))
        if said != right and len(wrong) < 5:
            wrong.append([repr(each) for each in (text, stalls, right, said)])
    lines = Path("/sys/kernel/debug/nettax_server/stats").read_text().splitlines()
    counters = {name: int(value) for name, value in map(str.split, lines)}
    found = {"inputs": inputs, "bytes": bytes_sent, "wrong": wrong, "statuses": statuses}
    print(json.dumps({**found, "ended": counters["ended"], "start": counters["accepted"]}))


if __name__ == "__main__":
    main()
