"""`nettax kmod`: where the sources are, what its counters say, and what is asked before loading."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from nettax.cli.kmod import command
from nettax.errors import MissingFeature, UsageError
from nettax.lab import kmod


def test_the_sources_are_those_of_the_checkout() -> None:
    assert {"Kbuild", "main.c", "request.c"} <= {path.name for path in kmod.source().iterdir()}


def test_counters() -> None:
    assert kmod.parse_stats("port 8081\nsent_bytes 12\n") == {"port": 8081, "sent_bytes": 12}


def test_what_is_no_parameter() -> None:
    result = CliRunner().invoke(command, ["load", "workqueue"])
    assert result.exit_code == 2
    assert "'workqueue' is no parameter" in result.output


@pytest.mark.skipif(kmod.status() is not None, reason="it is loaded")
def test_status_where_it_is_not_loaded() -> None:
    assert CliRunner().invoke(command, ["status"]).output == "not loaded\n"
    assert '"loaded": false' in CliRunner().invoke(command, ["status", "--json"]).output


def test_a_kernel_that_takes_no_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kmod, "_MODULES", tmp_path / "modules")
    for refused in (kmod.check_loadable, kmod.built):
        with pytest.raises(MissingFeature, match="takes no modules"):
            refused()


def test_once_loaded_and_once_unloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kmod, "_MODULES", tmp_path)
    monkeypatch.setattr(kmod, "_LOADED", tmp_path)
    with pytest.raises(UsageError, match="is loaded: unload it first"):
        kmod.check_loadable()
    monkeypatch.setattr(kmod, "_LOADED", tmp_path / "none")
    with pytest.raises(UsageError, match="is not loaded"):
        kmod.unload()
