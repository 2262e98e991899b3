"""What the guests of test_server.py run against the server in their kernel, printing JSON.

``python served.py held COUNT``: how many of so many connections that stay open are answered;
``stop MODULE ROUNDS [NAME=VALUE…]``: load, connect, unload with the connections live, repeated;
``http``: what the server answers to requests, right and wrong.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

AT = ("127.0.0.1", 8081)
LIVE = 50
QUIET = 2.0  # seconds without an answer
WARM = 9  # rounds, after which there is nothing more to be allocated once and kept
CACHES = ("TCP", "sock_inode_cache", "task_struct", "skbuff_head_cache", "net_namespace")
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


def objects() -> dict[str, int]:
    """Objects in use of what connections are made of, once no CPU keeps any that are free.

    By cache; all of kmalloc's are one. They are as named only under ``slab_nomerge``.
    """
    found = dict.fromkeys((*CACHES, "kmalloc"), 0)
    for cache in Path("/sys/kernel/slab").iterdir():
        name = "kmalloc" if cache.name.startswith("kmalloc") else cache.name
        if name in found:
            (cache / "shrink").write_text("1")
            found[name] += int((cache / "objects").read_text().split()[0])
    return found


def threads() -> int:
    """Threads in the whole system, by /proc/loadavg."""
    return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])


def ends(each: socket.socket) -> bool:
    """The peer has closed, after whatever it had sent."""
    each.settimeout(30)
    with suppress(ConnectionError):
        while each.recv(1 << 16):
            pass
    return True


def settled(least: dict[str, int]) -> dict[str, int]:
    """What is in use, when it is as little as before, or after 20 s: RCU frees when it may."""
    end = time.monotonic() + 20
    while True:
        now = {"threads": threads(), **objects()}
        if time.monotonic() > end or all(now[name] <= least[name] for name in least):
            return now
        time.sleep(0.2)


def busy(each: socket.socket, number: int, exchange: tuple[bytes, bytes]) -> None:
    """Bring a connection into one of four states, all of which last."""
    ask, answer = exchange
    match number % 4:
        case 0:  # has been answered
            each.sendall(ask)
            assert each.recv(1 << 16).startswith(answer)
        case 1:  # sends, and takes nothing: the server waits to send
            each.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    each.send(ask * 100)
            each.setblocking(True)
        case 2:  # is within a request
            each.sendall(ask[:7])


def stop(module: str, rounds: int, parameters: list[str]) -> object:
    """Connections of every kind, live when the module goes."""
    for name in ("rmem", "wmem"):  # so that buffers are soon full
        Path(f"/proc/sys/net/ipv4/tcp_{name}").write_text("4096 16384 65536")
    http = "protocol=http" in parameters
    exchange = (GET, b"HTTP/1.1 200 ") if http else (b"hello" * 20, b"hello")
    counts: list[dict[str, int]] = []
    for _ in range(rounds):
        subprocess.run(["insmod", module, *parameters], check=True)
        sockets = [socket.create_connection(AT) for _ in range(LIVE)]
        for number, each in enumerate(sockets):
            busy(each, number, exchange)
        subprocess.run(["rmmod", "nettax_server"], check=True)
        assert all(map(ends, sockets))
        for each in sockets:
            each.close()
        if len(counts) in (0, WARM, rounds - 1):
            counts.append(settled(counts[WARM] if len(counts) > WARM else {}))
        else:
            counts.append({})
    text = subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout
    wrong = ("BUG", "WARNING", "Oops", "Objects remaining", "hung", "Call Trace", "leak")
    return {
        "before": counts[WARM],
        "after": counts[-1],
        "wrong": [x for x in text.splitlines() if any(w in x for w in wrong)],
    }


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
        case "stop":
            done = stop(words[0], int(words[1]), words[2:])
        case _:
            done = http()
    print(json.dumps(done))


if __name__ == "__main__":
    main()
