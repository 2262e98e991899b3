"""The lines of a kernel's headers at which a name may be defined, gathered into one file.

A guest has the host's files by a protocol of several messages for each: to look through the ten
thousand headers of a kernel takes it minutes; through one file of their lines, seconds.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from nettax.errors import NettaxError

__all__ = ["files_with", "gather", "gathered", "grep"]

_NAME = "nettax-head-lines"
_HEADS = r"^[ \t]*#[ \t]*define[ \t]|^[A-Za-z_].*\("


def grep(pattern: str, *rest: str | Path, cwd: Path | None = None) -> list[str]:
    """The lines that grep prints, given a Perl pattern, options and files; of bytes, not letters.

    :raises NettaxError: it failed, or is not there
    """
    command = ["grep", "-aP", "-e", pattern, *map(str, rest)]
    try:
        run = subprocess.run(
            command, cwd=cwd, capture_output=True, env=os.environ | {"LC_ALL": "C"}
        )
    except OSError as error:
        raise NettaxError(f"grep cannot be run: {error}") from error
    if run.returncode > 1 and not run.stdout:  # 1: there are none
        raise NettaxError(run.stderr.decode(errors="replace").strip())
    return run.stdout.decode(errors="replace").splitlines()


def gathered(root: Path) -> bool:
    """Whether the lines of this tree have been gathered."""
    return (root / _NAME).exists()


def gather(root: Path) -> None:
    """Write the lines of a kernel's headers, of include/ and arch/, beside them.

    :raises NettaxError: they cannot be read, or not be written
    """
    places = [name for name in ("include", "arch") if (root / name).is_dir()]
    lines = grep(_HEADS, "-rH", "--include=*.[ch]", *places, cwd=root) if places else []
    unfinished = root / f"{_NAME}.{os.getpid()}"
    try:
        unfinished.write_text("".join(f"{line}\n" for line in lines))
        unfinished.rename(root / _NAME)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise NettaxError(f"the headers' lines cannot be written: {error}") from error


def files_with(root: Path, pattern: str) -> set[Path]:
    """The files of a gathered tree that have such a line, given what it begins with."""
    lines = grep(f"^[^:]*:(?:{pattern})", root / _NAME)
    return {root / line.split(":", 1)[0] for line in lines}
