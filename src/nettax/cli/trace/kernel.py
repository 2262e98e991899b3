"""This kernel, as far as it tells: for `explain` and `list`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from nettax.errors import NettaxError, UsageError
from nettax.functions.explain import Kernel, module_searcher
from nettax.functions.headers import Headers
from nettax.kernel.files import read_word
from nettax.kernel.ftrace import kprobe_blacklist, traceable
from nettax.kernel.kallsyms import Kallsyms
from nettax.kernel.module_file import module_files

__all__ = ["this_kernel"]


def this_kernel(headers: Iterable[str], tell: Callable[[str], None]) -> Kernel:
    """What the running kernel says of itself; headers are looked for where none are given.

    `headers` are directories, or Debian's kernels as the lab takes them; `tell` is told what is
    fetched, and that it is not this kernel's.

    :raises UsageError: there is no such directory or kernel
    :raises MissingPrivilege: not even kallsyms may be read
    :raises NettaxError: fetching failed
    """
    roots = [_directory(each, tell) for each in headers]
    unread: tuple[str, ...] = ()
    if not roots:
        roots = list(_found_headers())
        unread = () if roots else _why_no_headers()
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
    lines = (read_word("/proc/modules") or "").splitlines()  # not there without CONFIG_MODULES
    loaded = frozenset(line.split()[0] for line in lines)
    modules = module_files(Path("/lib/modules", os.uname().release))
    searcher = module_searcher(modules, loaded, _exported(roots))
    return Kernel(
        Kallsyms.read(),
        functions,
        blacklist,
        Headers(roots),
        loaded,
        searcher,
        tuple(untold),
        unread,
    )


def _directory(given: str, tell: Callable[[str], None]) -> Path:
    """Where headers are: a directory, or those of a kernel of Debian's, fetched if need be."""
    if (path := Path(given)).is_dir():
        return path
    if not re.match(r"\d+\.\d+", given):
        raise UsageError(f"there is no directory {given}, and no series of kernels is called so")
    from nettax.lab.vm import kernels

    kernel = kernels.find(given, tell)
    if kernel.release != os.uname().release:
        tell(f"macros and inlines are those of Linux {kernel.release}, not of this kernel")
    return kernels.with_headers(kernel, tell)


def _why_no_headers() -> tuple[str, ...]:
    release = os.uname().release
    return (
        f"this kernel's are not here: /lib/modules/{release}/build is not there, and the lab's "
        "cache has none of it",
        f"they may come by `apt-get install linux-headers-{release}`; Debian's of Linux 6.12, "
        "fetched, are looked at with --headers 6.12",
    )


def _found_headers() -> Iterable[Path]:
    """The running kernel's headers, installed or in the lab's cache."""
    from nettax.lab.vm import kernels

    release = os.uname().release
    build = Path("/lib/modules", release, "build")
    if (build / "include").is_dir():
        yield build
        return
    with suppress(OSError):  # another user's
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
