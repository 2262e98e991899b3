"""Blocks of a page that hold the output of real commands, and are written by a script.

In the page, ``<!-- recorded: NAME -->`` stands in the line before the fence. The scripts are
``docs/tutorial/why_slow.py`` and ``docs/tables/examples.py``.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nettax.kernel import proc_stat

__all__ = ["blocks", "command", "nettax", "wait_for", "wait_for_quiet", "write"]

_BLOCK = re.compile(r"(<!-- recorded: ([\w-]+) -->\n```console\n)(.*?)(```\n)", re.DOTALL)
_COMMAND_S = 180.0
_QUIET = 0.15  # of a CPU's time
_PATIENCE_S = 30.0


def blocks(page: Path) -> dict[str, str]:
    """The recorded blocks of a page, by name."""
    return {found[2]: found[3] for found in _BLOCK.finditer(page.read_text())}


def write(page: Path, outputs: Mapping[str, str]) -> None:
    """Put outputs into the blocks of their names; blocks without one stay."""

    def filled(found: re.Match[str]) -> str:
        text = outputs[found[2]].rstrip() + "\n" if found[2] in outputs else found[3]
        return found[1] + text + found[4]

    page.write_text(_BLOCK.sub(filled, page.read_text()))


def command(words: Sequence[str], shown: str | None = None, *, cgroup: Path | None = None) -> str:
    """Run a command; return it behind a prompt, as ``shown`` if that is given, and its output.

    :raises RuntimeError: it failed.
    """
    if cgroup:
        words = ["sh", "-c", 'echo 0 > "$0"; exec "$@"', str(cgroup / "cgroup.procs"), *words]
    done = subprocess.run(words, capture_output=True, text=True, timeout=_COMMAND_S)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(words)} failed: {done.stderr or done.stdout}")
    return f"# {shown or shlex.join(words)}\n{done.stdout}"


def nettax(*words: object, cgroup: Path | None = None) -> str:
    """Run this very nettax, shown as one types it."""
    arguments = list(map(str, words))
    return command(
        [sys.executable, "-m", "nettax", *arguments],
        shlex.join(["nettax", *arguments]),
        cgroup=cgroup,
    )


def wait_for(condition: Callable[[], object], limit_s: float = 20.0) -> None:
    """Until it holds.

    :raises TimeoutError: it did not in time.
    """
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the stage did not get ready within {limit_s:g} s")
        time.sleep(0.005)


def wait_for_quiet(cpu: int | None = None) -> None:
    """Until this CPU, or all of them, do nearly nothing: somebody else's work is another story.

    :raises TimeoutError: they do not for half a minute.
    """
    wait_for(lambda: _busy_share(cpu) < _QUIET, _PATIENCE_S)


def _busy_share(cpu: int | None, seconds: float = 1.0) -> float:
    before = proc_stat.stat()
    time.sleep(seconds)
    after = proc_stat.stat()
    times = after.total - before.total if cpu is None else after.cpus[cpu] - before.cpus[cpu]
    return 1 - (times.idle_ns + times.iowait_ns) / times.wall_ns
