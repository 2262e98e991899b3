"""The symbols of a module's file, loaded or not: ELF, as elf(5) has it, perhaps compressed."""

from __future__ import annotations

import gzip
import lzma
import struct
from collections.abc import Iterator
from pathlib import Path

__all__ = ["module_files", "symbols"]

_SYMTAB, _NOBITS, _FUNC, _OBJECT = 2, 8, 2, 1
_READERS = {".xz": lzma.decompress, ".gz": gzip.decompress}


def module_files(directory: Path) -> dict[str, Path]:
    """The modules of a kernel by name, from its modules.dep; of lib/modules/RELEASE."""
    try:
        lines = (directory / "modules.dep").read_text().splitlines()
    except OSError:
        return {}
    paths = (directory / line.partition(":")[0] for line in lines)
    return {path.name.partition(".ko")[0].replace("-", "_"): path for path in paths}


def symbols(path: Path) -> Iterator[tuple[str, bool]]:
    """The functions and variables that a module defines, each with whether it is a function.

    None of a file that is missing, compressed otherwise than by xz or gzip, or no ELF of 64 bits.
    """
    try:
        data = path.read_bytes()
    except OSError:
        return
    data = _READERS.get(path.suffix, bytes)(data)
    if data[:6] != b"\x7fELF\x02\x01":
        return
    start, count = struct.unpack_from("<Q", data, 0x28)[0], struct.unpack_from("<H", data, 0x3C)[0]
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, start + 64 * i) for i in range(count)]
    for _, kind, _, _, offset, size, link, *_ in sections:
        if kind != _SYMTAB:
            continue
        names = sections[link][4]
        for at in range(offset, offset + size, 24):
            name, info, _, section = struct.unpack_from("<IBBH", data, at)
            if section and info & 15 in (_FUNC, _OBJECT):
                begin = names + name
                yield data[begin : data.index(b"\0", begin)].decode(), info & 15 == _FUNC
