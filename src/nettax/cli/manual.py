"""The manual, page by page, from what `--help` and the tables' headings come from.

`page()` gives a page as reStructuredText: the build makes man pages of them by docutils, and the
documentation includes them.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator

import click

from nettax.cli import VERBS, cli
from nettax.cli.manual_text import COMMON, PAGES
from nettax.report.fields import TABLES, VERB_TABLES

__all__ = ["NAMES", "page"]

NAMES = ("nettax", *(f"nettax-{verb}" for verb in VERBS))
"""Every page's name, without its section, which is 1."""

_SUMMARY = "the CPU bill of networking: who paid, for whom, and what it cost"
_EXITS = (
    ("0", "it did what was asked"),
    ("1", "the run failed"),
    ("2", "the request makes no sense: options, arguments"),
    (
        "77",
        "the kernel or the permission is lacking; nettax-doctor(1) tells what and how to get it",
    ),
)
_ENVIRONMENT = (
    ("NETTAX_DEBUG", "If set, libbpf's log and the verifier's reasons go to standard error."),
    ("NO_COLOR", "If set, nettax-top(1) uses no colours."),
    ("XDG_STATE_HOME", "Where an ordinary user's calibrations are kept."),
)
_UNITS = """\
Tables for people have shares in % of one CPU or of what their heading says, times with their unit,
and counts with k, M and G for powers of ten; a dot stands for nothing. JSON and CSV have integers,
whose names end with their unit: ``_ns``, ``_bytes``; each document has a ``schema``. Data goes to
standard output, all else to standard error."""


def page(name: str) -> str:
    """The page of this name (one of `NAMES`) as reStructuredText.

    Its title is the name and its subtitle says in a line what it is, as docutils' writer of man
    pages wants them.
    """
    root = click.Context(cli, info_name="nettax", **cli.context_settings)
    verb = name.partition("-")[2]
    if verb:
        command = cli.get_command(root, verb)
        assert command, name  # noqa: S101
        context = click.Context(command, info_name=verb, parent=root)
        own, summary = PAGES[verb], VERBS[verb].rstrip(".")
        fields = _metrics() if verb == "export" else _tables(verb)
        see = ["nettax(1)", *own.see_also]
    else:
        command, context, own, summary, fields = cli, root, COMMON, _SUMMARY, _UNITS
        see = [*(f"{page}(1)" for page in NAMES[1:]), *own.see_also]
    sections = {
        "Synopsis": "\n\n".join(_synopsis(each) for each in _leaves(context)),
        "Description": "\n\n".join([*_paragraphs(command.help or ""), own.notes]),
        "Commands": "" if verb else _list((f"nettax {v}", text) for v, text in VERBS.items()),
        "Options": _all_options(context),
        "Keys": _list(_keys()) if verb == "top" else "",
        "Fields": fields or "What it prints are sentences.",
        "Overhead": own.overhead,
        "Examples": _examples("\n".join(_epilogs(context))),
        "Exit status": _entries((*own.exits, *_without(_EXITS, own.exits))),
        "Environment": "" if verb else _entries(_ENVIRONMENT),
        "Files": _entries(own.files),
        "See also": ", ".join(
            f"**{n}**\\ ({s}" for n, _, s in (word.partition("(") for word in see)
        ),
    }
    return (
        _headed(name, "=", above=True)
        + _headed(_plain(summary), "-", above=True)
        + "".join(
            f"{_headed(title, '~')}{text}\n\n" for title, text in sections.items() if text.strip()
        )
    )


def _tables(verb: str) -> str:
    """What a verb prints, each table below its title."""
    tables = [TABLES[table] for table in VERB_TABLES.get(verb, ())]
    return "\n".join(f"**{t.title}** ({_plain(t.unit)})\n\n{_list(t.fields)}" for t in tables)


def _metrics() -> str:
    from nettax.export.catalog import catalog

    return _entries(
        (f"**{_plain(metric.name)}** ({metric.kind})", _marked(metric.help)) for metric in catalog()
    )


