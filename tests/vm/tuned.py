"""What the guest of test_server.py sees of each parameter of the server, printed as JSON.

``python tuned.py MODULE``. The guest has one CPU, and its clock counts instructions.
"""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

AT = ("127.0.0.1", 8081)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
QUIET = 1.0  # seconds without an answer
STATE, DATA_SEGMENTS_IN, TCP_INFO_SIZE = 0, 152, 160  # offsets in struct tcp_info, and its size
ESTABLISHED = 1
MODULE = sys.argv[1]


@contextmanager
def serving(*parameters: str) -> Iterator[None]:
    """The server, with these parameters."""
    subprocess.run(["insmod", MODULE, *parameters], check=True)
    try:
        yield
    finally:
        subprocess.run(["rmmod", "nettax_server"], check=True)


def stats() -> dict[str, int]:
    """Its counters."""
    lines = Path("/sys/kernel/debug/nettax_server/stats").read_text().splitlines()
    return {name: int(value) for name, value in map(str.split, lines)}


def connected(at: tuple[str, int] = AT) -> socket.socket:
    """A connection on which nothing waits for company."""
    each = socket.create_connection(at)
    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return each


def reachable(at: tuple[str, int]) -> bool:
    """Whether there is somebody to connect to."""
    with suppress(ConnectionRefusedError):
        connected(at).close()
        return True
    return False


def echoed(each: socket.socket, count: int = 1) -> None:
    """So many round trips."""
    for _ in range(count):
        each.sendall(b"?")
        assert each.recv(2) == b"?"


def rest(each: socket.socket) -> bytes:
    """All that comes until the server closes."""
    got = b""
    while more := each.recv(1 << 16):
        got += more
    return got


def mode() -> object:
    """Who runs three open connections: threads, bound workers and unbound ones."""
    found = {}
    for name in ("kthread", "workqueue", "workqueue-unbound"):
        with serving(f"mode={name}"):
            open_now = [connected() for _ in range(3)]
            for each in open_now:
                echoed(each)
            tasks = [path.read_text().strip() for path in Path("/proc").glob("[0-9]*/comm")]
            unbound = [task.startswith("kworker/u") for task in tasks if "+nettax" in task]
            found[name] = [tasks.count("nettax_conn"), unbound.count(False), unbound.count(True)]
            for each in open_now:
                each.close()
    return found


def port_and_address() -> object:
    """Port 0 takes a free one, and only the address that was given is listened at."""
    with serving("port=0", "address=127.0.0.2"):
        port = stats()["port"]
        return [port > 1023, reachable(("127.0.0.2", port)), reachable(("127.0.0.1", port))]


def namespace() -> object:
    """It listens where it was loaded, and nowhere else."""
    inside = "import socket; socket.create_connection(('{}', {})).close()".format(*AT)
    steps = f'ip link set lo up && insmod {MODULE} && python3 -IS -c "{inside}"'
    run = subprocess.run(["unshare", "-n", "sh", "-c", steps])
    outside = reachable(AT)
    subprocess.run(["rmmod", "nettax_server"], check=True)
    return [run.returncode, outside]


def backlog() -> object:
    """Connections that are made while nobody accepts: so many, and one."""
    with serving("backlog=5"):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))  # the acceptor cannot run
        waiting = [socket.socket() for _ in range(20)]
        for each in waiting:
            each.setblocking(False)
            assert each.connect_ex(AT) == errno.EINPROGRESS
        made = [info(each)[STATE] == ESTABLISHED for each in waiting].count(True)
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        for each in waiting:
            each.close()
        return made


def info(each: socket.socket) -> bytes:
    """A connection's struct tcp_info."""
    return each.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_SIZE)


def segments(*parameters: str) -> int:
    """Segments that ten answers come in, to who acknowledges late."""
    with serving("protocol=http", *parameters), connected() as each:
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
        each.sendall(GET * 9 + LAST)
        assert rest(each).count(b"HTTP/1.1 200 ") == 10
        return int.from_bytes(info(each)[DATA_SEGMENTS_IN:][:4], sys.byteorder)


def taken(rcvbuf: int) -> int:
    """Bytes that a connection takes, which nobody reads from: one work item is held by another."""
    one = ("mode=workqueue", "max_active=1")
    with serving(*one, f"rcvbuf={rcvbuf}"), connected() as first, socket.socket() as second:
        echoed(first)
        second.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        second.connect(AT)
        second.setblocking(False)
        sent = 0
        while select.select([], [second], [], QUIET)[1]:
            sent += second.send(bytes(1024))
        return sent


def max_active() -> object:
    """Of five connections, how many are answered."""
    with serving("mode=workqueue", "max_active=3"):
        held = [connected() for _ in range(5)]
        for each in held:
            each.sendall(b"?")
        time.sleep(QUIET)
        answered = len(select.select(held, [], [], 0)[0])
        for each in held:
            each.close()
        return answered


def reuseaddr() -> object:
    """Whether a port can be listened at whose connections were just closed, by the server."""
    with serving("protocol=http"), connected() as each:
        each.sendall(LAST)
        assert rest(each)
    found = []
    for value in ("N", "Y"):
        run = subprocess.run(["insmod", MODULE, f"reuseaddr={value}"], capture_output=True)
        found.append(run.returncode == 0)
        if found[-1]:
            subprocess.run(["rmmod", "nettax_server"], check=True)
    return found


def took_ms(*parameters: str) -> float:
    """Ten round trips."""
    with serving(*parameters), connected() as each:
        echoed(each)
        began = time.monotonic()
        echoed(each, 10)
        return (time.monotonic() - began) * 1e3


def timeout_ms() -> object:
    """A request that does not come: the answer, and that it comes then."""
    with serving("protocol=http", "timeout_ms=300"), connected() as each:
        began = time.monotonic()
        each.sendall(GET[:9])
        status = rest(each)[9:12].decode()
        return [status, 0.3 <= time.monotonic() - began < 3]


def counters() -> object:
    """What is counted of four requests on three connections."""
    with serving("protocol=http"):
        for words in (GET + LAST, LAST, b"BREW / HTTP/1.1\r\n\r\n"):
            with connected() as each:
                each.sendall(words)
                rest(each)
        found = stats()
        names = ("accepted", "messages", "refused", "timeouts", "accept_errors", "start_errors")
        return [*(found[name] for name in names), found["received_bytes"] > found["accepted"]]


def refused() -> object:
    """Parameters that are none."""
    words = ("mode=x", "protocol=x", "address=x", "max_active=1", "backlog=0", "work_us=1000001")
    runs = [subprocess.run(["insmod", MODULE, word], capture_output=True) for word in words]
    return [run.returncode for run in runs]


def main() -> None:
    """Look at each."""
    if not Path("/sys/kernel/debug/tracing").exists():
        subprocess.run(["mount", "-t", "debugfs", "none", "/sys/kernel/debug"], check=True)
    Path("/proc/sys/net/ipv4/tcp_autocorking").write_text("0")
    found = {
        "mode": mode(),
        "port, address": port_and_address(),
        "namespace": namespace(),
        "backlog": backlog(),
        "nodelay": [segments(), segments("nodelay=N")],
        "cork": segments("cork=Y"),
        "rcvbuf": [taken(4096), taken(1 << 20)],
        "max_active": max_active(),
        "reuseaddr": reuseaddr(),
        "work_us": [took_ms(), took_ms("work_us=5000")],
        "timeout_ms": timeout_ms(),
        "stats": counters(),
        "refused": refused(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
