"""From a terminal, a command in a guest has one too: its size, its keys, its signals."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytestmark = [pytest.mark.full, pytest.mark.timeout(400)]
RUN = [sys.executable, "-m", "nettax", "lab", "vm", "run", "--"]
LIMIT_S = 150.0  # for a boot or an answer, on a busy host


class Session:
    """nettax on a terminal of ours, whose other end is here."""

    def __init__(self, ours: int, theirs: int, *command: str) -> None:
        self._ours, self._theirs = ours, theirs
        self.said = b""
        self.child = subprocess.Popen(
            [*RUN, *command], stdin=theirs, stdout=theirs, stderr=theirs, process_group=0
        )

    def resize(self, rows: int, columns: int) -> None:
        """The window changes; as a terminal's own process group, nettax is told."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
        self.child.send_signal(28)  # SIGWINCH: it is in no session of this terminal

    def keys(self, text: bytes) -> None:
        os.write(self._ours, text)

    def until(self, pattern: bytes) -> None:
        """Read until it has been said, after what was looked for before."""
        deadline = time.monotonic() + LIMIT_S
        while not (found := re.search(pattern, self.said)):
            left = deadline - time.monotonic()
            assert left > 0 and self.child.poll() is None, self.said.decode()
            if select.select([self._ours], [], [], min(left, 0.2))[0]:
                self.said += os.read(self._ours, 1 << 16)
        self.said = self.said[found.end() :]

    def is_raw(self) -> bool:
        return not termios.tcgetattr(self._theirs)[3] & termios.ICANON


@contextmanager
def session(*command: str) -> Iterator[Session]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("4H", 33, 101, 0, 0))
    started = Session(ours, theirs, *command)
    try:
        yield started
    finally:
        started.child.kill()
        started.child.wait()
        os.close(ours)
        os.close(theirs)


def test_a_shell_on_a_terminal() -> None:
    with session("bash", "--norc", "--noprofile") as shell:
        shell.until(rb"bash-[\d.]+# ")
        assert shell.is_raw()
        shell.keys(b"stty size; tty; test -t 2 && echo all of them\r")
        shell.until(rb"33 101\r\n/dev/pts/\d+\r\nall of them\r\n")
        shell.keys(b"sleep 300; echo went $?\r")
        shell.until(rb"went \$\?\r\n")  # the echo of what was typed
        shell.keys(b"\x03")
        shell.until(rb"went 130\r\n|\^C(?s:.)*# ")
        shell.keys(b"trap 'stty size' WINCH\r")
        shell.until(rb"# $")
        shell.resize(40, 90)
        shell.until(rb"40 90\r\n")
        shell.keys(b"exit 7\r")
        assert shell.child.wait(LIMIT_S) == 7
        assert not shell.is_raw(), "the terminal is as it was"


def test_a_command_that_a_signal_ends() -> None:
    with session("sh", "-c", "echo up; kill -9 $$") as command:
        assert command.child.wait(LIMIT_S) == 128 + 9


def test_pipes_have_no_terminal() -> None:
    """Only if input and output both are one: else what is piped would be echoed."""
    run = subprocess.run([*RUN, "sh", "-c", "tty; cat"], input=b"in\n", capture_output=True)
    assert (run.returncode, run.stdout) == (0, b"not a tty\nin\n")
