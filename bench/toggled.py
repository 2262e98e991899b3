"""The ledger, loaded once and attached at will: what is off is detached, not disarmed.

An attached program costs its entry even on a CPU that is not armed, so only a detached one is
free; and loading between two windows would take longer than the windows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Self

from nettax.kernel import programs
from nettax.kernel.bpf import ProgramStats
from nettax.ledger import Ledger
from nettax.ledger.ledger import CALLED

__all__ = ["ToggledLedger"]


class ToggledLedger(Ledger):
    """Armed, but attached only within `attached()`."""

    def __enter__(self) -> Self:
        super().__enter__()
        self._object.detach()
        return self

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Attach as the ledger itself does, and detach."""
        programs.attach(self._object, CALLED)
        try:
            yield
        finally:
            self._object.detach()

    def stats(self) -> Mapping[str, ProgramStats]:
        """The kernel's counters for each program; times only with `time_programs`."""
        return {name: program.stats() for name, program in self._object.programs.items()}
