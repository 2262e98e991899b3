"""What is published, built once for all tests, and a clean place to install it."""

from __future__ import annotations

import platform
import sys
import zipfile
from pathlib import Path

import pytest
from tests.package.running import Installed, run


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist of this tree, and from it the wheel for this machine."""
    out = tmp_path_factory.mktemp("dist")
    run("sh", "scripts/dist.sh", out, PYTHON=sys.executable, MACHINES=platform.machine())
    return out


@pytest.fixture(scope="session")
def sdist(dist: Path) -> Path:
    return next(dist.glob("*.tar.gz"))


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    return next(dist.glob("*.whl"))


@pytest.fixture(scope="session")
def contents(wheel: Path) -> dict[str, bytes]:
    """What is in the wheel, by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel, installed."""
    directory = tmp_path_factory.mktemp("clean")
    run(sys.executable, "-m", "venv", "--without-pip", directory / "venv")
    pip = (sys.executable, "-m", "pip", "--python", directory / "venv/bin/python")
    run(*pip, "install", "--quiet", wheel)
    return Installed(directory / "venv", directory)
