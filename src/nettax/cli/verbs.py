"""A group of commands whose modules are imported only when they are used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["Verbs"]


class Verbs(click.Group):
    """A group whose commands are modules of a package, each with its `command`."""

    def __init__(
        self,
        *arguments: Any,
        package: str,
        verbs: Mapping[str, str],
        homes: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        """`verbs` have their help's first line, `homes` the modules that are not called so."""
        super().__init__(*arguments, **options)
        self.verbs = verbs
        self._package = package
        self._homes = homes or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.verbs)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return self.imported(name) if name in self.verbs else None

    def imported(self, name: str) -> click.Command:
        """The command of a verb."""
        module = importlib.import_module(f"{self._package}.{self._homes.get(name, name)}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if word not in self.verbs and not ctx.resilient_parsing and not word.startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(word, self.verbs, n=1)
            hint = f": did you mean {near[0]}?" if near else ""
            ctx.fail(f"there is no command {word!r}{hint}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [
            CompletionItem(v, help=h) for v, h in self.verbs.items() if v.startswith(incomplete)
        ]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self.verbs.items()))
