"""What `--version` tells."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from nettax.cli import cli
from nettax.experiment import about
from nettax.kernel.features import SIMULATE_NO_BTF
from nettax.version import __version__


def test_the_first_line_is_the_version_alone() -> None:
    result = CliRunner().invoke(cli, ["--version"])
    assert result.exit_code == 0
    first, *others = result.output.splitlines()
    assert first == f"nettax {__version__}"
    assert all(line.startswith("  ") for line in others)


def test_of_a_checkout_the_present_commit() -> None:
    facts = dict(about.about())
    assert facts["commit"].endswith("a checkout")
    assert facts["machine"] in facts["kernel"] or facts["kernel"]


def test_of_a_wheel_the_commit_it_was_built_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(about, "PACKAGE", tmp_path)
    build = '{"commit": "c0ffee", "editable": false, "bpf": "clang 1", "native": "cc 2"}'
    (tmp_path / "build.json").write_text(build)
    facts = dict(about.about())
    assert (facts["commit"], facts["BPF objects"], facts["native library"]) == (
        "c0ffee",
        "clang 1",
        "cc 2",
    )


def test_a_tree_that_was_never_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(about, "PACKAGE", tmp_path)
    facts = dict(about.about())
    assert facts["BPF objects"] == "unknown"
    assert facts["commit"] == "unknown, a checkout"


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SIMULATE_NO_BTF, "1")
    facts = dict(about.about())
    assert facts["BTF"].startswith("no: this kernel has no BTF")
    assert all("\n" not in fact for fact in facts.values())


@pytest.mark.parametrize(
    ("word", "near"), [("sta", "did you mean stat?"), ("Export", "did you mean export?")]
)
def test_a_wrong_command_hears_the_nearest(word: str, near: str) -> None:
    result = CliRunner().invoke(cli, [word])
    assert result.exit_code == 2
    assert near in result.output


def test_a_command_that_is_nothing_like_any() -> None:
    result = CliRunner().invoke(cli, ["qqq"])
    assert result.exit_code == 2
    assert "there is no command 'qqq'" in result.output
    assert "did you mean" not in result.output
