"""/proc/kallsyms: the kernel's symbols, those of its modules among them."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import NamedTuple, Self

from nettax.errors import MissingPrivilege
from nettax.kernel.files import StrPath, read_text

__all__ = ["Kallsyms", "Symbol"]


class Symbol(NamedTuple):
    """One line."""

    name: str
    kind: str
    """As nm(1) has it: t and T are code, others data."""
    module: str | None
    address: int
    """0 where this user may not see it."""

    @property
    def is_code(self) -> bool:
        """Whether it is code."""
        return self.kind in "tTwW"


class Kallsyms:
    """Symbols by name and by address."""

    def __init__(self, symbols: Iterable[Symbol]) -> None:
        """Keep them by name; several may have one."""
        self._by_name: dict[str, list[Symbol]] = {}
        for symbol in symbols:
            self._by_name.setdefault(symbol.name, []).append(symbol)

    @classmethod
    def read(cls, path: StrPath = "/proc/kallsyms") -> Self:
        """Read the running kernel's, or a file like it.

        :raises MissingPrivilege: it may not be read at all
        """
        try:
            return cls.parse(read_text(path))
        except PermissionError:
            raise MissingPrivilege(f"{path} cannot be read: run as root") from None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse lines `address kind name [module]`."""
        return cls(_symbols(text))

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def get(self, name: str) -> list[Symbol]:
        """All symbols of that name; none is an empty list."""
        return self._by_name.get(name, [])

    def names(self) -> Iterator[str]:
        """All names, in the file's order."""
        return iter(self._by_name)

    def code(self) -> Iterator[Symbol]:
        """All that is code."""
        return (s for found in self._by_name.values() for s in found if s.is_code)

    def variants(self, name: str) -> list[Symbol]:
        """What the compiler made of a function: `name.constprop.0`, `name.part.0` and the like."""
        return [s for found in self._suffixed.get(name, ()) for s in self._by_name[found]]

    @cached_property
    def _suffixed(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in self._by_name:
            stem, dot, _ = name.partition(".")
            if dot and stem:
                found.setdefault(stem, []).append(name)
        return found

    def name_at(self, address: int) -> str | None:
        """The symbol that an address is in; None where addresses are hidden."""
        addresses, names = self._sorted
        at = bisect.bisect_right(addresses, address) - 1
        return names[at] if at >= 0 and addresses[at] else None

    @cached_property
    def _sorted(self) -> tuple[list[int], list[str]]:
        code = sorted((s.address, s.name) for s in self.code())
        return [address for address, _ in code], [name for _, name in code]


def _symbols(text: str) -> Iterator[Symbol]:
    for line in text.splitlines():
        address, kind, name, *module = line.split()
        yield Symbol(name, kind, module[0].strip("[]") if module else None, int(address, 16))
