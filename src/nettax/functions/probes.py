"""BPF programs on the kernel's functions: by fentry and fexit, or by kprobe and kretprobe.

fentry and fexit are called by BPF's trampoline: they cost least, and miss no call however many
are under way. They need the function in BTF. kprobes take what is not there, a module built
without BTF say; but the kernel follows only so many calls of one function at a time
(kernel/kprobes.c, maxactive: ten, or twice the CPUs), and the return of one more is not seen.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from nettax.errors import MissingFeature, NettaxError
from nettax.functions.backends import forbidden, kprobe_refusal, refused, unknown
from nettax.functions.kprobe_events import KprobeEvents, may_be_written
from nettax.host import Host
from nettax.kernel import bpf
from nettax.kernel.kallsyms import Kallsyms
from nettax.kernel.tracefs import tracefs_mount

__all__ = ["PROGRAMS", "Probes"]

_KPROBE, _FENTRY = ("function_entry", "function_return"), ("traced_entry", "traced_return")
PROGRAMS = (*_KPROBE, *_FENTRY)
_SHARED = ("slots", "names", "calls")
_LIBBPFS = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
"""Where libbpf looks for events."""
_WORDS = {"fentry": "fentry and fexit", "kprobe": "kprobe and kretprobe"}


class Probes:
    """Programs on functions that count into the maps of another object, which it does not own."""

    def __init__(
        self,
        path: Path,
        counting: bpf.Object,
        constants: Mapping[str, int],
        backend: str | None,
        host: Host | None,
    ) -> None:
        """Attach nothing yet.

        `path` and `constants` are those of `counting`, whose maps are used; `backend` is `fentry`
        or `kprobe`, None: what works, for each function. `host` is what tracefs is changed by;
        None: it is not.
        """
        self._path = path
        self._constants = constants
        self._shared = {name: counting.map(name).fd for name in _SHARED}
        self._backend = backend
        self._kprobes: bpf.Object | None = None
        self._host = host if may_be_written() and tracefs_mount() in _LIBBPFS else None
        self._events: KprobeEvents | None = None
        self._undo = ExitStack()
        self.objects: list[bpf.Object] = []
        self.taken: dict[str, str] = {}
        """By which backend each function is taken."""

    def attach(self, number: int, function: str) -> None:
        """Take the times of a function, of this number from 0.

        :raises MissingFeature: the kernel refuses
        """
        refusal = None
        if self._backend != "kprobe":
            refusal = self._fentry(number, function)
            if refusal and self._backend == "fentry":
                raise MissingFeature(
                    f"cannot take {function} by fentry: {refusal}.\n"
                    "Without --backend nettax takes what works"
                )
        if refusal is None and self._backend != "kprobe":
            self.taken[function] = "fentry"
        elif why := kprobe_refusal():
            if function not in Kallsyms.read():
                raise unknown(function)
            raise refused(function, f"{why}; nor by fentry: {refusal}" if refusal else why)
        else:
            self._kprobe(number, function)
            self.taken[function] = "kprobe"

    def _load(
        self, wanted: tuple[str, ...], number: int = 0, function: str | None = None
    ) -> bpf.Object:
        loaded = bpf.Object(
            str(self._path),
            wanted=lambda section: section in wanted,
            constants={**self._constants, "traced_number": number},
            shared=self._shared,
            targets=dict.fromkeys(wanted, function) if function else None,
        )
        self.objects.append(loaded)
        return loaded

    def _fentry(self, number: int, function: str) -> str | None:
        """Why it cannot be had so; None: it is."""
        try:
            loaded = self._load(_FENTRY, number, function)
        except NettaxError:  # not for want of a capability: the object that counts was loaded
            return "the kernel refuses such a program"
        except OSError as error:
            if error.errno == errno.ESRCH:
                return "BTF has no such function"
            return os.strerror(error.errno or 0)
        try:
            # The return first: an entry whose return is not attached yet would never end.
            loaded.attach([loaded.programs[name] for name in reversed(_FENTRY)])
        except OSError as error:
            self.objects.remove(loaded)
            loaded.close()
            return f"the kernel refuses to attach it ({os.strerror(error.errno or 0)})"
        return None

    def _kprobe(self, number: int, function: str) -> None:
        self._kprobes = self._kprobes or self._load(_KPROBE)
        entry, back = (self._kprobes.programs[name] for name in _KPROBE)
        try:
            if self._host:
                self._return_event(self._host, self._kprobes, number, function)
            else:
                self._kprobes.attach_kprobe(back, function, True, cookie=number)
            self._kprobes.attach_kprobe(entry, function, False, cookie=number)
        except OSError as error:
            if error.errno == errno.ENOENT:
                raise unknown(function) from None
            raise forbidden(function, error) from None

    def _return_event(self, host: Host, kprobes: bpf.Object, number: int, function: str) -> None:
        if not self._events:
            self._undo.enter_context(host.temporarily())
            self._events = KprobeEvents(host)
        name = self._events.name("return", number)
        self._events.define(name, function, returns=True)
        back = kprobes.programs["function_return"]
        kprobes.attach_event(back, self._events.group, name, cookie=number)

    def missed(self) -> int:
        """Hits of probes that the kernel skipped, as far as it tells."""
        by_link = sum(each.missed_probes() for each in self.objects)
        return by_link + (self._events.missed() if self._events else 0)

    def words(self) -> Iterator[str]:
        """How functions are taken: all the same way, or each with its own."""
        ways = set(self.taken.values())
        for way in _WORDS:
            names = ", ".join(name for name, taken in self.taken.items() if taken == way)
            if way in ways:
                yield f"{_WORDS[way]} by BPF" + (f" ({names})" if len(ways) > 1 else "")

    def close(self) -> None:
        """Detach and unload; leave tracefs as it was. May be called twice."""
        for loaded in self.objects:
            loaded.close()
        self._undo.close()  # an event in use would stay
