"""A newer QEMU than this host's: Debian's own, from its backports, unpacked in the cache.

Nothing is installed, and apt's lists are left alone: the archive's are read into a directory of
ours, by the mirror that this host uses, and checked by Debian's keys as always.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from nettax.errors import MissingFeature, NettaxError
from nettax.lab.vm import cache, packages, qemu
from nettax.lab.vm.qemu import Emulator

__all__ = ["cached", "emulator", "remove"]

_PACKAGE = "qemu-system-x86"
_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_FIRMWARE = ("qemu", "seabios")  # directories of /usr/share


def _part() -> Path:
    """Where they are kept, by version."""
    return cache.root() / "qemu"


def cached() -> list[Path]:
    """The trees that are there, the newest last."""
    trees = [tree for tree in _part().glob("*") if (tree / "usr/bin" / qemu.PROGRAM).exists()]
    return sorted(trees, key=lambda tree: tuple(map(int, re.findall(r"\d+", tree.name))))


def emulator(stack: ExitStack, progress: Callable[[str], None] = lambda _: None) -> Emulator:
    """The newest QEMU in the cache; with none there, that of the backports, which is fetched.

    It stays there until the stack unwinds.

    :raises MissingFeature: this is no Debian release with backports.
    :raises NettaxError: fetching failed.
    """
    while True:
        if not cached():
            with cache.locked(_part()):
                if not cached():  # nobody else has fetched it meanwhile
                    _fetch(progress)
        for tree in reversed(cached()):
            if stack.enter_context(cache.leased(tree)):
                return _of_tree(tree)


def remove() -> tuple[list[str], list[str]]:
    """Remove all from the cache; return what is gone, and what was left, as a guest runs in it."""
    gone: list[str] = []
    left: list[str] = []
    if _part().exists():
        with cache.locked(_part()):
            for tree in cached():
                (gone if cache.remove(tree) else left).append(tree.name)
    return gone, left


def _of_tree(tree: Path) -> Emulator:
    """How to start it: its data is beside it; what else it takes is the host's."""
    libraries = [str(path) for path in tree.glob("usr/lib/*-linux-gnu")]
    words = [
        "env",
        f"LD_LIBRARY_PATH={':'.join(libraries)}",
        *(f"QEMU_MODULE_DIR={path}/qemu" for path in libraries[:1]),
        str(tree / "usr/bin" / qemu.PROGRAM),
    ]
    for name in _FIRMWARE:
        for root in (tree, Path("/")):
            if (root / "usr/share" / name).is_dir():
                words += ["-L", str(root / "usr/share" / name)]
    return Emulator(tuple(words))


def _fetch(progress: Callable[[str], None]) -> None:
    release = _release()
    with cache.partial(_part()) as tree:
        options = (*_lists(tree, release), "-t", f"{release}-backports")
        progress(f"looking for QEMU in {release}-backports")
        packages.update(options)
        names = _needed(options)
        known = packages.described(names, options)
        megabytes = sum(package.size_bytes for package in known.values()) / 1e6
        version = known[_PACKAGE].version
        progress(f"fetching {_PACKAGE} {version} ({megabytes:.0f} MB)")
        fetched = tree / "apt/fetched"
        fetched.mkdir()
        for package in packages.fetch(names, fetched, options):
            packages.unpack(package, tree)
        shutil.rmtree(tree / "apt")
        tree.rename(_part() / version.rpartition(":")[2])


def _release() -> str:
    """This Debian's codename.

    :raises MissingFeature: it is no Debian, or has no backports.
    """
    try:
        text = Path("/etc/os-release").read_text()
    except OSError:
        text = ""
    facts = dict(line.split("=", 1) for line in shlex.split(text) if "=" in line)
    release = facts.get("VERSION_CODENAME", "")
    if facts.get("ID") != "debian" or not release or not _KEYS.exists():
        raise MissingFeature(
            "igb and several CPUs take a newer QEMU than this host's, which can be fetched for a "
            "release of Debian only:\ninstall QEMU 10, or give the guest one CPU and no igb."
        )
    return release


def _lists(tree: Path, release: str) -> tuple[str, ...]:
    """Options by which apt has lists of its own below a tree: the release's and its backports'."""
    mirror = packages.mirror(release)
    home = tree / "apt"
    for directory in ("lists/partial", "cache/archives/partial"):
        (home / directory).mkdir(parents=True)
    lines = (
        f"deb [signed-by={_KEYS}] {mirror} {s} main" for s in (release, f"{release}-backports")
    )
    (home / "sources.list").write_text("\n".join(lines) + "\n")
    settings = {
        "Dir::Etc::sourcelist": home / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": home / "lists",
        "Dir::Cache": home / "cache",
        "Acquire::Languages": "none",
    }
    return tuple(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))


def _needed(options: tuple[str, ...]) -> list[str]:
    """QEMU, and what it needs that this host lacks or has too old; nothing else."""
    missing = packages.to_install(_PACKAGE, options)
    if _PACKAGE not in missing:
        raise NettaxError("the backports have no newer QEMU than this host's.")
    known = packages.described(missing, options)
    needed: dict[str, None] = {}
    waiting = [_PACKAGE]
    while waiting:
        name = waiting.pop()
        if name in missing and name not in needed:
            needed[name] = None
            waiting += known[name].needs
    return list(needed)
