"""`--user`: who may be named."""

from __future__ import annotations

import pytest

from nettax.errors import UsageError
from nettax.export.privileges import account


@pytest.mark.parametrize("user", ["", "no-such-user", "\u00b2", "\u0663", "a\0b", str(2**80)])
def test_users_that_there_are_not(user: str) -> None:
    with pytest.raises(UsageError, match="there is no user"):
        account(user)
