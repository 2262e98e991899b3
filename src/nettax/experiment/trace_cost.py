"""What tracing costs what is traced: the same work with and without it, in turns."""

from __future__ import annotations

import os
import pty
import socket
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from nettax.experiment.estimate import Estimate, paired_difference
from nettax.functions import LatencyReading

__all__ = ["SMALL", "STIMULI", "Reader", "added_ns", "inside_ns", "system_calls"]

_ROUNDS = 12
_ROUND_S = 0.008
_FEWEST = 16  # runs in a round
Work = Callable[[], object]
_EMPTY_CALLS = 200
SMALL = "__task_pid_nr_ns"
"""A function of the kernel's that does next to nothing, and is called once by getppid()."""


class Reader(Protocol):
    """A tracer that counts the times of functions."""

    def read(self) -> LatencyReading:
        """What was counted until now."""


@contextmanager
def _pty() -> Iterator[Work]:
    """A byte through a pseudoterminal is a work item: tty_flip_buffer_push() queues it."""
    master, slave = pty.openpty()
    tty.setraw(slave)

    def once() -> None:
        os.write(master, b".")
        os.read(slave, 1)

    try:
        yield once
    finally:
        os.close(master)
        os.close(slave)


@contextmanager
def _udp() -> Iterator[Work]:
    """A datagram over loopback is a NET_RX softirq, in the sender's system call."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind(("127.0.0.1", 0))
        end.connect(end.getsockname())

        def once() -> None:
            end.send(b".")
            end.recv(1)

        yield once


@contextmanager
def _tcp() -> Iterator[Work]:
    """A byte over a loopback connection is a segment received and read."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = socket.create_connection(server.getsockname())
        receiver, _ = server.accept()
    with sender, receiver:
        sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def once() -> None:
            sender.send(b".")
            receiver.recv(1)

        yield once


@contextmanager
def _getppid() -> Iterator[Work]:
    """A system call that does next to nothing."""
    yield os.getppid


@contextmanager
def _fork() -> Iterator[Work]:
    """A child that ends at once."""

    def once() -> None:
        if not (child := os.fork()):
            os._exit(0)
        os.waitpid(child, 0)

    yield once


STIMULI: dict[str, Callable[[], AbstractContextManager[Work]]] = {
    "fork": _fork,
    "workqueue": _pty,
    "softirq": _udp,
    "tcp-read": _tcp,
    "call": _getppid,
}
"""By chain, what runs it once; `call`: a function's."""


def system_calls() -> tuple[str, ...]:
    """Names of the kernel's function that the stimulus `call` calls once.

    On x86 they are aliases, of which a kernel lists one (arch/x86/include/asm/syscall_wrapper.h).
    """
    kinds = {"x86_64": ("__x64_", "__do_", "__ia32_"), "aarch64": ("__arm64_",)}
    return tuple(f"{kind}sys_getppid" for kind in kinds.get(os.uname().machine, ("",)))


def added_ns(
    stimulus: str,
    tracing: Callable[[], AbstractContextManager[object]],
    rounds: int = _ROUNDS,
) -> Estimate:
    """What tracing adds to one run of a chain, in ns of wall time.

    Short windows of the same work with and without it alternate, so that what drifts moves both;
    the median of their differences, with its interval. Takes half a second.
    """
    on, off = [], []
    with STIMULI[stimulus]() as once:
        _rate(once)
        for number in range(rounds):
            first = number % 2 == 0
            if first:
                off.append(_rate(once))
            with tracing():
                on.append(_rate(once))
            if not first:
                off.append(_rate(once))
    return paired_difference(on, off)


def inside_ns(tracing: Callable[[], AbstractContextManager[Reader]]) -> int | None:
    """What a tracer of `SMALL` shows as the time of a call, in ns: its own, nearly.

    So much is in each time that it shows. None: it does not see the calls here.
    """
    with tracing() as tracer:
        began = tracer.read()
        for _ in range(_EMPTY_CALLS):
            os.getppid()
        seen = (tracer.read() - began).of(SMALL, "call")
    return seen.quantile(0.5) if seen.count >= _EMPTY_CALLS else None


def _rate(once: Work) -> float:
    """ns for one, the median of some rounds: what interrupts one is left out."""
    clock = time.perf_counter_ns
    times: list[int] = []
    until = clock() + int(_ROUND_S * 1e9)
    while (begin := clock()) < until or len(times) < _FEWEST:
        once()
        times.append(clock() - begin)
    times.sort()
    return float(times[len(times) // 2])
