"""What is published, built once for all tests, and a clean place to install it."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.package.running import Installed, run


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist of this tree."""
    out = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", out)
    return next(out.iterdir())


@pytest.fixture(scope="session")
def wheel(sdist: Path) -> Path:
    """The wheel for this machine, from the sdist."""
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation")
    run(*pip, "--no-cache-dir", "--wheel-dir", sdist.parent, sdist, NETTAX_MACHINE="")
    return next(sdist.parent.glob("*.whl"))


@pytest.fixture(scope="session")
def contents(wheel: Path) -> dict[str, bytes]:
    """What is in the wheel, by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """The wheel, installed."""
    directory = tmp_path_factory.mktemp("clean")
    run(sys.executable, "-m", "venv", directory / "venv")
    run(directory / "venv/bin/pip", "install", "--quiet", wheel)
    yield Installed(directory / "venv", directory)
