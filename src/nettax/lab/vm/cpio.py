"""Write a cpio archive of the kind "newc", which is what an initramfs is made of.

The format: Documentation/driver-api/early-userspace/buffer-format.rst in the kernel's tree.
"""

from __future__ import annotations

import stat
from pathlib import PurePosixPath
from typing import BinaryIO

__all__ = ["Archive"]


class Archive:
    """An archive that is being written; what belongs to root, and is dated 1970.

    Directories on the way to an entry are made as needed. The same entries give the same bytes.
    """

    def __init__(self, out: BinaryIO) -> None:
        """Write to ``out``, whose position is the archive's beginning."""
        self._out = out
        self._inode = 0
        self._directories: set[PurePosixPath] = set()

    def directory(self, path: str) -> None:
        """Add a directory, if it is not there yet."""
        self._parents(PurePosixPath(path) / "entry")

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Add a regular file."""
        self._add(path, stat.S_IFREG | mode, data)

    def symlink(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self._add(path, stat.S_IFLNK | 0o777, target.encode())

    def character_device(self, path: str, major: int, minor: int) -> None:
        """Add a device that root may read and write."""
        self._add(path, stat.S_IFCHR | 0o600, device=(major, minor))

    def close(self) -> None:
        """Write the end's mark; ``out`` stays open."""
        self._write("TRAILER!!!", 0)

    def _add(
        self, path: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)
    ) -> None:
        name = PurePosixPath(path)
        self._parents(name)
        self._write(str(name), mode, data, device)

    def _parents(self, name: PurePosixPath) -> None:
        for parent in reversed(name.parents[:-1]):  # the last is "."
            if parent not in self._directories:
                self._directories.add(parent)
                self._write(str(parent), stat.S_IFDIR | 0o755)

    def _write(
        self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)
    ) -> None:
        self._inode += 1
        encoded = name.encode() + b"\0"
        user = group = modified = check = 0
        links, home = 1, (0, 0)
        fields = (
            *(self._inode, mode, user, group, links, modified, len(data)),
            *(*home, *device, len(encoded), check),
        )
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        self._out.write(_padded(header + encoded) + _padded(data))


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