def _keys() -> tuple[tuple[str, str], ...]:
    from nettax.tui.help import KEYS

    return KEYS


def _leaves(context: click.Context) -> Iterator[click.Context]:
    """The commands of a verb that is a group of them, with a page in common; or the verb itself."""
    group = context.command
    if not isinstance(group, click.Group) or context.parent is None:
        yield context
        return
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command, name  # noqa: S101
        yield from _leaves(click.Context(command, info_name=name, parent=context))


def _all_options(context: click.Context) -> str:
    """A verb's options; of a group those of each command, below what it does."""
    leaves = list(_leaves(context))
    if leaves == [context]:
        return _list(_options(context), bold=False)
    return _entries(
        (
            f"**{leaf.command_path}**",
            "\n\n".join([*_paragraphs(leaf.command.help or ""), _list(_options(leaf), bold=False)]),
        )
        for leaf in leaves
    )


def _epilogs(context: click.Context) -> list[str]:
    """The examples of a verb and of its commands, each once."""
    commands = (context.command, *(leaf.command for leaf in _leaves(context)))
    lines = (line for command in commands for line in (command.epilog or "").splitlines())
    return list(dict.fromkeys(lines))


def _synopsis(context: click.Context) -> str:
    pieces = context.command.collect_usage_pieces(context)
    return " ".join((f"**{context.command_path}**", *(f"*{_plain(piece)}*" for piece in pieces)))


def _paragraphs(text: str) -> list[str]:
    return [_marked(" ".join(part.split())) for part in re.split(r"\n\s*\n", text.strip())]


def _options(context: click.Context) -> Iterator[tuple[str, str]]:
    """Each option as `--help` has it: names in bold, what they take in italics."""
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None or isinstance(parameter, click.Argument):
            continue
        words = re.split(r"(--?[\w.-]+)", record[0])  # names at odd places
        yield (
            "".join(
                f"**{_plain(word)}**" if i % 2 else re.sub(r"[^\s,/]\S*(?: \S+)*", _italic, word)
                for i, word in enumerate(words)
            ),
            _marked(record[1]),
        )


def _italic(found: re.Match[str]) -> str:
    return f"*{_plain(found[0])}*"


def _examples(epilog: str) -> str:
    """An epilog's lines, each a command and what it does, two blanks or more between them."""
    lines = [line.strip() for line in epilog.splitlines() if line.startswith("  ")]
    return _list(
        (command, text)
        for command, _, text in (re.split(r"(\s{2,}|$)", line, maxsplit=1)[:3] for line in lines)
    )


def _without(
    entries: Iterable[tuple[str, str]], others: Iterable[tuple[str, str]]
) -> list[tuple[str, str]]:
    known = {name for name, _ in others}
    return [entry for entry in entries if entry[0] not in known]


def _entries(entries: Iterable[tuple[str, str]]) -> str:
    """A list whose texts are reStructuredText already."""
    return "\n".join(f"{name}\n{textwrap.indent(text, '    ')}\n" for name, text in entries)


def _list(entries: Iterable[tuple[str, str]], bold: bool = True) -> str:
    """A definition list of plain texts."""
    return _entries(
        (f"**{_plain(name)}**", _marked(text) or "\\ ") if bold else (name, text or "\\ ")
        for name, text in entries
    )


def _plain(text: str) -> str:
    """Text in which nothing is markup."""
    return re.sub(r"([\\*`|_])", r"\\\1", text)


def _marked(text: str) -> str:
    """Text of ours, in which `this` is a literal."""
    return "".join(
        f"``{part}``" if i % 2 else _plain(part) for i, part in enumerate(text.split("`"))
    )


def _headed(text: str, line: str, above: bool = False) -> str:
    rule = line * len(text)
    return f"{rule}\n{text}\n{rule}\n\n" if above else f"{text}\n{rule}\n\n"
