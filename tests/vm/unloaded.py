"""What unloading the server leaves, with connections live: run in test_server.py's guests.

``python unloaded.py MODULE ROUNDS [NAME=VALUE…]`` loads, connects and unloads so often and prints
JSON. Every object in the kernel's slabs is told by the stack that allocated it (``slab_nomerge
slub_debug=U``), counted five times at equal distances. What a load or a connection leaves makes its
stack's count grow by as much in each of the four intervals; what the kernel allocates once, and
what a CPU keeps at hand or frees later, does not. So one object a load is found among thousands;
of packets' heads one a connection, as each CPU keeps up to 64 of them in all.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

AT = ("127.0.0.1", 8081)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LIVE = 50
READINGS = 5
CACHES = ("TCP", "sock_inode_cache", "net_namespace", "task_struct")
SLABS = Path("/sys/kernel/slab")
TRACES = Path("/sys/kernel/debug/slab")
SITE = re.compile(r"^ +(\d+) (.+?) (?:waste=\S+ )?age=")
OURS = re.compile("kmalloc|skbuff|TCP|sock|request_sock|ip_|inet|net|task|pid|cred|pool_workqueue")
HEADS_KEPT = 64 * (os.cpu_count() or 1)  # net/core/skbuff.c, NAPI_SKB_CACHE_SIZE
GONE = re.compile(r"0x[0-9a-f]{8,}")  # text of a module that was unloaded, wherever it was
KEPT = ("BUG", "WARNING", "Oops", "Objects remaining", "hung", "Call Trace", "leak", "KASAN")


def ends(each: socket.socket) -> bool:
    """The peer has closed, after whatever it had sent."""
    each.settimeout(30)
    with suppress(ConnectionError):
        while each.recv(1 << 16):
            pass
    return True


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


def one_round(module: str, parameters: list[str]) -> None:
    """Connections of every kind, live when the module goes."""
    http = "protocol=http" in parameters
    exchange = (GET, b"HTTP/1.1 200 ") if http else (b"hello" * 20, b"hello")
    subprocess.run(["insmod", module, *parameters], check=True)
    sockets = [socket.create_connection(AT) for _ in range(LIVE)]
    for number, each in enumerate(sockets):
        busy(each, number, exchange)
    subprocess.run(["rmmod", Path(module).stem], check=True)
    assert all(map(ends, sockets))
    for each in sockets:
        each.close()


def threads() -> Counter[str]:
    """Threads by name; the kernel's workers, which come and go, under one."""
    names: Counter[str] = Counter()
    for file in Path("/proc").glob("[0-9]*/task/*/comm"):
        with suppress(OSError):
            name = file.read_text().strip()
            names["kworker" if name.startswith("kworker/") else name] += 1
    return names


def in_use() -> dict[str, int]:
    """Objects of what connections are made of, none kept by a CPU; task_struct beyond threads."""
    found = {}
    for name in CACHES:
        (SLABS / name / "shrink").write_text("1")
        found[name] = int((SLABS / name / "objects").read_text().split()[0])
    found["task_struct"] -= sum(threads().values())
    return found


def settled(least: dict[str, int]) -> dict[str, int]:
    """What is in use, when it is as little as before, or after 20 s: RCU frees when it may."""
    end = time.monotonic() + 20
    while True:
        now = in_use()
        if time.monotonic() > end or (least and all(now[name] <= least[name] for name in least)):
            return now
        time.sleep(0.2)


def sites() -> Counter[str]:
    """Objects by cache and allocating stack, in the caches that a server has to do with."""
    found: Counter[str] = Counter()
    for cache in TRACES.iterdir():
        if not OURS.match(cache.name):  # nor has tw_sock, what is left of a socket for a minute
            continue
        stack, count = "", 0
        for line in [*(cache / "alloc_traces").read_text().splitlines(), " 0 end age="]:
            if begins := SITE.match(line):
                found[stack] += count
                count = int(begins[1])
                stack = f"{cache.name}: {GONE.sub('gone', begins[2])}"
            elif line.startswith("        "):
                stack += " < " + GONE.sub("gone", line.strip())
    del found[""]
    return found


def grown(readings: list[Counter[str]], by: int) -> dict[str, list[int]]:
    """The stacks of which there are so many more after each interval, and their counts."""
    pairs = list(pairwise(readings))
    return {
        stack: [reading[stack] for reading in readings]
        for stack in readings[-1]
        if all(later[stack] - earlier[stack] >= by for earlier, later in pairs)
        and not (stack.startswith("skbuff_head_cache") and readings[-1][stack] <= HEADS_KEPT)
    }


def stop(module: str, rounds: int, parameters: list[str]) -> object:
    """So many rounds, after the first fifth of which all is counted for the first time."""
    for name in ("rmem", "wmem"):  # so that buffers are soon full
        Path(f"/proc/sys/net/ipv4/tcp_{name}").write_text("4096 8192 16384")
    every = rounds // READINGS
    counts: list[dict[str, int]] = []
    names: list[Counter[str]] = []
    by_site: list[Counter[str]] = []
    for number in range(1, rounds + 1):
        one_round(module, parameters)
        if number % every == 0:
            counts.append(settled(counts[0] if counts else {}))
            names.append(threads())
            by_site.append(sites())
    text = subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout
    return {
        "counts": counts,
        "workers": [each.pop("kworker") for each in names],
        "threads": sorted((names[-1] - names[0]).items()),
        "objects": [sum(each.values()) for each in by_site],
        "sites": len(by_site[-1]),
        "grown": grown(by_site, every),
        "most": (by_site[-1] - by_site[0]).most_common(8),
        "log": [x for x in text.splitlines() if any(word in x for word in KEPT)],
    }


if __name__ == "__main__":
    print(json.dumps(stop(sys.argv[1], int(sys.argv[2]), sys.argv[3:])))
