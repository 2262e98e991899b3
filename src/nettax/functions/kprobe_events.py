"""kprobe events of tracefs on functions, of our own: defined, and taken away again."""

from __future__ import annotations

import errno
import itertools
import os

from nettax.errors import MissingFeature
from nettax.functions.backends import forbidden, unknown
from nettax.host import Host
from nettax.kernel.files import read_text
from nettax.kernel.tracefs import tracefs_mount

__all__ = ["AT_ONCE", "KprobeEvents", "may_be_written"]

AT_ONCE = 1024
"""Calls of a function under way whose returns are seen; of more they are missed, and counted."""
_serials = itertools.count()


class KprobeEvents:
    """Events that `host` takes away, whose group tells them from all others."""

    def __init__(self, host: Host) -> None:
        """Define nothing yet.

        :raises MissingFeature: tracefs is not mounted
        """
        self._host = host
        self._root = tracefs_mount()
        self.group = f"nettax_{os.getpid()}_{next(_serials)}"

    def name(self, what: str, number: int) -> str:
        """Of an event of a function; kprobe_profile tells events without their groups."""
        return f"{self.group}_{what}{number}"

    def define(self, name: str, function: str, fetched: str = "", *, returns: bool) -> None:
        """At a function's entry, or at its return, with arguments that are `fetched`.

        :raises MissingFeature: there is no such function, or it may not be probed
        """
        kind = f"r{AT_ONCE}" if returns else "p"
        definition = f"{kind}:{self.group}/{name} {function} {fetched}".rstrip()
        try:
            self._host.trace_event(
                self._root / "kprobe_events", definition, f"-:{self.group}/{name}"
            )
        except OSError as error:
            if error.errno == errno.ENOENT:
                raise unknown(function) from None
            raise forbidden(function, error) from None

    def missed(self) -> int:
        """Hits that the kernel skipped: kprobe_profile has event, hits, misses."""
        lines = map(str.split, read_text(self._root / "kprobe_profile").splitlines())
        return sum(int(missed) for event, _, missed in lines if event.startswith(self.group + "_"))


def may_be_written() -> bool:
    """Whether this user may change tracefs, and it is mounted."""
    try:
        return os.access(tracefs_mount() / "kprobe_events", os.W_OK)
    except MissingFeature:
        return False
