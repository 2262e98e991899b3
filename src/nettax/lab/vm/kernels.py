"""Kernels to boot: Debian's, kept unpacked in a cache, or one's own, by its path.

::

    $XDG_CACHE_HOME/nettax/kernels/6.1.0-56-amd64/     a tree, as dpkg would install it
        boot/vmlinuz-6.1.0-56-amd64
        vmlinux                                         taken out of it: starts 2 s sooner
        lib/modules/6.1.0-56-amd64/                     with depmod's lists
        usr/src/linux-headers-…                         once a module was built; with their lines
                                                        in one file, for guests to look through
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nettax.errors import MissingFeature, NettaxError, UsageError
from nettax.kernel import head_lines
from nettax.lab.vm import cache, image, packages

__all__ = ["Kernel", "cached", "find", "remove", "with_headers"]

_SERIES = re.compile(r"\d+\.\d+")


@dataclass(frozen=True)
class Kernel:
    """A kernel that can be booted."""

    release: str
    """As ``uname -r`` says it."""
    image: Path
    """A bzImage or a vmlinux."""
    modules: Path | None
    """The directory lib/modules/RELEASE; None if there is none, so all must be built in."""
    tree: Path | None = None
    """Where its packages are unpacked; None of a kernel that was given by its path."""

    @property
    def headers(self) -> Path | None:
        """What modules are built against; None if it is not there (yet)."""
        places = [self.modules / "build"] if self.modules and not self.tree else []
        if self.tree:
            places.append(self.tree / f"usr/src/linux-headers-{self.release}")
        return next((place for place in places if (place / "Makefile").exists()), None)


def cached() -> list[Kernel]:
    """The kernels in the cache, the newest last."""
    trees = [path for path in _kernels().glob("*") if (path / "vmlinux").exists()]
    return [_of_tree(tree) for tree in sorted(trees, key=lambda tree: packages.order(tree.name))]


def find(name: str, progress: Callable[[str], None] = lambda _: None) -> Kernel:
    """The kernel of a series (``6.1``), of a release in full, or of a path.

    Of a series the newest in the cache is taken; with none there, the newest that the package
    lists have is fetched. ``progress`` is told what takes long.

    :raises UsageError: there is no such kernel, or the file is none.
    :raises MissingFeature: a tool is missing that fetching takes.
    :raises NettaxError: fetching failed.
    """
    if "/" in name or Path(name).is_file():
        return _of_path(Path(name).absolute())
    there = {kernel.release: kernel for kernel in cached()}
    release = packages.newest(name, there) if _SERIES.fullmatch(name) else name
    if release in there:
        return there[release]
    offered = packages.images()
    release = packages.newest(name, offered) if _SERIES.fullmatch(name) else name
    if release is None or release not in offered:
        series = sorted({".".join(r.split(".")[:2]) for r in offered}, key=packages.order)
        has = f"they have {', '.join(series)}" if series else "they have none; apt-get update"
        raise UsageError(
            f"there is no kernel {name} in the cache nor in the package lists: {has}.\n"
            "Or give the path of a bzImage or vmlinux."
        )
    with cache.locked(_kernels()):
        if not (_kernels() / release / "vmlinux").exists():  # nobody else has fetched it meanwhile
            _fetch(release, progress)
    return _of_tree(_kernels() / release)


def with_headers(kernel: Kernel, progress: Callable[[str], None] = lambda _: None) -> Path:
    """The directory to build modules of this kernel against, fetched if it is not there.

    :raises MissingFeature: a kernel given by its path has none.
    :raises NettaxError: fetching failed.
    """
    if kernel.headers and (not kernel.tree or all(map(head_lines.gathered, _packed(kernel.tree)))):
        return kernel.headers
    if kernel.tree is None:
        raise MissingFeature(
            f"there are no headers for {kernel.image}: "
            f"its lib/modules/{kernel.release}/build leads to none."
        )
    with cache.locked(_kernels()):
        if not kernel.headers:
            _fetch_headers(kernel, kernel.tree, progress)
        for root in _packed(kernel.tree):
            if not head_lines.gathered(root):
                head_lines.gather(root)
    if kernel.headers:
        return kernel.headers
    raise NettaxError(f"the packages of {kernel.release} have no headers.")


def remove(name: str | None = None) -> tuple[list[str], list[str]]:
    """Remove from the cache a series or a release, by default all; return what is gone.

    And what was left, as a guest runs it.

    :raises UsageError: there is nothing of that name.
    """
    gone, left = [], []
    with cache.locked(_kernels()):
        for kernel in cached():
            if name in (None, kernel.release) or packages.newest(name or "", [kernel.release]):
                if cache.remove(_kernels() / kernel.release):
                    shutil.rmtree(cache.root() / "modules" / kernel.release, ignore_errors=True)
                    gone.append(kernel.release)
                else:
                    left.append(kernel.release)
    if name is not None and not gone and not left:
        raise UsageError(f"there is no kernel {name} in the cache: `nettax lab vm list` shows it.")
    return gone, left


def _kernels() -> Path:
    return cache.root() / "kernels"


def _of_tree(tree: Path) -> Kernel:
    return Kernel(tree.name, tree / "vmlinux", _modules_below(tree, tree.name), tree)


def _of_path(path: Path) -> Kernel:
    if not path.is_file():
        raise UsageError(f"there is no kernel {path}.")
    release = image.release(path)
    # Unpacked beside its modules (boot/ and lib/), or this host's own.
    places = (
        _modules_below(root, release) for root in (path.parent, *path.parents[1:2], Path("/"))
    )
    return Kernel(release, path, next(filter(None, places), None))


def _modules_below(root: Path, release: str) -> Path | None:
    places = (root / "lib/modules" / release, root / "usr/lib/modules" / release)
    return next((place for place in places if place.is_dir()), None)


def _fetch(release: str, progress: Callable[[str], None]) -> None:
    """Fetch a kernel, and put it in place when it is complete."""
    depmod = _depmod()
    with cache.partial(_kernels()) as tree:
        _add(tree, [f"linux-image-{release}"], progress)
        progress(f"unpacking Linux {release}")
        (tree / "vmlinux").write_bytes(image.vmlinux(tree / f"boot/vmlinuz-{release}"))
        run = subprocess.run([depmod, "--basedir", tree, release], capture_output=True, text=True)
        if run.returncode:
            raise NettaxError(f"depmod failed: {run.stderr.strip()}")
        tree.rename(_kernels() / release)


def _depmod() -> str:
    """Where depmod is; an ordinary user's PATH may lack /sbin."""
    path = shutil.which("depmod", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        raise MissingFeature("depmod is missing: apt-get install kmod")
    return path


def _packed(tree: Path) -> list[Path]:
    """The headers of a tree: of its flavour, and those that all flavours share."""
    return [path for path in tree.glob("usr/src/linux-headers-*") if path.is_dir()]


def _fetch_headers(kernel: Kernel, tree: Path, progress: Callable[[str], None]) -> None:
    name = f"linux-headers-{kernel.release}"
    found = packages.described([name]).get(name)
    if found is None:
        raise NettaxError(
            f"the package lists have no {name} any more: fetch a newer kernel.\n"
            f"nettax lab vm clean {kernel.release}"
        )
    parts = [need for need in found.needs if need.startswith(("linux-headers-", "linux-kbuild-"))]
    with cache.partial(_kernels()) as fresh:
        _add(fresh, [name, *parts], progress)
        for makefile in fresh.glob("usr/src/*/Makefile"):
            # Debian's says `include /usr/src/…`, where nothing is installed.
            text = makefile.read_text()
            makefile.write_text(text.replace("include /usr/src/", f"include {tree}/usr/src/"))
        shutil.copytree(fresh / "usr", tree / "usr", symlinks=True, dirs_exist_ok=True)


def _add(tree: Path, names: list[str], progress: Callable[[str], None]) -> None:
    """Fetch packages and unpack them into a tree."""
    known = packages.described(names)
    megabytes = sum(package.size_bytes for package in known.values()) / 1e6
    progress(f"fetching {names[0]} ({megabytes:.0f} MB)")
    fetched = tree / "fetched"
    fetched.mkdir()
    for package in packages.fetch(names, fetched):
        packages.unpack(package, tree)
    shutil.rmtree(fetched)
