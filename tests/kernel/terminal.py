"""A real terminal for the tests: tmux, with a server of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["Terminal", "terminal"]

LIMIT_S = 15.0


class Terminal:
    """One pane, in which a command runs; its exit code is on the screen when it has ended."""

    def __init__(self, socket: str) -> None:
        self._socket = socket

    def tmux(self, *words: str) -> str:
        return subprocess.run(
            ["tmux", "-L", self._socket, "-f", "/dev/null", *words],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout

    def screen(self) -> list[str]:
        """What is on the terminal now."""
        return self.tmux("capture-pane", "-p").splitlines()

    def keys(self, *names: str) -> None:
        """Press keys, by tmux's names."""
        self.tmux("send-keys", *names)

    def resize(self, width: int, height: int) -> None:
        self.tmux("resize-window", "-x", str(width), "-y", str(height))

    def pid(self) -> int:
        """Of the shell in the pane."""
        return int(self.tmux("display-message", "-p", "#{pane_pid}"))

    def wait(self, *words: str, gone: bool = False) -> list[str]:
        """Until all of these are on the screen (or none of them): what is there then."""
        deadline = time.monotonic() + LIMIT_S
        while True:
            lines = self.screen()
            text = "\n".join(lines)
            if not any(w in text for w in words) if gone else all(w in text for w in words):
                return lines
            assert time.monotonic() < deadline, f"{words} (gone: {gone}) not within 15 s:\n{text}"
            time.sleep(0.02)


@contextmanager
def terminal(
    arguments: Sequence[str], width: int = 80, height: int = 24, setting: str = ""
) -> Iterator[Terminal]:
    """`nettax top` with these arguments, in a terminal of this size; `setting`: NAME=VALUE."""
    if shutil.which("tmux") is None:
        pytest.skip("needs tmux")
    socket = f"nettax-{uuid.uuid4().hex[:8]}"
    made = Terminal(socket)
    python = f"{sys.executable} -m nettax top {' '.join(arguments)}"
    # A shell around it, as users have: with job control, and its status after; enter is `fg`.
    script = f'set -m; {python}; echo "status $?"; read; fg; echo "status $?"; cat'
    command = f"exec env -u NO_COLOR {setting} bash -c '{script}'"
    try:
        made.tmux(
            "new-session", "-d", "-x", str(width), "-y", str(height), "-c", str(Path.cwd()), command
        )
        yield made
    finally:
        subprocess.run(
            ["tmux", "-L", socket, "kill-server"], capture_output=True, timeout=30, check=False
        )
