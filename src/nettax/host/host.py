"""The host, as something that can be changed for a while."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from nettax.errors import MissingPrivilege, NettaxError, UsageError
from nettax.host import cgroups, links, namespace
from nettax.host.changes import (
    Cgroup,
    Change,
    Child,
    FileValue,
    Link,
    Namespace,
    TraceEvent,
    TraceFilter,
    TraceInstance,
    TraceTrigger,
    append,
)
from nettax.host.journal import Journal, decode, exclusive, journals
from nettax.host.privilege import require
from nettax.host.process import Process, place
from nettax.host.recovery import NOTHING, Undone, recover, undo
from nettax.host.signals import EndingSignals

if TYPE_CHECKING:  # slow to import, and most commands start no process
    from subprocess import Popen

_REFUSED_VALUE = {errno.EINVAL, errno.EOVERFLOW, errno.ERANGE, errno.E2BIG, errno.ENODEV}
_serials = itertools.count()


class Host:
    """Every change to the host goes through here, and none outlives the ``with`` block.

    A change is journalled before it is made. It is undone, the latest first, when the block ends,
    however it does: by an exception, or by SIGINT, SIGTERM or SIGHUP, which become
    ``SystemExit(128 + signal)``. After a kill -9 the next Host undoes it, or
    :func:`nettax.host.recover`. For use by one thread.

    :raises NettaxError: on leaving, when something could not be undone. If an exception is on its
        way already, that one gets a note for each problem instead.
    """

    def __init__(self) -> None:
        """Change nothing yet."""
        self.recovered: Undone = NOTHING
        """What entering undid for owners that are dead."""
        self._pid = os.getpid()
        self._numbers = itertools.count()
        self._signals = EndingSignals()
        self._children: dict[Popen[bytes], int] = {}  # with the numbers of their changes

    def __enter__(self) -> Host:
        """Clear up after the dead, and begin a journal."""
        self.recovered = recover()
        self._journal = Journal.create()
        self._signals.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Undo everything."""
        if os.getpid() != self._pid:  # a fork of the owner
            return
        self._signals.hold()
        try:
            undone = self._undo(after=-1)
            self._journal.close()
            _tell(undone, error)
        finally:
            self._signals.__exit__(kind, error, traceback)

    @contextmanager
    def temporarily(self) -> Iterator[None]:
        """Undo what is changed inside when the inner block ends, and leave the rest.

        :raises NettaxError: as leaving the Host does.
        """
        mark = next(self._numbers)
        error: BaseException | None = None
        try:
            yield
        except BaseException as caught:
            error = caught
            raise
        finally:
            _tell(self._undo(after=mark), error)

    def namespace(self, label: str) -> str:
        """Make a network namespace and return its name, ``nettax-PID-SERIAL-LABEL``.

        It holds only loopback, which is down. ``ip netns`` shows it.

        :raises UsageError: the label cannot be part of a file name.
        :raises MissingPrivilege: CAP_SYS_ADMIN is lacking.
        """
        name = self._unique(label)
        namespace.path_of(name)
        require("CAP_SYS_ADMIN", "make a network namespace")
        with self._change(Namespace(name)):
            namespace.create(name)
        return name

    def veth(self, name: str, netns: str, peer: str, peer_netns: str, *, queues: int = 1) -> None:
        """Join two namespaces by a veth pair: ``name`` in ``netns``, ``peer`` in ``peer_netns``.

        Both ends are down and have ``queues`` receive and as many transmit queues.

        :raises UsageError: a name is no device's, is taken, or ``queues`` is below one.
        :raises MissingPrivilege: CAP_NET_ADMIN is lacking.
        """
        require("CAP_NET_ADMIN", "make a veth pair")
        if queues < 1:
            raise UsageError(f"a device cannot have {queues} queues: give it one or more.")
        for device, where in ((name, netns), (peer, peer_netns)):
            if links.exists(links.checked(device), where):
                raise UsageError(f"there is a device {device} in {where} already.")
        with self._change(Link(name, netns)):
            links.create_veth(name, netns, peer, peer_netns, queues)

    def write(self, path: Path, value: str) -> None:
        """Write a value to a file of the kernel's, under /proc or /sys, until the end.

        :raises UsageError: there is no such file, or the kernel finds the value senseless.
        :raises MissingPrivilege: the caller may not write it.
        :raises NettaxError: the kernel refused otherwise, or another nettax has changed the file.
        """
        path = path.resolve()
        if not value:
            raise UsageError(f"cannot write nothing to {path}: the kernel would not notice.")
        with _explained(path, value):
            before = path.read_text()
            with exclusive():
                _refuse_contested(path)
                number = self._record(FileValue(str(path), before))
            try:
                path.write_text(value)
            except OSError:
                self._journal.write(number, None)
                raise
            self._journal.write(number, FileValue(str(path), before, path.read_text()))

    def trace_filter(self, path: Path, functions: Sequence[str]) -> None:
        """Write names into a list of tracefs that is empty, until the end.

        :raises UsageError: the kernel knows no such function there.
        :raises MissingPrivilege: the caller may not write it.
        """
        text = "\n".join(functions)
        number = self._record(TraceFilter(str(path)))
        try:
            with _explained(path, text):
                path.write_text(text + "\n")
        except NettaxError:
            TraceFilter(str(path)).undo()
            self._journal.write(number, None)
            raise

    def trace_event(self, path: Path, definition: str, removal: str) -> None:
        """Define an event in tracefs' kprobe_events or synthetic_events, until the end.

        `removal` is the line that takes it away again.

        :raises OSError: the kernel refuses it: ENOENT if it knows no such function, say.
        """
        self._append(path, definition, TraceEvent(str(path), definition, removal))

    def trace_trigger(self, event: Path, trigger: str) -> None:
        """Give an event, by its directory in tracefs, a trigger, until the end.

        :raises OSError: the kernel refuses it.
        """
        path = event / "trigger"
        self._append(path, trigger, TraceTrigger(str(path), trigger))

    def _append(self, path: Path, line: str, change: Change) -> None:
        number = self._record(change)
        try:
            append(str(path), line)
        except OSError:
            self._journal.write(number, None)
            raise

    def trace_instance(self, tracefs: Path, label: str) -> Path:
        """Make a trace buffer of our own and return its directory.

        :raises NettaxError: the kernel refuses.
        """
        path = tracefs / "instances" / self._unique(label)
        with self._change(TraceInstance(str(path))):
            path.mkdir()
        return path

    def cgroup(self, label: str, controller: str | None = None) -> Path:
        """Make a cgroup and return its directory.

        It is one of version 2, unless only version 1 has the ``controller`` (``cpu``, say).

        :raises UsageError: the label cannot be part of a file name.
        :raises MissingFeature: no cgroup file system has the controller.
        :raises MissingPrivilege: the caller may not make cgroups.
        """
        name = self._unique(label)
        namespace.path_of(name)
        path = cgroups.hierarchy(controller) / name
        with self._change(Cgroup(str(path))):
            try:
                path.mkdir()
            except PermissionError:
                raise MissingPrivilege(
                    f"cannot make the cgroup {path}: this needs root, or a cgroup delegated to you."
                ) from None
        return path

    def spawn(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        cpus: Iterable[int] | None = None,
        netns: str | None = None,
        cgroup: Path | None = None,
        **popen_options: Any,
    ) -> Popen[bytes]:
        """Start a child as :func:`nettax.host.spawn` does, and end it with the rest.

        The journal knows it too, which covers the programs that outlive their parent.
        """
        number = next(self._numbers)

        def announce() -> None:
            self._journal.write(number, Child(*Process.current()))

        child = place(argv, announce, cpus=cpus, netns=netns, cgroup=cgroup, **popen_options)
        self._children[child] = number
        return child

    def stop(self, child: Popen[bytes]) -> None:
        """End a child of :meth:`spawn` now, with SIGTERM or, a second later, SIGKILL; reap it.

        :raises TimeoutError: it outlived SIGKILL.
        """
        number = self._children.pop(child, -1)  # not there: it has ended and is reaped
        if change := self._journal.read().pending.get(number):
            change.undo()
            self._journal.write(number, None)
        child.wait()

    @contextmanager
    def _change(self, change: Change) -> Iterator[None]:
        """Journal a change that the block makes, and explain what the kernel answers."""
        number = self._record(change)
        try:
            yield
        except OSError as error:
            if isinstance(error, FileExistsError):  # somebody else's: not to be undone
                self._journal.write(number, None)
            raise NettaxError(f"cannot make {change}: {error.strerror}.") from error

    def _record(self, change: Change) -> int:
        number = next(self._numbers)
        self._journal.write(number, change)
        return number

    def _unique(self, label: str) -> str:
        return f"nettax-{self._pid}-{next(_serials)}-{label}"

    def _undo(self, after: int) -> Undone:
        undone = undo(self._journal, after)
        self._reap()
        return undone

    def _reap(self) -> None:
        """Collect the children that have ended."""
        self._children = {
            child: number for child, number in self._children.items() if child.poll() is None
        }


