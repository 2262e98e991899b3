"""What `bound-vs-unbound` has a guest do: some connections always have work, others come late.

Its arguments are BUSY LATE WINDOW_MS; the server is loaded as a workqueue's. `BUSY` connections
send a byte every half millisecond, so that the server always has their next message, for the
window; `LATE` others come at even distances, each with one message. All are accepted on CPU 0, as
connections of one receive queue are, and the client runs on the last. Prints JSON: the items, from
the kernel's own events, and when each late one was answered; in ns of the guest.
"""

from __future__ import annotations

import json
import os
import re
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

AT = ("127.0.0.1", 8081)
TRACING = Path("/sys/kernel/tracing")
EVENTS = ("workqueue_queue_work", "workqueue_execute_start")
ACCEPTOR = "nettax_accept"
BEGIN_S = 0.1  # until the busy ones are at work
STEP_S = 0.0005
AHEAD = 64  # bytes that are sent and not echoed, at most
_LINE = re.compile(
    r"\s*(?P<task>.+)-\d+\s+\[(?P<cpu>\d+)\]\s+\S+\s+(?P<s>\d+)\.(?P<us>\d+): "
    r"(?P<event>\w+): work struct[= ](?P<work>\w+):? function[= ](?P<function>\w+)"
)


def trace_begins() -> None:
    """Have the kernel note when work items are queued and begun."""
    if not (TRACING / "trace").exists():
        subprocess.run(["mount", "-t", "tracefs", "nodev", TRACING], check=True)
    (TRACING / "trace_clock").write_text("mono")  # which empties it, too
    (TRACING / "tracing_on").write_text("1")
    for event in EVENTS:
        (TRACING / "events/workqueue" / event / "enable").write_text("1")


def items(text: str, function: str = "run_in_queue") -> list[dict[str, Any]]:
    """The server's items in the order of their coming; one that was not begun has no beginning."""
    waiting: dict[str, dict[str, Any]] = {}
    found = []
    for line in text.splitlines():
        seen = _LINE.match(line)
        if not seen or seen["function"] != function:
            continue
        at = int(seen["s"]) * 10**9 + int(seen["us"].ljust(9, "0"))
        if seen["event"] == EVENTS[0]:
            item: dict[str, Any] = {
                "queued_ns": at,
                "queued_on": int(seen["cpu"]),
                "delay_ns": None,
            }
            waiting[seen["work"]] = item
            found.append(item)
        elif seen["work"] in waiting:
            item = waiting.pop(seen["work"])
            item.update(
                delay_ns=at - item["queued_ns"], began_on=int(seen["cpu"]), worker=seen["task"]
            )
    return found


def place() -> None:
    """Put the acceptor on the first CPU, and this process on the last."""
    cpus = sorted(os.sched_getaffinity(0))
    for path in Path("/proc").glob("[0-9]*/comm"):
        if path.read_text().strip() == ACCEPTOR:
            os.sched_setaffinity(int(path.parent.name), {cpus[0]})
    os.sched_setaffinity(0, {cpus[-1]})


def connected() -> socket.socket:
    """A connection with a message on its way."""
    one = socket.create_connection(AT)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    one.sendall(b"?")
    return one


class Busy:
    """A connection whose next message is always there."""

    def __init__(self) -> None:
        self.socket = connected()
        self.ahead = 1
        self.echoes = 0

    def fileno(self) -> int:
        return self.socket.fileno()

    def more(self) -> None:
        if self.ahead < AHEAD:
            self.socket.sendall(b"?")
            self.ahead += 1

    def take(self) -> None:
        self.ahead -= len(self.socket.recv(AHEAD))
        self.echoes += 1


def main(busy: int, late: int, window_ms: int) -> dict[str, Any]:
    """Run it."""
    place()
    trace_begins()
    others = [Busy() for _ in range(busy)]
    sent: dict[socket.socket, int] = {}
    answered: list[int] = []
    began = time.monotonic()
    until = began + BEGIN_S + window_ms / 1e3
    coming = [began + BEGIN_S + window_ms / 1e3 * i / late for i in range(late)]
    step = began
    while (now := time.monotonic()) < until:
        if coming and now >= coming[0]:
            coming.pop(0)
            sent[connected()] = time.monotonic_ns()
        if now >= step:
            step = now + STEP_S
            for each in others:
                each.more()
        both: list[Busy | socket.socket] = [*others, *sent]
        ready, _, _ = select.select(both, [], [], max(0.0, step - time.monotonic()))
        for one in ready:
            if isinstance(one, Busy):
                one.take()
            else:
                one.recv(1)
                answered.append(time.monotonic_ns() - sent.pop(one))
                one.close()
    (TRACING / "tracing_on").write_text("0")
    seen, end = items((TRACING / "trace").read_text()), time.monotonic_ns()
    for item in seen:  # those that were not begun have waited until now
        item["waited_ns"] = item["delay_ns"] or end - item["queued_ns"]
    return {
        "echoes": [each.echoes for each in others],
        "answered_ns": answered,
        "unanswered": len(sent) + len(coming),
        "items": seen,
    }


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:]))))
