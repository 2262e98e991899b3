"""Reading the small text files and directories of /proc and /sys.

Through `os.read`, not `pathlib`: a reading of every process opens a thousand of them, and
`Path.read_text` takes five times as long.
"""

from __future__ import annotations

import os

__all__ = ["StrPath", "list_names", "read_text", "read_word"]

StrPath = str | os.PathLike[str]

_CHUNK_BYTES = 1 << 16


def read_text(path: StrPath) -> str:
    """Return the whole file.

    Bytes that are not UTF-8 (a task may name itself anything) come back as ``\\xNN``, so that
    what was read can always be printed.

    :raises OSError: as open(2) and read(2) give it; a task that ends in between gives ESRCH.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = []
        while chunk := os.read(descriptor, _CHUNK_BYTES):
            chunks.append(chunk)
    finally:
        os.close(descriptor)
    return b"".join(chunks).decode(errors="backslashreplace")


def list_names(directory: StrPath) -> list[str]:
    """Return the names in a directory, in the kernel's order.

    :raises OSError: as open(2) and getdents(2) give it.
    """
    with os.scandir(directory) as entries:
        return [entry.name for entry in entries]


def read_word(path: StrPath) -> str | None:
    """Return the file without surrounding blanks, or None where this host does not have it.

    An attribute that the kernel lists and refuses (xps_cpus of a device with one queue gives
    ENOENT, speed of a link that is down EINVAL) is one that the host does not have.
    """
    try:
        return read_text(path).strip()
    except OSError:
        return None