@contextmanager
def _explained(path: Path, value: str) -> Iterator[None]:
    """Say what the kernel's answer to a write of ``value`` means."""
    try:
        yield
    except FileNotFoundError:
        raise UsageError(f"cannot write {path}: there is no such file on this kernel.") from None
    except PermissionError:
        raise MissingPrivilege(
            f"cannot write {path}: this needs root (CAP_NET_ADMIN for /proc/sys/net).\n"
            'Run it as root: sudo env "PATH=$PATH" nettax …'
        ) from None
    except OSError as error:
        kind = UsageError if error.errno in _REFUSED_VALUE else NettaxError
        raise kind(f"the kernel refused {value!r} for {path}: {error.strerror}.") from error


def _refuse_contested(path: Path) -> None:
    """Raise if another owner has changed the file: which value came first could not be known."""
    own = Process.current()
    for journal, owner in journals():
        if owner == own:
            continue
        try:
            pending = decode(journal.read_bytes()).pending.values()
        except FileNotFoundError:
            continue
        if any(isinstance(change, FileValue) and change.path == str(path) for change in pending):
            raise NettaxError(
                f"{path} is changed by another nettax, process {owner.pid}: wait for its end, or "
                "run `nettax undo` if it is dead."
            )


def _tell(undone: Undone, error: BaseException | None) -> None:
    """Raise the problems of an undoing, or note them on the exception that is on its way."""
    if error is not None:
        for problem in undone.problems:
            error.add_note(problem)
    elif undone.problems:
        raise NettaxError("\n".join(undone.problems))
