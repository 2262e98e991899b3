"""The HTTP of the server in the kernel as a program, and requests to drive both by."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from nettax.lab import kmod

__all__ = ["FUZZED", "built"]

_HERE = Path(__file__).parent
FUZZED = _HERE / "fuzzed.py"


def built(place: Path, *flags: str) -> Path:
    """drive.c with the server's text, compiled into a directory, where the kernel's headers are
    empty files."""
    sources = [kmod.source() / name for name in ("http.c", "request.c")]
    for path in (*sources, kmod.source() / "server.h"):
        for name in re.findall(r"#include <((?:linux|net)/\w+\.h)>", path.read_text()):
            header = place / "include" / name
            header.parent.mkdir(parents=True, exist_ok=True)
            header.touch()
    made = place / "drive"
    words = ["gcc", "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", *flags]
    words += [f"-I{place / 'include'}", f"-I{kmod.source()}", "-include", str(_HERE / "kernel.h")]
    words += [str(_HERE / "drive.c"), *map(str, sources), "-o", str(made)]
    subprocess.run(words, check=True)
    return made
