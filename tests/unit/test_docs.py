"""The docs against the program: messages, commands, options and tests that they name must exist.

That links resolve is `make docs`' to see.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import nettax
from nettax.cli import cli
from nettax.cli.manual import NAMES

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^```(?:console|sh|bash)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MESSAGE = re.compile(r"^`(.+)`\n: ", re.MULTILINE)
HOLE = "…"


def shown_commands() -> Iterator[tuple[str, str]]:
    """Every `nettax …` behind a prompt, with its page; pipes and wrappers left out."""
    for page in PAGES:
        for block in FENCE.findall(page.read_text()):
            for line in re.findall(r"^[#$] (.*)$", block.replace("\\\n", " "), re.MULTILINE):
                for words in re.findall(r"(?:^|\s|\()nettax(?= )[^|;&)]*", line):
                    yield str(page.relative_to(ROOT)), words.strip(" (")


def inline_commands() -> Iterator[tuple[str, str]]:
    """Every `nettax …` in running text."""
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for words in re.findall(r"`(nettax [^`]+)`", text):
            yield str(page.relative_to(ROOT)), " ".join(words.split())


def parse(words: list[str]) -> None:
    """Parse a command as the command line would, without running it.

    :raises click.UsageError: no such verb, or no such option.
    """
    if words[:1] and words[0].startswith("-"):
        assert words[0] in ("--help", "-h", "--version"), words
        return
    command, name, rest, context = named(words)
    command.make_context(name, rest, parent=context, resilient_parsing=False)


def named(words: list[str]) -> tuple[click.Command, str, list[str], click.Context]:
    """The command that these words name, and what is left of them; groups are gone through.

    :raises click.UsageError: there is none.
    """
    command: click.Command = cli
    context = click.Context(cli, info_name="nettax")
    name = ""
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name, *words = words
        found = command.get_command(context, name)
        if found is None:
            raise click.UsageError(f"no verb {name}")
        if isinstance(found, click.Group):
            context = click.Context(found, info_name=name, parent=context)
        command = found
    return command, name, words, context


def stands_for_itself(words: str) -> bool:
    """A command with placeholders in it (VERB, PID, …) is no command to parse."""
    return not re.search(r"…|\b[A-Z]{3,}\b|\*", words)


@pytest.mark.parametrize(("page", "words"), sorted(set(shown_commands())))
def test_shown_commands_parse(page: str, words: str) -> None:
    if stands_for_itself(words):
        parse(shlex.split(words)[1:])


@pytest.mark.parametrize(("page", "words"), sorted(set(inline_commands())))
def test_commands_in_the_text_exist(page: str, words: str) -> None:
    verb, *options = shlex.split(words)[1:]
    if not (verb.startswith("-") or verb == "VERB" or HOLE in verb):
        command, _, options, _ = named([verb, *options])
        known = {
            name for option in command.params for name in (*option.opts, *option.secondary_opts)
        }
        for option in options:
            if option == "--":
                break
            if option.startswith("-"):
                assert option in {*known, "--help", "-h"}, words


def said_by_the_program() -> set[str]:
    """The text of every string literal of the program, with a hole for what is filled in."""
    said = set()
    for path in ROOT.glob("src/nettax/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                said.add("".join(_literal(part) for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                said.add(node.value)
    return said


def _literal(part: ast.expr) -> str:
    return str(part.value) if isinstance(part, ast.Constant) else HOLE


def test_messages_are_said_by_the_program() -> None:
    messages = MESSAGE.findall((ROOT / "docs/troubleshooting.md").read_text())
    assert len(messages) > 15
    said = said_by_the_program()
    for message in messages:
        # A name in the page may stand where the program fills one in.
        pattern = re.compile(".*".join(re.escape(part) for part in message.split(HOLE)))
        filled = re.compile(
            "|".join(
                ".*".join(re.escape(part) for part in text.split(HOLE))
                for text in said
                if HOLE in text and len(text) > 20
            )
        )
        assert any(pattern.search(text) for text in said) or filled.fullmatch(message), message


def test_tests_and_files_that_the_docs_name_exist() -> None:
    tests = "".join(path.read_text() for path in ROOT.glob("tests/**/*.py"))
    for page in PAGES:
        text = page.read_text()
        for name in re.findall(r"`(test_\w+)`", text):
            assert f"def {name}(" in tests, (page, name)
        for path in re.findall(r"(?<![\w/])((?:tests|docs|src|bench|scripts)/[\w./-]+\.\w+)", text):
            assert (ROOT / path).exists(), (page, path)


def test_every_public_name_is_in_the_api() -> None:
    page = (ROOT / "docs/api.md").read_text()
    documented = re.findall(r"^\.\. auto\w+:: nettax\.(\w+)\b(?!\.)", page, re.MULTILINE)
    assert set(nettax.__all__) <= set(documented)


def test_the_manual_is_all_there() -> None:
    pages = {path.stem for path in ROOT.glob("docs/verbs/*.rst")}
    assert pages == set(NAMES)


def test_every_recorded_block_is_filled() -> None:
    """A page shows outputs that its script wrote; an empty one was never run."""
    for page in PAGES:
        empty = re.findall(r"<!-- recorded: ([\w-]+) -->\n```console\n```", page.read_text())
        assert not empty, (page, empty)
