"""Errors that a server tells of in what it prints, by the words that strerror(3) has for them."""

from __future__ import annotations

import errno
import os
import re
from collections import Counter
from pathlib import Path

__all__ = ["MOST_AT_ONCE", "LogErrors"]

MOST_AT_ONCE = 32 << 20
"""Bytes of a log that are read for one sample; what a server prints beyond is passed over."""

# Those that sockets and descriptors give: words that stand for nothing else in a log.
_ERRNOS = (
    *(errno.EPIPE, errno.ECONNRESET, errno.ECONNABORTED, errno.ECONNREFUSED, errno.ETIMEDOUT),
    *(errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN, errno.EBADF),
    *(errno.ENOTCONN, errno.EADDRINUSE, errno.EHOSTUNREACH, errno.ENOTSOCK, errno.EFAULT),
)
_NAMES = {os.strerror(number): errno.errorcode[number] for number in _ERRNOS}
_WORDS = re.compile("|".join(map(re.escape, _NAMES)))


class LogErrors:
    """Counts in a file that grows: each reading goes on where the last one ended."""

    def __init__(self, path: Path) -> None:
        """Count in a file, which may not be there yet."""
        self._path = path
        self._at = 0
        self._rest = ""
        self.last = ""
        """Of what was printed last: the last line with an error that it knows, or the last line."""
        self._counts: Counter[str] = Counter()

    def read(self) -> dict[str, int]:
        """Return how often each errno's words were printed since the start."""
        try:
            with self._path.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                if size - self._at > MOST_AT_ONCE:
                    self._counts["bytes passed over"] += size - MOST_AT_ONCE - self._at
                    self._at, self._rest = size - MOST_AT_ONCE, ""
                log.seek(self._at)
                text = log.read(MOST_AT_ONCE)
        except OSError:
            return dict(self._counts)
        self._at += len(text)
        lines, newline, rest = (self._rest + text.decode(errors="replace")).rpartition("\n")
        self._rest = rest
        said = [line for line in f"{lines}{newline}{rest}".split("\n") if line.strip()]
        errors = [line for line in said if _WORDS.search(line)]
        self.last = (errors or said or [self.last])[-1][:200]
        if newline:
            self._counts.update(_NAMES[found] for found in _WORDS.findall(lines))
        return dict(self._counts)
