"""The kinds of change that the journal knows, each with all that its undoing needs.

An undo may be tried again after it was cut short, and may find that the change was never made or
is gone already: both are success.
"""

from __future__ import annotations

import errno
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias, get_args

from nettax.errors import NettaxError
from nettax.host import cgroups, links, namespace
from nettax.host.process import Process

_TERM_PATIENCE = 1.0  # seconds from SIGTERM to SIGKILL
_KILL_PATIENCE = 5.0  # seconds from SIGKILL to giving up


class ChangedSince(NettaxError):
    """Somebody else has changed the same thing since; it was left as it is."""


class Namespace(NamedTuple):
    """A named network namespace; what is in it goes with it."""

    name: str

    def undo(self) -> None:
        """Delete its name."""
        namespace.delete(self.name)

    def __str__(self) -> str:
        return f"network namespace {self.name}"


class Link(NamedTuple):
    """A network device, in the named namespace or in the host's own."""

    name: str
    netns: str | None

    def undo(self) -> None:
        """Delete it; a veth takes its peer along."""
        links.delete(self.name, self.netns)

    def __str__(self) -> str:
        return f"device {self.name} in {self.netns or 'the host'}"


class FileValue(NamedTuple):
    """A value written to a file of the kernel's.

    ``new`` is the value as the kernel gave it back, for it rewrites masks and numbers. It is None
    from before the write until after it, when whatever the file holds is ours.
    """

    path: str
    old: str
    new: str | None = None

    def undo(self) -> None:
        """Write the old value back.

        :raises ChangedSince: the file has neither the old value nor ours.
        """
        try:
            current = Path(self.path).read_text()
        except FileNotFoundError:  # the device or the cgroup is gone
            return
        if current == self.old:
            return
        if self.new is not None and current != self.new:
            raise ChangedSince(
                f"{self.path} was left at {current.strip()!r}: somebody changed it since nettax "
                f"did; it had been {self.old.strip()!r}."
            )
        Path(self.path).write_text(self.old or "\n")

    def __str__(self) -> str:
        return f"{self.path} from {self.old.strip()!r}"


class TraceFilter(NamedTuple):
    """A list of functions in a file of tracefs, which was empty: opening it anew empties it."""

    path: str

    def undo(self) -> None:
        """Empty it."""
        with suppress(FileNotFoundError):
            Path(self.path).write_text("")

    def __str__(self) -> str:
        return f"{self.path}, from nothing"


class TraceEvent(NamedTuple):
    """An event of our own: a line of tracefs' kprobe_events or synthetic_events."""

    path: str
    definition: str
    removal: str
    """The line that takes it away."""

    def undo(self) -> None:
        """Take it away."""
        try:
            append(self.path, self.removal)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EINVAL):  # there is no such event
                raise

    def __str__(self) -> str:
        return f"event {self.definition!r} of {self.path}"


class TraceInstance(NamedTuple):
    """A buffer of tracefs' of our own, with its own events and triggers."""

    path: str

    def undo(self) -> None:
        """Remove it; its triggers go with it."""
        with suppress(FileNotFoundError):
            Path(self.path).rmdir()

    def __str__(self) -> str:
        return f"trace instance {self.path}"


class TraceTrigger(NamedTuple):
    """A trigger of an event of tracefs'; one that keeps variables keeps its instance, too."""

    path: str
    trigger: str

    def undo(self) -> None:
        """Take it away."""
        try:
            append(self.path, f"!{self.trigger}")
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EINVAL):  # there is none
                raise

    def __str__(self) -> str:
        return f"trigger {self.trigger!r} of {self.path}"


class Cgroup(NamedTuple):
    """A cgroup, of either version."""

    path: str

    def undo(self) -> None:
        """Kill what is in it and remove it."""
        cgroups.remove(Path(self.path))

    def __str__(self) -> str:
        return f"cgroup {self.path}"


class Child(NamedTuple):
    """A process that was started, with the start time that tells it from a later one."""

    pid: int
    start_ns: int

    def undo(self) -> None:
        """Ask it to end with SIGTERM, then make it with SIGKILL; return when it has ended.

        :raises TimeoutError: it outlived SIGKILL.
        """
        with suppress(ProcessLookupError):
            # Opened before the start time is compared, so it is this process or none.
            handle = os.pidfd_open(self.pid)
            try:
                if Process(self.pid, self.start_ns).alive():
                    _end(handle, self.pid)
            finally:
                os.close(handle)

    def __str__(self) -> str:
        return f"process {self.pid}"


Change: TypeAlias = (
    Namespace
    | Link
    | FileValue
    | TraceFilter
    | TraceEvent
    | TraceInstance
    | TraceTrigger
    | Cgroup
    | Child
)
KINDS: dict[str, type[Change]] = {kind.__name__: kind for kind in get_args(Change)}


def append(path: str, line: str) -> None:
    """Write a line to a file of tracefs' that keeps what it has.

    :raises OSError: the kernel refuses it
    """
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)  # open() would seek: EINVAL
    try:
        os.write(fd, f"{line}\n".encode())
    finally:
        os.close(fd)


def _end(handle: int, pid: int) -> None:
    from select import POLLIN, poll

    ended = poll()
    ended.register(handle, POLLIN)
    for number, patience in ((signal.SIGTERM, _TERM_PATIENCE), (signal.SIGKILL, _KILL_PATIENCE)):
        signal.pidfd_send_signal(handle, number)
        if ended.poll(patience * 1000):
            return
    raise TimeoutError(errno.ETIMEDOUT, f"process {pid} outlived SIGKILL")
