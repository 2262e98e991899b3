"""Numbers for devices' names, where events tell only these."""

from __future__ import annotations

__all__ = ["Names"]


class Names:
    """Gives each name a number, from 1 on, in the order in which they are met."""

    def __init__(self, names: dict[int, str]) -> None:
        """`names`: where name by number is kept; those in it already keep theirs."""
        self._names = names
        self._numbers = {name: number for number, name in names.items()}

    def number(self, name: str) -> int:
        """Its number, a new one if need be."""
        found = self._numbers.get(name)
        if found is None:
            found = self._numbers[name] = len(self._numbers) + 1
            self._names[found] = name
        return found
