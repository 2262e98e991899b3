"""What a server prints, kept in a file of which only the end stays on the disk."""

from __future__ import annotations

import ctypes
import os
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["ServerLog"]

KEPT_BYTES = 1 << 20
LOOK_S = 0.1
_BLOCK = 1 << 16
# FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE (include/uapi/linux/falloc.h)
_PUNCH = 1 | 2


class ServerLog:
    """A file for a server's output, while it is entered.

    What lies more than `kept_bytes` before its end is given back to the file system ten times a
    second: the server writes on as into any file, and no byte of it is copied. A file system that
    cannot punch holes keeps all.
    """

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept = kept_bytes
        self._gone = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_short, daemon=True)

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="nettax-")
        self.path = Path(self._directory.name) / "log"
        # O_APPEND: several processes of a server write behind one another.
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        os.close(self._fd)
        self._directory.cleanup()

    def fileno(self) -> int:
        """For `subprocess`: where the server writes."""
        return self._fd

    def last_words(self) -> str:
        """The last line, and how much before it was not kept."""
        size = os.fstat(self._fd).st_size
        said = os.pread(self._fd, 2000, max(0, size - 2000))
        lines = said.decode(errors="replace").strip().splitlines()
        if not lines:
            return "it printed nothing."
        return lines[-1] + (f" ({self._gone:,} bytes before were not kept)" if self._gone else "")

    def shorten(self) -> None:
        """Give back what is too far from the end, in whole blocks."""
        upto = (os.fstat(self._fd).st_size - self._kept) // _BLOCK * _BLOCK
        if upto > self._gone and _punch(self._fd, upto):
            self._gone = upto

    def _keep_short(self) -> None:
        while not self._ended.wait(LOOK_S):
            self.shorten()


def _punch(fd: int, upto: int) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.fallocate(fd, _PUNCH, ctypes.c_int64(0), ctypes.c_int64(upto)) == 0)
