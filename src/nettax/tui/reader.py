"""The ledger, read again and again; loaded meanwhile in a thread of its own."""

from __future__ import annotations

import threading

from nettax.ledger import Interval, Ledger

__all__ = ["Loading", "Reader"]


class Reader:
    """Intervals without holes between them."""

    def __init__(self, ledger: Ledger) -> None:
        """`ledger` is running."""
        self._ledger = ledger
        self._last = ledger.began

    def read(self) -> Interval:
        """From the last reading to now."""
        reading = self._ledger.read()
        interval, self._last = reading - self._last, reading
        return interval

    def reap(self) -> None:
        """Make room for new tasks; between readings more than a second apart."""
        self._ledger.reap()

    @property
    def last_ns(self) -> int:
        """CLOCK_MONOTONIC of the last reading."""
        return self._last.time_ns


class Loading:
    """A ledger on its way: the kernel verifies its programs while this process does other things.

    What went wrong is raised where the result is asked for.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._load, name="nettax-load")
        self._thread.start()

    def _load(self) -> None:
        try:
            self._ledger.__enter__()
        except BaseException as error:
            self._error = error

    def result(self) -> Ledger:
        """The ledger, running; to be closed by whoever asked.

        :raises NettaxError: as entering it does
        """
        self._thread.join()
        if self._error:
            raise self._error
        return self._ledger

    def close(self) -> None:
        """Unload it, whether it was asked for or not."""
        self._thread.join()
        self._ledger.close()
