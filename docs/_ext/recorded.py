"""Blocks of a page that hold the output of real commands, and are written by a script.

In the page, ``<!-- recorded: NAME -->`` stands in the line before the fence.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["command", "names", "write"]

_BLOCK = re.compile(r"(<!-- recorded: (?P<name>[\w-]+) -->\n```console\n)(.*?)(```\n)", re.DOTALL)
_LIMIT_S = 120.0


def names(page: Path) -> list[str]:
    """The names of a page's recorded blocks, in their order."""
    return [found["name"] for found in _BLOCK.finditer(page.read_text())]


def write(page: Path, outputs: Mapping[str, str]) -> None:
    """Put each output into the page's block of its name.

    :raises KeyError: the page has a block for which there is no output.
    """
    text = _BLOCK.sub(lambda m: m[1] + outputs[m["name"]].rstrip() + "\n" + m[4], page.read_text())
    page.write_text(text)


def command(words: Sequence[str], shown: str | None = None) -> str:
    """Run a command; return it behind a prompt, as ``shown`` if that is given, and its output.

    :raises RuntimeError: it failed.
    """
    done = subprocess.run(words, capture_output=True, text=True, timeout=_LIMIT_S)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(words)} failed: {done.stderr or done.stdout}")
    return f"# {shown or shlex.join(words)}\n{done.stdout}"
