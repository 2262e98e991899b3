"""Turn the signals that end a program into an exception, so that its changes are undone."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class EndingSignals:
    """While entered, the first signal raises ``SystemExit(128 + signal)`` in the main thread.

    Later ones wait, lest they cut short the undoing that the first began. A signal that was
    ignored stays so, as nohup(1) wants. In other threads than the main one this does nothing:
    Python delivers signals to that thread alone.
    """

    def __init__(self) -> None:
        """Change nothing yet."""
        self._former: dict[signal.Signals, signal._HANDLER] = {}
        self._held = False
        self._waiting: int | None = None

    def __enter__(self) -> None:
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            for number in _ENDING:
                if (former := signal.getsignal(number)) is not signal.SIG_IGN:
                    self._former[number] = former
                    signal.signal(number, self._handle)

    def hold(self) -> None:
        """Let signals wait from now on, for the exit."""
        self._held = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Restore the former handlers, and raise for a signal that waited if nothing else does."""
        for number, former in self._former.items():
            signal.signal(number, former)
        if self._waiting is not None and error is None:
            raise SystemExit(128 + self._waiting)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._held:
            self._waiting = number
        else:
            self._held = True
            raise SystemExit(128 + number)


@contextmanager
def deferred() -> Iterator[Callable[[], None]]:
    """Let the signals that end a program wait while it forks a child, which must call the result.

    What a handler raises in one of fork's hooks (logging has one) Python drops, and the signal
    with it. In the child, they get the meaning that they have for any program.
    """
    former = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)

    def in_child() -> None:
        for number in _ENDING:
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, former)

    try:
        yield in_child
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
