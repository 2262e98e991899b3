"""The rate of `nettax load`: 500, 20k, 1.5M, and of datagrams 200kpps."""

from __future__ import annotations

import re
from dataclasses import dataclass

import click

from nettax.errors import UsageError

__all__ = ["RATE", "Rate"]

SIZES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}


@dataclass(frozen=True, slots=True)
class Rate:
    """So much a second."""

    value: int
    packets: bool
    """Datagrams, where it would be bits otherwise."""

    def of_stream(self, message_bytes: int | None) -> int:
        """In bits a second.

        :raises UsageError: it is in datagrams, whose size is not known.
        """
        if not self.packets:
            return self.value
        if message_bytes is None:
            raise UsageError("--rate in datagrams (pps) takes their size, too: add --bytes.")
        return self.value * 8 * message_bytes


class _RateType(click.ParamType[Rate]):
    name = "rate"

    def convert(
        self, value: str | Rate, param: click.Parameter | None, ctx: click.Context | None
    ) -> Rate:
        if isinstance(value, Rate):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([kMG]?)(pps)?", value)
        number = round(float(found[1]) * SIZES[found[2]]) if found else 0
        if not found or not 1 <= number <= 10**12:
            self.fail(f"{value!r} is no rate: give 500, 20k, 100M, or 200kpps", param, ctx)
        return Rate(number, bool(found[3]))


RATE = _RateType()
