"""What a guest runs to be counted: so many connections, then so many round trips on one of them.

``python exact_client.py COUNT`` prints the instructions that one took, on average, as JSON: the
guest's clock advances by 2 ns with each. It does all twice and counts the second time: by then
nothing has to come from the host.
"""

from __future__ import annotations

import gc
import json
import socket
import sys
import time

AT = ("127.0.0.1", 8081)


def connections(count: int) -> None:
    """Connect, have one byte echoed, close."""
    for _ in range(count):
        each = socket.socket()
        each.connect(AT)
        each.send(b"?")
        each.recv(1)
        each.close()


def round_trips(count: int) -> None:
    """One byte there and back, again and again."""
    with socket.create_connection(AT) as each:
        for _ in range(count):
            each.send(b"?")
            each.recv(1)


def main() -> None:
    """Count."""
    gc.disable()
    count = int(sys.argv[1])
    found = {}
    for work in (connections, round_trips):
        work(count)
        began = time.monotonic_ns()
        work(count)
        found[work.__name__] = (time.monotonic_ns() - began) / 2 / count
    print(json.dumps(found))


if __name__ == "__main__":
    main()
