"""A kernel's loadable modules: which there are, and what each needs.

modules.dep and modules.builtin are described in modules.dep(5) and
Documentation/kbuild/kbuild.rst.
"""

from __future__ import annotations

import gzip
import lzma
import re
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from nettax.errors import MissingFeature

__all__ = ["Function", "Modules", "content", "functions_of", "name_of", "needs_of", "parameters_of"]

_ELF = struct.Struct("<40xQ10xHHH")  # Elf64_Ehdr: e_shoff, e_shentsize, e_shnum, e_shstrndx
_SECTION = struct.Struct("<II16xQQI20x")  # Elf64_Shdr: name, type, offset, size, link
_SYMBOL = struct.Struct("<IBxHQ8x")  # Elf64_Sym: name, info, section, value
_SYMTAB, _FUNC = 2, 2


class Function(NamedTuple):
    """A function of a module that is not loaded."""

    section: str
    offset: int
    """Bytes from the section's beginning."""
    name: str


class Modules:
    """The modules below a directory lib/modules/RELEASE, which depmod has been through."""

    def __init__(self, directory: Path) -> None:
        """Read the lists.

        :raises MissingFeature: there are none.
        """
        self.directory = directory
        try:
            listed = (directory / "modules.dep").read_text()
            builtin = (directory / "modules.builtin").read_text()
        except OSError as error:
            raise MissingFeature(
                f"{error.filename} cannot be read ({error.strerror}): depmod makes it."
            ) from error
        self._needs: dict[str, list[str]] = {}
        self._path: dict[str, str] = {}
        for line in listed.splitlines():
            path, _, needed = line.partition(":")
            self._path[name_of(path)] = path
            self._needs[path] = needed.split()
        self.builtin = frozenset(name_of(path) for path in builtin.split())

    def in_order(self, names: Iterable[str]) -> list[Path]:
        """The files to load for these modules, each after those that it needs.

        What is built into the kernel has no file.

        :raises MissingFeature: this kernel has one of them neither built in nor as a module.
        """
        wanted: dict[str, None] = {}  # in order, and each once
        for name in map(name_of, names):
            if name in self._path:
                path = self._path[name]
                # What is needed stands nearest first, so what it needs itself comes after it.
                wanted.update(dict.fromkeys([*reversed(self._needs[path]), path]))
            elif name not in self.builtin:
                raise MissingFeature(
                    f"the kernel of {self.directory} has no {name}: boot one that has, "
                    "such as Debian's linux-image-amd64 (the cloud flavour lacks 9p)."
                )
        return [self.directory / path for path in wanted]


def name_of(path: str) -> str:
    """A module's name, as lsmod shows it, from its file's path or a name."""
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def content(path: Path) -> bytes:
    """A module's bytes, unpacked.

    :raises MissingFeature: what it is packed with cannot be unpacked.
    """
    packed = path.read_bytes()
    match path.suffix:
        case ".ko":
            return packed
        case ".xz":
            return lzma.decompress(packed)
        case ".gz":
            return gzip.decompress(packed)
    raise MissingFeature(f"{path} is packed in a way that nettax does not know: it unpacks xz, gz.")


def needs_of(module: bytes) -> list[str]:
    """The modules that one names as needed, in its section .modinfo: ``depends=a,b``."""
    _, found, rest = module.partition(b"\0depends=")
    return list(filter(None, rest.partition(b"\0")[0].decode().split(","))) if found else []


def parameters_of(module: bytes) -> list[str]:
    """The parameters that one takes, by its section .modinfo: ``parmtype=name:type``."""
    return [name.decode() for name in re.findall(rb"\0parmtype=(\w+):", module)]


def functions_of(module: bytes) -> list[Function]:
    """The functions in one, by its ELF symbol table (elf(5))."""
    start, size, number, names_at = _ELF.unpack_from(module)
    sections = [_SECTION.unpack_from(module, start + n * size) for n in range(number)]
    names = [_text(module, sections[names_at][2] + section[0]) for section in sections]
    found = []
    for _, kind, offset, length, link in sections:
        if kind != _SYMTAB:
            continue
        for name, info, where, value in _SYMBOL.iter_unpack(module[offset : offset + length]):
            if info & 0xF == _FUNC and 0 < where < number:
                text = _text(module, sections[link][2] + name)
                found.append(Function(names[where], value, text))
    return found


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode()
