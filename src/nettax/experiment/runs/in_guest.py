"""What experiments have a guest do with the server in its kernel; prints JSON.

``spawn CHAIN COUNT``: how long from a connection's coming until somebody runs it.
``burst SERVER COUNT…``: so many connections at once, for each count; to the kernel's server, or
to a reference server of that model.
``held COUNT``: of so many that stay open, how many are answered.
"""

from __future__ import annotations

import json
import select
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, cast

AT = ("127.0.0.1", 8081)
TOGETHER = 8  # connections that are asked for at once
ROUNDS = 3  # of echoes in a burst
BACKLOG = 128  # as the kernel's server has it
START_UP_S = 600  # its clock leaps while an idle guest waits for the host's files
QUIET_S = 2.0  # without an answer, of the guest's time


def _connect(count: int) -> None:
    """Connections that come together, each with one byte to be echoed, then closed."""
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in opened:
            each.setblocking(False)
            each.connect_ex(AT)
        for each in opened:
            each.setblocking(True)
            each.sendall(b"?")
        for each in opened:
            each.recv(1)


def spawn(chain: str, count: str) -> Any:
    """By how many came together: how long the chain took, in ns of the guest."""
    from nettax.experiment.load_kmod import functions
    from nettax.functions.latency import Latency, stages_of
    from nettax.lab import kmod

    inside = functions(kmod.NAME)
    works = chain == "workqueue"
    stage = stages_of(chain)[1 if works else 0]  # a work item's whole chain is its connection's
    found = {}
    with Latency((chain,), by="arg" if works else "nothing") as latency:
        before = latency.read()
        for together in (1, TOGETHER):
            for _ in range(int(count) // together):
                _connect(together)
            after = latency.read()
            for key, times in (after - before).histograms.items():
                if key.name == stage and (not works or key.group in inside):
                    found[str(together)] = {
                        "count": times.count,
                        "p50_ns": times.quantile(0.5),
                        "p99_ns": times.quantile(0.99),
                        "most_ns": times.most_ns,
                    }
            before = after
    return found


def burst(server: str, *counts: str) -> Any:
    """The echo burst, in ns of the guest."""
    from nettax.servers.server import Model, serve

    if server == "kernel":
        return _bursts(AT[1], counts)
    with serve(cast(Model, server), protocol="echo", backlog=BACKLOG) as process:
        return _bursts(process.port, counts)


def _bursts(port: int, counts: Sequence[str]) -> Any:
    _burst(port, 1)  # brings in from the host what all need
    return [_burst(port, int(count)) for count in counts]


def _burst(port: int, count: int) -> Any:
    from nettax.experiment.burst import burst_run

    run = burst_run(AT[0], port, count, rounds=ROUNDS, start_up_s=START_UP_S)
    seen = run.burst
    once = [c for c in seen.connections if not c.syn_retries]
    return {
        "connections": count,
        "answered": sum(None not in c.echo_ns for c in seen.connections),
        "retried": seen.retried,
        "overflows": run.counters.get("TcpExt.ListenOverflows", 0),
        "connect_ns": sorted(c.connect_ns for c in once if c.connect_ns is not None),
        "echo_ns": sorted(ns for c in once for ns in c.echo_ns if ns is not None),
        "errors": seen.errors,
    }


def held(count: str) -> Any:
    """How many of so many connections that stay open have their byte echoed."""
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection(AT)) for _ in range(int(count))]
        for each in opened:
            each.sendall(b"?")
        waiting = set(opened)
        while waiting and (ready := select.select(list(waiting), [], [], QUIET_S)[0]):
            for each in ready:
                each.recv(1)
                waiting.discard(each)
        return int(count) - len(waiting)


PROGRAMS: dict[str, Callable[..., Any]] = {"spawn": spawn, "burst": burst, "held": held}

if __name__ == "__main__":
    print(json.dumps(PROGRAMS[sys.argv[1]](*sys.argv[2:])))
