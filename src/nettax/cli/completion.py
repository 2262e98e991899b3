"""What Tab offers: options, and values where this host knows them.

Tab must answer at once, and most of a verb's start-up is the import of its instruments. So a build
writes down what every verb takes, and Tab reads that; in a checkout the verb is imported. Nothing
is loaded into the kernel, and nothing is undone, for a Tab; what most of them do not need is
imported where it is used, pathlib (7 ms) among it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import click
from click.shell_completion import CompletionItem

from nettax.errors import NettaxError
from nettax.kernel.files import list_names, read_text, read_word

__all__ = ["BUILT", "described", "offering"]

BUILT = os.path.join(os.path.dirname(__file__), "completion.json")  # noqa: PTH118, PTH120
"""What every verb takes, as `described` gives it: written by the build."""


def offering(verb: str, load: Callable[[], click.Command]) -> click.Command:
    """A command that takes what the verb takes and does nothing: what click completes from."""
    with suppress(OSError):
        return _command(verb, json.loads(read_text(BUILT))[verb])
    return _command(verb, described(load()))


def described(command: click.Command) -> dict[str, Any]:
    """What a command takes, in values that JSON can hold; a group has commands."""
    commands = {}
    if isinstance(command, click.Group):
        context = click.Context(command)
        names = command.list_commands(context)
        found = {name: command.get_command(context, name) for name in names}
        commands = {name: described(each) for name, each in found.items() if each}
    return {
        "help": command.get_short_help_str(),
        "parameters": _parameters(command),
        "commands": commands,
    }


def _parameters(command: click.Command) -> list[dict[str, Any]]:
    return [
        {
            "name": parameter.name,
            "declared": [
                "/".join(pair)
                for pair in zip(parameter.opts, parameter.secondary_opts, strict=True)
            ]
            if parameter.secondary_opts
            else parameter.opts,
            "option": isinstance(parameter, click.Option),
            "flag": getattr(parameter, "is_flag", False),
            "file": isinstance(parameter.type, (click.File, click.Path)),
            "choices": list(getattr(parameter.type, "choices", ())),
            "help": getattr(parameter, "help", None),
            "nargs": parameter.nargs,
        }
        for parameter in command.params
    ]


def _command(name: str, what: dict[str, Any]) -> click.Command:
    parameters = [_parameter(**fields) for fields in what["parameters"]]
    if not what["commands"]:
        return click.Command(name, params=parameters, help=what["help"])
    commands = {each: _command(each, of_it) for each, of_it in what["commands"].items()}
    return click.Group(name, params=parameters, help=what["help"], commands=commands)


def _parameter(
    name: str,
    declared: list[str],
    option: bool,
    flag: bool,
    file: bool,
    choices: list[str],
    help: str | None,
    nargs: int,
) -> click.Parameter:
    if not option and choices:
        return click.Argument([name], nargs=nargs, required=False, type=click.Choice(choices))
    if not option:
        words = ARGUMENTS.get(name, _commands)
        return click.Argument([name], nargs=nargs, required=False, shell_complete=words)
    if flag:
        return click.Option([*declared, name], is_flag=True, help=help)
    kind = click.Choice(choices) if choices else click.Path() if file else click.STRING
    offer = VALUES.get(name)
    return click.Option([*declared, name], type=kind, help=help, shell_complete=offer)


def _listed(known: Callable[[], Iterable[tuple[str, str]]]) -> Callable[..., list[CompletionItem]]:
    """Complete the last word of a list with commas, not repeating what is there."""

    def offer(
        context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",")
        there = before.split(",")
        with suppress(OSError, NettaxError):
            return [
                CompletionItem(before + comma + word, help=what)
                for word, what in known()
                if word.startswith(last) and word not in there
            ]
        return []

    return offer


def _cpus() -> Iterator[tuple[str, str]]:
    from nettax.kernel import cpus

    for cpu in cpus.online():
        yield str(cpu), ""


def _processes() -> Iterator[tuple[str, str]]:
    for pid in sorted((n for n in list_names("/proc") if n.isdigit()), key=int):
        if name := read_word(f"/proc/{pid}/comm"):
            yield pid, name


def _cgroups() -> Iterator[tuple[str, str]]:
    from nettax.kernel import cgroup

    mount = str(cgroup.v2_mount())
    for directory, _, _ in os.walk(mount):
        yield directory.removeprefix(mount) or "/", ""


def _modules() -> Iterator[tuple[str, str]]:
    for line in (read_word("/proc/modules") or "").splitlines():
        yield line.split()[0], ""


VALUES = {
    "cpu": _listed(_cpus),
    "pid": _listed(_processes),
    "cgroup": _listed(_cgroups),
    "module": _listed(_modules),
}
"""By the option's name, which verbs share."""


def _commands(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Programs for the first word after `--`, files for those that follow and for paths."""
    if context.params.get(parameter.name or "") or "/" in incomplete:
        return [CompletionItem(incomplete, type="file")]
    found = set()
    for directory in os.get_exec_path():
        with suppress(OSError):
            found |= {n for n in list_names(directory) if n.startswith(incomplete)}
    return [CompletionItem(name) for name in sorted(found)]


def _functions(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Functions of the kernel, and of chains of events those whose name begins so."""
    import re

    from nettax.functions.chains import CHAINS

    chains = [name for name in CHAINS if name.startswith(incomplete)]
    if parameter.name != "targets":
        chains = []
    text = read_word("/proc/kallsyms") or ""
    names = re.findall(rf"^\w+ [tTwW] ({re.escape(incomplete)}\S*)", text, re.MULTILINE)
    return [CompletionItem(name) for name in (*chains, *sorted(set(names))[:MOST_FUNCTIONS])]


MOST_FUNCTIONS = 200
ARGUMENTS = {
    "targets": _functions,
    "function": _functions,
    "symbols": _functions,
    "pattern": _functions,
}
"""By the argument's name; others are commands."""
