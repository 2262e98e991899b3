"""The wheel where nothing of this tree is: clean systems, and pipx."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from tests.package.running import run

from nettax.version import __version__

pytestmark = pytest.mark.full


@pytest.mark.timeout(600)
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a system")
@pytest.mark.skipif(not shutil.which("mmdebstrap"), reason="needs mmdebstrap")
@pytest.mark.parametrize("suite", ["bookworm", "trixie", "noble"])
def test_clean_system(suite: str, wheel: Path) -> None:
    told = run("sh", "scripts/check-clean.sh", suite, wheel, PYTHON=sys.executable)
    assert f"nettax {__version__}\n" in told
    assert "The ledger works here." in told
    assert "residual +0.000 %" in told.splitlines()[-3]


def test_pipx(wheel: Path, tmp_path: Path) -> None:
    """From a pipx of its own, into a home of its own."""
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    run(tmp_path / "venv/bin/pip", "install", "--quiet", "pipx")
    home = {
        "HOME": str(tmp_path),
        "PIPX_HOME": str(tmp_path / "pipx"),
        "PIPX_BIN_DIR": str(tmp_path / "bin"),
        "PIPX_MAN_DIR": str(tmp_path / "man"),
    }
    run(tmp_path / "venv/bin/pipx", "install", wheel, **home)
    assert run(tmp_path / "bin/nettax", "--version").startswith(f"nettax {__version__}\n")
    assert (tmp_path / "man/man1/nettax-stat.1").exists()
