"""How often a guest ran each piece of its code: a plugin of QEMU's, and what it counted.

The guest takes no part and no notice: the same instructions are executed in it. Layouts are those
of native/qemu/count.h.
"""

from __future__ import annotations

import mmap
import os
import struct
from itertools import zip_longest
from operator import sub
from pathlib import Path
from typing import NamedTuple, Self

from nettax import native
from nettax.errors import NettaxError

__all__ = ["Block", "Blocks"]

PHASES = 8
_MOST = 1 << 20  # blocks
_HEAD = struct.Struct("=4Q")
_BLOCK = struct.Struct(f"={2 + PHASES}Q")
_NEVER = (0,) * (2 + PHASES)
_PLUGIN = Path(native.PATH).with_name("qemu") / "count.so"


class Block(NamedTuple):
    """Instructions in a row, up to a jump."""

    address: int
    """Virtual, of the first one."""
    instructions: int
    times: tuple[int, ...]
    """How often they were executed, in each phase that has ended; 0 is what belongs to none."""


class Blocks:
    """What one guest executes; shared with QEMU, in memory."""

    def __init__(self) -> None:
        """Count nothing yet."""
        self._fd = os.memfd_create("blocks")
        self._read: list[tuple[int, ...]] = []
        os.ftruncate(self._fd, _HEAD.size + _MOST * (_BLOCK.size + 16))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def fileno(self) -> int:
        """What QEMU is to inherit."""
        return self._fd

    def plugin(self) -> tuple[str, ...]:
        """Words for QEMU's command line."""
        return ("-plugin", f"{os.fspath(_PLUGIN).replace(',', ',,')},fd={self._fd}")

    def read(self) -> list[Block]:
        """The blocks that were executed in a phase above 0 since this was last read.

        Some come several times.

        :raises NettaxError: QEMU did not load the plugin, or there were more blocks than it has
            room for.
        """
        with mmap.mmap(self._fd, 0, prot=mmap.PROT_READ) as memory:
            used, _, full, _ = _HEAD.unpack_from(memory)
            if not used:
                raise NettaxError(f"QEMU counted nothing: {_PLUGIN} is its plugin to count by.")
            if full:
                raise NettaxError("the guest ran more code than there is room to count it in.")
            end = _HEAD.size + used * _BLOCK.size
            now = list(_BLOCK.iter_unpack(memory[_HEAD.size : end]))
        found = []
        for (address, size, *times), (_, _, *before) in zip_longest(
            now, self._read, fillvalue=_NEVER
        ):
            since = tuple(map(sub, times, before))
            if any(since[1:]):
                found.append(Block(address, size, since))
        self._read = now
        return found
