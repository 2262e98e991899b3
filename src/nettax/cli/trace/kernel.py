"""This kernel, as far as it tells: for `explain` and `list`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from nettax.errors import NettaxError
from nettax.functions.explain import Kernel, module_searcher
from nettax.functions.headers import Headers
from nettax.kernel.files import read_word
from nettax.kernel.ftrace import kprobe_blacklist, traceable
from nettax.kernel.kallsyms import Kallsyms
from nettax.kernel.module_file import module_files

__all__ = ["this_kernel"]


def this_kernel(headers: Iterable[Path]) -> Kernel:
    """What the running kernel says of itself; headers are looked for where none are given.

    :raises MissingPrivilege: not even kallsyms may be read
    """
    untold: list[str] = []
    functions = None
    try:
        found: dict[str, frozenset[str]] = {}
        for name, module in traceable():
            found[name] = found.get(name, frozenset()) | {module or ""}
        functions = found
    except NettaxError as error:
        untold.append(f"what ftrace can trace is not told: {error}")
    blacklist = None
    try:
        blacklist = kprobe_blacklist()
    except NettaxError as error:
        untold.append(f"the kprobe blacklist is not told: {error}")
    roots = list(headers) or list(_found_headers())
    lines = (read_word("/proc/modules") or "").splitlines()  # not there without CONFIG_MODULES
    loaded = frozenset(line.split()[0] for line in lines)
    modules = module_files(Path("/lib/modules", os.uname().release))
    searcher = module_searcher(modules, loaded, _exported(roots))
    return Kernel(
        Kallsyms.read(), functions, blacklist, Headers(roots), loaded, searcher, tuple(untold)
    )


def _found_headers() -> Iterable[Path]:
    """The running kernel's headers, installed or in the lab's cache."""
    from nettax.lab.vm import kernels

    release = os.uname().release
    build = Path("/lib/modules", release, "build")
    if (build / "include").is_dir():
        yield build
        return
    for kernel in kernels.cached():
        if kernel.release == release and kernel.headers:
            yield kernel.headers


def _exported(roots: Iterable[Path]) -> dict[str, str]:
    """Which module exports a symbol: Module.symvers of the headers."""
    found = {}
    for root in roots:
        path = root / "Module.symvers"
        for line in path.read_text().splitlines() if path.exists() else ():
            _, symbol, module, *_ = line.split("\t")
            if module != "vmlinux":
                found[symbol] = Path(module).name.replace("-", "_")
    return found
