"""A command that a verb wraps, and what ends the measuring."""

from __future__ import annotations

import os
import select
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import Self

__all__ = ["End", "Gated"]


class Gated:
    """A command that is there, with its pid, but starts only when told to."""

    def __init__(self, words: tuple[str, ...]) -> None:
        # The pid must be known before the command runs, so that its first event is counted.
        gate, self._gate = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._gate)
                _restore_signals()
                if os.read(gate, 1):  # else nettax ended before it could count
                    os.execvp(words[0], words)  # noqa: S606
            except OSError as error:
                sys.stderr.write(f"nettax: cannot run {words[0]}: {error.strerror}\n")
                sys.stderr.flush()
                os._exit(127 if isinstance(error, FileNotFoundError) else 126)
            finally:
                os._exit(1)
        os.close(gate)
        self.pidfd = os.pidfd_open(self.pid)

    def go(self) -> None:
        with suppress(BrokenPipeError):  # a signal ended it before it began
            os.write(self._gate, b".")

    def terminate(self) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGTERM)

    def finish(self) -> int:
        """Wait for the command's end; its exit code as a shell gives it."""
        os.close(self._gate)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return code if code >= 0 else 128 - code


def _restore_signals() -> None:
    """Give signals back the meaning that they have for a command, and that Python took away."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGTERM):
        if callable(signal.getsignal(number)):  # ignored ones stay so, as nohup(1) wants
            signal.signal(number, signal.SIG_DFL)


class End:
    """What ends the counting, not the program: Ctrl-C, SIGTERM, or the end of the command.

    SIGTERM is passed on to the command. Ctrl-C is not: the terminal sends it to both.
    """

    def __init__(self, command: Gated | None) -> None:
        self._command = command
        # A handler alone would not cut short a wait, which Python resumes (PEP 475).
        self._woken, self._wake = os.pipe()
        self._watched = [self._woken, *([command.pidfd] if command else [])]
        self._former: dict[signal.Signals, signal._HANDLER] = {}

    def within(self, seconds: float) -> bool:
        """Whether the end has come, or does so within this time."""
        return bool(select.select(self._watched, [], [], max(seconds, 0))[0])

    def _note(self, number: int, frame: FrameType | None) -> None:
        os.write(self._wake, b".")
        if number == signal.SIGTERM and self._command:
            self._command.terminate()

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, former in self._former.items():
            signal.signal(number, former)
