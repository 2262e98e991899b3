"""What a bug report needs: which nettax this is, how it was built, and what it runs on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nettax
from nettax.errors import Unsupported
from nettax.kernel import features, libbpf
from nettax.kernel.accounting import accounting
from nettax.version import __version__

__all__ = ["about"]

PACKAGE = Path(nettax.__file__).parent
UNKNOWN = "unknown"


def about() -> Iterator[tuple[str, str]]:
    """Each fact with its name, the version first. Nothing here raises."""
    build = _build()
    uname = os.uname()
    yield "nettax", __version__
    yield "commit", _commit(build)
    yield "BPF objects", build.get("bpf", UNKNOWN)
    yield "native library", build.get("native", UNKNOWN)
    yield "Python", f"{platform.python_version()}, {sys.executable}"
    yield "kernel", f"{uname.release} {uname.version}"
    yield "machine", uname.machine
    yield "libbpf", _told(libbpf.version)
    yield "BTF", _told(lambda: f"yes, {features.btf_path()}")
    yield "accounting", accounting().mode
    yield "capabilities", " ".join(sorted(features.capabilities())) or "none"


def _told(what: Any) -> str:
    """What a probe says, or the first line of why it cannot."""
    try:
        return str(what())
    except Unsupported as error:
        return f"no: {error}".splitlines()[0]


def _build() -> dict[str, Any]:
    """What the build wrote down; nothing in a tree that was never built."""
    try:
        built: dict[str, Any] = json.loads((PACKAGE / "build.json").read_text())
    except (OSError, ValueError):
        return {}
    return built


def _commit(build: dict[str, Any]) -> str:
    """The commit that was built; of a checkout, which moves on, the present one."""
    if not build.get("editable", True):
        return build["commit"] or UNKNOWN
    git = ("git", "-C", str(PACKAGE), "describe", "--always", "--abbrev=12", "--dirty=+changes")
    try:
        run = subprocess.run(git, capture_output=True, text=True)
    except OSError:
        return UNKNOWN
    return f"{run.stdout.strip() or UNKNOWN}, a checkout"
