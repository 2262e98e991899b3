"""What `function-cost` has a guest do: round trips under each tracer of a function; prints JSON.

Its arguments are FUNCTION and COUNT. Times are in ns of the guest; what the tracers' reader does
comes before the clock starts or after it has stopped.
"""

from __future__ import annotations

import gc
import json
import socket
import sys
import time
from typing import Any

from nettax.functions.graph import CallTree, fold
from nettax.functions.latency import Latency
from nettax.functions.tracer import GraphTracer
from nettax.host import Host

AT = ("127.0.0.1", 8081)
CALLS = 2  # of the function in a round trip
DEEP = 4
GRAPHS = {  # by name: depth, only the function, and which share of the round trips has room
    "only it": (0, True, 4),
    "depth 1": (1, False, 4),
    f"depth {DEEP}": (DEEP, False, 8),
    "all below": (0, False, 20),
}


def round_trips(count: int, connection: socket.socket) -> float:
    """One byte there and back so often; ns for each."""
    began = time.monotonic_ns()
    for _ in range(count):
        connection.send(b"?")
        connection.recv(1)
    return (time.monotonic_ns() - began) / count


def row(tracer: str, per: float, count: int, each: int, times: Any = None) -> dict[str, Any]:
    """What is told of one tracer, which sees `each` calls in a round trip; `times`: of them."""
    told = {"tracer": tracer, "per_round_trip_ns": per, "each": each, "calls": None}
    told["expected"] = each * count
    if times is not None:
        told |= {
            "calls": times.count,
            "p50_ns": times.quantile(0.5),
            "p99_ns": times.quantile(0.99),
            "most_ns": times.most_ns,
        }
    return told


def graphed(
    host: Host, function: str, depth: int, only: bool, count: int, connection: socket.socket
) -> tuple[float, CallTree]:
    """Round trips under the graph tracer, which leaves out this process: the server's half."""
    with GraphTracer(host, function, depth=depth, only=[function] if only else ()) as tracer:
        per = round_trips(count, connection)
        return per, fold(function, tracer.lines(lambda seconds: True))


def main(function: str, count: int) -> dict[str, Any]:
    """Run them all, each after a turn that warms it up."""
    found = []
    with Host() as host, socket.create_connection(AT) as connection:
        round_trips(count, connection)
        gc.disable()
        found.append(row("none", round_trips(count, connection), count, CALLS))
        with Latency(functions=(function,)) as latency:
            round_trips(count, connection)
            before = latency.read()
            per = round_trips(count, connection)
            times = (latency.read() - before).of(function)
            found.append(row("kprobe, BPF", per, count, CALLS, times))
        tree = CallTree(fold(function, ()).root)
        for name, (depth, only, share) in GRAPHS.items():
            few = max(1, count // share)
            per, tree = graphed(host, function, depth, only, few, connection)
            found.append(row(f"graph, {name}", per, few, 1, tree.root.histogram))
    nodes = [
        {
            "depth": depth,
            "name": node.name,
            "count": node.count,
            "total_ns": node.total_ns,
            "self_ns": node.self_ns,
            "of": max(1, tree.root.count),
        }
        for depth, node in tree.root.walk()
    ]
    return {"tracers": found, "tree": nodes, "lost": tree.lost, "cut": tree.cut}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]))))
