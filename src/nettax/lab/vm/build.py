"""Build modules out of their tree, for a kernel of the lab.

The sources are copied and built in the cache, under a name made of their content: nothing is left
beside them, and what was built once is not built again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nettax.errors import MissingFeature, NettaxError, UsageError
from nettax.lab.vm import cache, kernels, modules
from nettax.lab.vm.kernels import Kernel

__all__ = ["Built", "Module", "built"]

_SHOWN = 15  # lines of the compiler's in an error


@dataclass(frozen=True)
class Module:
    """A directory with a Makefile or Kbuild for kbuild, and words for each module in it."""

    directory: Path
    parameters: tuple[str, ...] = ()
    """NAME=VALUE, as insmod(8) takes them."""


@dataclass(frozen=True)
class Built:
    """Modules that are ready to be loaded."""

    files: tuple[Path, ...]
    """In the order of the Makefile."""
    parameters: tuple[str, ...]

    def needs(self) -> set[str]:
        """Modules of the kernel's own that are to be loaded before these."""
        own = {modules.name_of(str(path)) for path in self.files}
        return {need for path in self.files for need in modules.needs_of(path.read_bytes())} - own


def built(
    kernel: Kernel, module: Module, progress: Callable[[str], None] = lambda _: None
) -> Built:
    """Build a module, or find it built.

    :raises UsageError: the directory is no module's.
    :raises MissingFeature: headers, make or the kernel's compiler are missing.
    :raises NettaxError: it does not build; the message ends with what the compiler says.
    """
    source = module.directory
    if not any((source / name).is_file() for name in ("Kbuild", "Makefile")):
        raise UsageError(f"{source} has no Kbuild and no Makefile to build modules by.")
    headers = kernels.with_headers(kernel, progress)
    place = cache.root() / "modules" / kernel.release / _content(source)
    if not place.exists():
        with cache.locked(place.parent):
            if not place.exists():  # nobody else has built it meanwhile
                progress(f"building {source} for Linux {kernel.release}")
                _build(headers, source, place)
    order = (place / "modules.order").read_text().split()
    # Whole paths until Linux 6.10 or so, and then those from the directory on, to .o files.
    found = [(place / name.rpartition(f"{place.name}/")[2]).with_suffix(".ko") for name in order]
    files = tuple(place / path.name if not path.exists() else path for path in found)
    return Built(files, module.parameters)


def _build(headers: Path, source: Path, place: Path) -> None:
    """Build in a directory of its own, and put it in place when it is complete."""
    with cache.partial(place.parent) as copy:
        ignored = shutil.ignore_patterns(".git", "*.ko", "*.o")
        shutil.copytree(source, copy, ignore=ignored, dirs_exist_ok=True)
        _make(headers, copy, source)
        copy.rename(place)


def _content(source: Path) -> str:
    """A name for what the directory holds."""
    digest = hashlib.sha256()
    for path in sorted(source.rglob("*")):
        if path.is_file() and path.suffix not in (".ko", ".o") and ".git" not in path.parts:
            digest.update(f"{path.relative_to(source)}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _make(headers: Path, place: Path, source: Path) -> None:
    command = [
        "make",
        "-s",
        "--no-print-directory",
        "-C",
        str(headers),
        f"M={place}",
        f"-j{os.cpu_count()}",
        "modules",
    ]
    # BTF of modules takes the vmlinux with its BTF beside the headers, and pahole.
    command.append("CONFIG_DEBUG_INFO_BTF_MODULES=")
    try:
        run = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise MissingFeature("make is missing: apt-get install make") from None
    if run.returncode:
        # What the compiler says, of the sources where they are: they were copied here to be built.
        said = (run.stdout + run.stderr).replace(f"{place}/", f"{source}/").strip().splitlines()
        lines = [line for line in said if not line.startswith("make")][:_SHOWN] or said[-_SHOWN:]
        if compiler := _missing_compiler(lines):
            raise MissingFeature(
                f"{compiler} is missing, which this kernel was built with: "
                f"apt-get install {compiler}"
            )
        raise NettaxError("\n  ".join([f"{source} does not build:", *lines]))


def _missing_compiler(lines: list[str]) -> str | None:
    """The compiler that a shell did not find: Debian's headers ask for one by its version."""
    for line in lines:
        words = line.replace(":", " ").split()
        if "not found" in line and (name := next((w for w in words if w.startswith("gcc-")), None)):
            return name
    return None
