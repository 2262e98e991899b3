"""What `nettax export` does beside answering."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from nettax.cli import export
from nettax.ledger import Ledger


class Reaped(Ledger):
    """A ledger whose kernel refuses for a while."""

    def __init__(self, failures: int) -> None:
        self.failures, self.reaped = failures, asyncio.Event()

    def reap(self) -> None:
        self.failures -= 1
        if self.failures >= 0:
            raise OSError(12, "Cannot allocate memory")
        self.reaped.set()


def test_reaping_goes_on_after_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(export, "REAP_S", 0.0)

    async def reap() -> None:
        ledger = Reaped(3)
        task = asyncio.create_task(export._reap(ledger))
        async with asyncio.timeout(30):
            await ledger.reaped.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(reap())
    assert capsys.readouterr().err.count("cannot make room for new tasks") == 1


def test_examples_have_no_address_that_a_man_page_would_make_a_link() -> None:
    assert "://" not in export.EXAMPLES
