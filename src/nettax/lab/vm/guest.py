"""A running QEMU and the wires to what runs in it."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress

from nettax.errors import NettaxError
from nettax.host import spawn

__all__ = ["Guest", "Wires"]

_CHUNK = 1 << 16
_KEPT = 1 << 18  # bytes of the serial line
_SHOWN = 40  # lines of it in an error


class Wires:
    """Pairs of sockets, one for each name: this end and the one that QEMU gets."""

    def __init__(self, names: Iterable[str], stack: ExitStack) -> None:
        """Open them, until the stack unwinds."""
        pairs = {name: socket.socketpair() for name in names}
        for pair in pairs.values():
            for each in pair:
                stack.callback(each.close)
        self.near = {name: pair[0] for name, pair in pairs.items()}
        self.far = {name: pair[1] for name, pair in pairs.items()}

    def release(self) -> None:
        """Close the far ends: QEMU has them."""
        for each in self.far.values():
            each.close()


class Guest:
    """Runs from the start until `close`, or until the thread that made it ends, however it does.

    Nothing of it is on disk: the wires are sockets, and what it starts from is in memory.
    """

    def __init__(
        self,
        command: list[str],
        wires: Wires,
        descriptors: list[int],
        limit: float,
        on_serial: Callable[[bytes], None],
    ) -> None:
        """Start QEMU with the far ends of the wires and with these descriptors, for `limit` s.

        ``on_serial`` gets what comes over the serial line.

        :raises NettaxError: it cannot be started.
        """
        from subprocess import DEVNULL

        self._wires = wires
        self._limit = limit
        self._deadline = time.monotonic() + limit
        self._on_serial = on_serial
        self._serial = bytearray()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._said = os.memfd_create("qemu-says")
        # It gets SIGKILL with this thread: nettax.host.spawn.
        self._process = spawn(
            command,
            pass_fds=[*(each.fileno() for each in wires.far.values()), *descriptors],
            stdin=DEVNULL,
            stdout=self._said,
            stderr=self._said,
            start_new_session=True,  # a terminal's Ctrl-C is for the command, not for QEMU
        )
        self._pidfd = os.pidfd_open(self._process.pid)
        wires.release()
        self.handle(wires.near["serial"].fileno(), self._read_serial)

    def close(self) -> None:
        """End QEMU and reap it."""
        self._process.kill()
        self._process.wait()
        os.close(self._pidfd)
        os.close(self._said)

    def handle(self, fd: int, handler: Callable[[], None] | None) -> None:
        """Call ``handler`` whenever ``fd`` can be read, from within `until`; None ends that."""
        if handler is None:
            self._handlers.pop(fd, None)
        else:
            self._handlers[fd] = handler

    def until(self, condition: Callable[[], object], seconds: float | None = None) -> bool:
        """Serve all wires until a condition holds, or for so long; tell whether it holds.

        :raises NettaxError: the guest panicked, ended, or used up its time.
        """
        end = self._deadline if seconds is None else time.monotonic() + seconds
        while not condition():
            left = min(end, self._deadline) - time.monotonic()
            if left <= 0:
                if time.monotonic() < self._deadline:
                    return False
                raise self._failed(
                    f"the guest was not done after {self._limit:g} s, and was ended: "
                    "it hangs, or takes a higher --limit."
                )
            ready = select.select([*self._handlers, self._pidfd], [], [], left)[0]
            for fd in ready:
                if handler := self._handlers.get(fd):
                    handler()
            if ready == [self._pidfd]:  # and all that it has said is read
                raise self._failed(self._cause())
        return True

    def receive(self, name: str) -> bytes:
        """What has come over a wire; nothing once QEMU has closed it."""
        wire = self._wires.near[name]
        with suppress(ConnectionError):
            if data := wire.recv(_CHUNK):
                return data
        self.handle(wire.fileno(), None)
        return b""

    def _read_serial(self) -> None:
        data = self.receive("serial")
        self._serial += data
        del self._serial[:-_KEPT]
        self._on_serial(data)

    def _cause(self) -> str:
        text = self._text()
        if said := _after(text, "nettax-lab: "):
            return f"the guest did not start: {said}."
        if said := _after(text, "Kernel panic - not syncing: "):
            return f"the guest's kernel panicked: {said}."
        qemu = os.pread(self._said, _CHUNK, 0).decode(errors="replace").strip().rstrip(".")
        code = self._process.wait()
        if code < 0:
            ended = f"QEMU was ended by {_signal(-code)}"
            return f"{ended}: {qemu}." if qemu else f"{ended}."
        if code:
            return f"QEMU failed: {qemu or f'it ended with {code}, and said nothing'}."
        return "the guest was shut down before the command had ended."

    def _failed(self, what: str) -> NettaxError:
        lines = [line for line in self._text().splitlines() if line.strip()][-_SHOWN:]
        if not lines:
            return NettaxError(f"{what}\nIts serial line said nothing.")
        return NettaxError("\n  ".join([f"{what} Its serial line ends:", *lines]))

    def _text(self) -> str:
        return self._serial.decode(errors="replace").replace("\r", "")


def _signal(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"  # a realtime signal: most have no name


def _after(text: str, mark: str) -> str:
    """The rest of the last line with a mark in it."""
    line = next((each for each in reversed(text.splitlines()) if mark in each), "")
    return line.partition(mark)[2].strip().rstrip(".")
