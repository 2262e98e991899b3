"""A network device of another namespace, through that namespace's own sysfs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from nettax.host import namespace

_PAGE = 4096  # bytes; no attribute is longer


class Device:
    """The directory /sys/class/net/NAME of a namespace, open while entered.

    Reading a counter wakes nobody.
    """

    def __init__(self, netns: str, name: str) -> None:
        """Open nothing yet."""
        self._netns = netns
        self._name = name

    def __enter__(self) -> Self:
        """Open the directory; a sysfs of that namespace stays mounted, out of sight, with it."""
        with namespace.sysfs(self._netns) as root:
            self._directory = os.open(
                f"class/net/{self._name}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root
            )
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        os.close(self._directory)

    def read(self, attribute: str) -> str:
        """Return an attribute without its newline."""
        with self._opened(attribute, os.O_RDONLY) as fd:
            return os.read(fd, _PAGE).decode().strip()

    def write(self, attribute: str, value: str) -> None:
        """Set an attribute; the kernel forgets it with the namespace."""
        with self._opened(attribute, os.O_WRONLY) as fd:
            os.write(fd, value.encode())

    @contextmanager
    def _opened(self, attribute: str, flags: int) -> Iterator[int]:
        fd = os.open(attribute, flags | os.O_CLOEXEC, dir_fd=self._directory)
        try:
            yield fd
        finally:
            os.close(fd)
