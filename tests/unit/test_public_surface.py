"""What `import nettax` offers, and that it costs nothing until it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import nettax


def test_all_is_sorted_and_there() -> None:
    assert nettax.__all__ == sorted(nettax.__all__)
    for name in nettax.__all__:
        assert getattr(nettax, name).__name__ == name


def test_names_and_homes_agree() -> None:
    assert sorted(nettax._HOMES) == nettax.__all__


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = nettax.nonsense


def test_import_is_lazy() -> None:
    source = "import nettax, sys; print([m for m in sys.modules if m.startswith('nettax.')])"
    run = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "['nettax.version']"
