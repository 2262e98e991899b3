"""The manual says what `--help` says, and invents no figure."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

from nettax.cli import VERBS, cli
from nettax.cli.manual import NAMES, page
from nettax.cli.manual_text import COMMON, PAGES

ROOT = Path(__file__).parents[2]
ALWAYS = ["Synopsis", "Description", "Options", "Fields", "Overhead", "Examples", "Exit status"]


@pytest.fixture(scope="module")
def build() -> ModuleType:
    """The build's own module, which makes man pages of it."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_verb_has_a_page_and_its_own_words() -> None:
    assert ("nettax", *(f"nettax-{verb}" for verb in VERBS)) == NAMES
    assert set(PAGES) == set(VERBS)


@pytest.mark.parametrize("name", NAMES)
def test_sections(name: str) -> None:
    sections = re.findall(r"^(.+)\n~+$", page(name), re.MULTILINE)
    wanted = [section for section in sections if section in ALWAYS]
    assert wanted == ALWAYS
    assert sections[-1] == "See also"


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_and_example_of_the_help(verb: str, build: ModuleType) -> None:
    context = click.Context(cli, info_name="nettax", **cli.context_settings)
    command = cli.get_command(context, verb)
    assert command
    roff = build.man_page(f"nettax-{verb}", page(f"nettax-{verb}"), "1.2.3")
    shown = re.sub(r"\\f.|\\", "", roff.replace(r"\(aq", "'"))
    for option in (*command.params, *below(command)):
        if isinstance(option, click.Option):
            assert all(name in shown for name in (*option.opts, *option.secondary_opts))
    examples = re.findall(r"^  (\S.*?)(?:  |$)", command.epilog or "", re.MULTILINE)
    assert examples
    assert all(example in shown for example in examples)


def below(command: click.Command) -> Iterator[click.Parameter]:
    """What the commands of a group take."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found
            yield from found.params
            yield from below(found)


@pytest.mark.parametrize("name", NAMES)
def test_man_page(name: str, build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    roff = build.man_page(name, page(name), "1.2.3")  # which stops at docutils' first warning
    head = re.search(r"^\.TH (.*)$", roff, re.MULTILINE)
    assert head
    assert head[1] == f'"{name}" "1" "1970-01-02" "nettax 1.2.3" "nettax"'
    assert roff.index(".SH NAME\n") < roff.index(".SH SYNOPSIS\n") < roff.index(".SH SEE ALSO\n")


def test_figures_of_overhead_are_those_that_were_measured() -> None:
    measured = (ROOT / "docs/figures.md").read_text() + (
        ROOT / "src/nettax/cli/demo.py"
    ).read_text()
    spelled = measured.replace(" kpps", ",000")
    for text in (COMMON.overhead, *(own.overhead for own in PAGES.values())):
        prose = re.sub(r"``.*?``", "", text)
        for figure in re.findall(r"\d[\d.,–]*\d|\d+ %", prose):
            assert figure.strip() in spelled, figure
