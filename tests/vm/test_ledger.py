"""The ledger's proofs on other kernels than this host's, whose accounting differs too."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nettax.lab.vm import Vm

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "timeout=600"]


@pytest.mark.parametrize("proofs", ["bill", "conservation", "oracles"])
def test_it_is_as_true_there(series: str, proofs: str) -> None:
    """The same tests as here: each nanosecond on one account, and what other witnesses say.

    With two CPUs that take turns on the host's, nothing there is fast or on time: what holds does
    so by counts and identities.
    """
    said: list[bytes] = []
    with Vm(series, memory_mib=2048, limit=880) as vm:
        command = [*PYTEST, f"tests/kernel/test_ledger_{proofs}.py"]
        result = vm.run(command, cwd=ROOT, stdout=said.append)
    text = b"".join(said).decode()
    print(text)
    assert result.code == 0, text
    assert "skipped" not in text
