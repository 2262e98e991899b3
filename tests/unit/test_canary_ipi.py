"""Storms that cannot be."""

from __future__ import annotations

import pytest

from nettax.canary import IpiStorm
from nettax.errors import UsageError


@pytest.mark.parametrize(("victim", "sender", "rate"), [(0, 0, 1000), (0, 1, -1), (0, 1, 10**10)])
def test_impossible_storms_are_refused(victim: int, sender: int, rate: int) -> None:
    with pytest.raises(UsageError):
        IpiStorm(victim, sender, rate)
