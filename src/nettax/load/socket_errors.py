"""What any process's sending and receiving failed with, as the kernel saw it; no log is needed."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from nettax.errors import MissingFeature
from nettax.kernel import bpf, programs, vmlinux
from nettax.kernel.features import require_host_pids

__all__ = ["SocketErrors"]

OPERATIONS = ("send", "receive")  # enum operation of bpf/errors.bpf.c
_KEY = struct.Struct("=IHH")
_TRACEPOINT = "sock_send_length"


class SocketErrors:
    """Counts while it is entered: two small programs, run once a send and once a receive."""

    def __init__(self) -> None:
        """Load them.

        :raises MissingFeature: no BTF, no libbpf, or a kernel before 6.3.
        :raises MissingPrivilege: CAP_BPF or CAP_PERFMON is lacking.
        :raises Unsupported: this process's PIDs are not the kernel's (a PID namespace).
        """
        require_host_pids()
        if vmlinux.tracepoint_arguments(_TRACEPOINT) is None:
            raise MissingFeature(
                f"the kernel has no tracepoint sock:{_TRACEPOINT}: it came in 6.3."
            )
        self._object, _ = programs.by_either("errors", _loaded)
        self._failures = self._object.map("failures")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Take the programs out again."""
        self._object.close()

    def read(self, pids: Iterable[int]) -> Mapping[tuple[str, str], int]:
        """Return what these processes met since the start, by (operation, name of the errno)."""
        wanted = set(pids)
        found: dict[tuple[str, str], int] = {}
        for raw, value in self._failures.items():
            pid, operation, number = _KEY.unpack(raw)
            if pid in wanted:
                key = OPERATIONS[operation], errno.errorcode.get(number, str(number))
                found[key] = found.get(key, 0) + int.from_bytes(value, "little")
        return found


def _loaded(path: Path) -> bpf.Object:
    loaded = bpf.Object(str(path), wanted=lambda tracepoint: True)
    try:
        loaded.attach(list(loaded.programs.values()))
    except BaseException:
        loaded.close()
        raise
    return loaded
