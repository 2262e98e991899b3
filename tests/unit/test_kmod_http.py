"""The HTTP of the server in the kernel, outside it: right answers, however requests are cut."""

from __future__ import annotations

import random
import re
import struct
import subprocess
from pathlib import Path

import pytest
from tests.kmod_http import built
from tests.kmod_http.fuzzed import Answers, driven, generated

INPUTS = 1000
HOST = b"Host: a\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
LENGTH = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: "
CHUNKED = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    flags = ("-DLIBRARY", "-shared", "-fPIC")
    return driven(str(built(tmp_path_factory.mktemp("library"), *flags)))


def test_cuts_change_nothing_under_asan_and_ubsan(tmp_path: Path) -> None:
    watch = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    program = built(tmp_path, "-DPROGRAM", *watch)
    source = random.Random(7)
    inputs = [generated(source) for _ in range(INPUTS)]
    sent = b"".join(struct.pack("=I", len(each)) + each for each in inputs)
    run = subprocess.run([program], input=sent, capture_output=True)
    assert run.returncode == 0, run.stderr.decode(errors="replace")[-3000:]


@pytest.mark.parametrize(
    ("text", "statuses"),
    [
        (GET * 300, [200] * 300),
        (b"\r\n\r\n" + GET, [200]),
        (GET[:-1], []),
        (LENGTH + b"1048576\r\n\r\n" + bytes(1 << 20) + GET, [405, 200]),
        (LENGTH + b"1048577\r\n\r\n", [413]),
        (LENGTH + b"-1\r\n\r\n", [400]),
        (LENGTH + b"5, 5\r\n\r\n", [400]),
        (LENGTH + b"\r\n\r\n", [400]),
        (CHUNKED + b'a;x="y"\r\n0123456789\r\n0\r\nA: b\r\n\r\n' + GET, [405, 200]),
        (CHUNKED + b"80000\r\n" + bytes(1 << 19) + b"\r\n80001\r\n", [413]),
        (CHUNKED + b"00000000000000000\r\n", [400]),
        (CHUNKED + b"5\nhello\r\n", [400]),
        (CHUNKED + b"5\r\nhelloworld", [400]),
        (CHUNKED + b"0\r\nA\rB: c\r\n\r\n", [400]),
        (CHUNKED + b"0\r\nA: b\n\r\n", [400]),
        (CHUNKED + b"0\r\n" + b"A: b\r\n" * 999, [431]),
        (b"GET /\x80 HTTP/1.1\r\n" + HOST + b"\r\n", [400]),
        (b"GET http://a?b HTTP/1.1\r\n" + HOST + b"\r\n", [200]),
        (b"GET / HTTP/1.1\r\n" + HOST * 2 + b"\r\n", [400]),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", [400]),
        (b"GET / HTTP/1.1\r\n" + HOST + b"A: \0\r\n\r\n", [400]),
        (b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", [400]),
        (b"GET / HTTP/3.0\r\n\r\n", [505]),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", [400]),
    ],
)
def test_statuses(answers: Answers, text: bytes, statuses: list[int]) -> None:
    for seed in range(3):
        said = answers(text, seed, False)
        assert [int(each) for each in re.findall(rb"HTTP/1.1 (\d+)", said)] == statuses


def test_a_request_that_does_not_come_is_told_so(answers: Answers) -> None:
    assert answers(GET[:9], 0, True).startswith(b"HTTP/1.1 408 ")
    assert answers(GET + GET[:9], 0, True).count(b"HTTP/1.1 408 ") == 1
    assert answers(GET, 0, True).count(b"HTTP/1.1 ") == 1, "idle between requests is no fault"
