"""What is compared, and when two counts differ."""

from __future__ import annotations

import pytest

from nettax.errors import UsageError
from nettax.experiment.exact import Compared, Setting, setting


def test_settings() -> None:
    assert setting("mode=kthread,kernel=6.12,cork=1") == Setting(("mode=kthread", "cork=1"), "6.12")
    assert setting("", "6.12") == Setting((), "6.12")


@pytest.mark.parametrize("text", ["kthread", "port=1", "mode=kthread,protocol=http"])
def test_what_is_no_setting(text: str) -> None:
    with pytest.raises(UsageError, match=r"leave it out|NAME=VALUE"):
        setting(text)


def test_a_difference() -> None:
    one = Compared("connection", (250.0, 252.0), (200.0, 202.0))
    assert one.ratio == pytest.approx(251 / 201)
    assert one.spread == pytest.approx(0.01)
    assert one.differs


@pytest.mark.parametrize("b", [(1000.0, 1004.0), (900.0, 1100.0), (1004.0, 1005.9), (995.5, 996.0)])
def test_no_difference(b: tuple[float, ...]) -> None:
    """Within the floor, or one's repetitions around the other's."""
    assert not Compared("connection", (1000.0, 1001.0), b).differs
    assert not Compared("connection", b, (1000.0, 1001.0)).differs
