"""What Tab offers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from nettax.cli import VERBS, cli, completion
from nettax.cli.completion import described, offering
from nettax.errors import MissingFeature
from nettax.kernel import cgroup, cpus


def offered(*words: str) -> list[str]:
    """What is offered in the place of the last word."""
    *before, incomplete = words
    complete = ShellComplete(cli, {}, "nettax", "_NETTAX_COMPLETE")
    return [item.value for item in complete.get_completions(before, incomplete)]


def _loaded(verb: str) -> click.Command:
    command = cli.get_command(click.Context(cli), verb)
    assert command
    return command


def test_verbs() -> None:
    assert offered("") == list(VERBS)
    assert offered("d") == ["demo", "doctor"]
    assert offered("--v") == ["--version"]


@pytest.mark.parametrize("verb", VERBS)
def test_all_options_of_every_verb(verb: str) -> None:
    """As the verb itself would offer them, which takes longer."""
    command = _loaded(verb)
    names = {
        name
        for option in command.params
        if isinstance(option, click.Option)
        for name in (*option.opts, *option.secondary_opts)
        if name.startswith("--")
    }
    assert set(offered(verb, "--")) == names | {"--help"}


@pytest.mark.parametrize("verb", VERBS)
def test_what_the_build_writes_down_is_enough(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = described(_loaded(verb))
    built = tmp_path / "completion.json"
    built.write_text(json.dumps({verb: live}))
    monkeypatch.setattr(completion, "BUILT", str(built))

    def never() -> click.Command:
        raise AssertionError("the verb was imported")

    kept = offering(verb, never)
    assert [p.opts for p in kept.params] == [p.opts for p in _loaded(verb).params]


def test_groups() -> None:
    assert offered("lab", "") == ["vm"]
    assert offered("lab", "vm", "") == ["clean", "compare", "list", "run"]
    assert offered("lab", "vm", "run", "--nic", "") == ["virtio", "igb"]
    assert "--exact" in offered("lab", "vm", "run", "--")


def test_choices() -> None:
    assert offered("canary", "--engine", "") == ["gap", "chain", "openssl"]


def test_cpus_of_a_list() -> None:
    online = [str(cpu) for cpu in cpus.online()]
    assert offered("stat", "-C", "") == online
    first, *others = online
    assert offered("stat", "--cpu", f"{first},") == [f"{first},{cpu}" for cpu in others]


def test_processes() -> None:
    mine = str(os.getpid())
    assert mine in offered("stat", "-p", mine)
    assert f"{mine},1" in offered("top", "-p", f"{mine},1")


def test_a_host_without_cgroups_offers_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Path:
        raise MissingFeature("cgroup v2 is not mounted")

    monkeypatch.setattr(cgroup, "v2_mount", missing)
    assert offered("stat", "-G", "/") == []


def test_cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "system.slice/db.service").mkdir(parents=True)
    monkeypatch.setattr(cgroup, "v2_mount", lambda: tmp_path)
    assert offered("stat", "-G", "/sys") == ["/system.slice", "/system.slice/db.service"]


def test_a_command_and_then_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "frobnicate").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert offered("stat", "--", "fro") == ["frobnicate"]
    complete = ShellComplete(cli, {}, "nettax", "_NETTAX_COMPLETE")
    (item,) = complete.get_completions(["stat", "--", "frobnicate"], "x")
    assert item.type == "file"


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["trace", ""], "explain"),
        (["trace", "latency", "work"], "workqueue"),
        (["trace", "latency", "schedule_time"], "schedule_timeout"),
        (["trace", "graph", "schedule_time"], "schedule_timeout"),
        (["trace", "explain", "schedule_time"], "schedule_timeout"),
        (["trace", "list", "schedule_time"], "schedule_timeout"),
    ],
)
def test_functions_and_chains(words: list[str], wanted: str) -> None:
    assert wanted in offered(*words)
