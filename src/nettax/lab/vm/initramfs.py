"""What the guest starts from: busybox, a few modules, and two scripts."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from nettax.errors import MissingFeature
from nettax.lab.vm import modules
from nettax.lab.vm.cpio import Archive

__all__ = ["BUSYBOX", "Parts", "write"]

BUSYBOX = Path("/bin/busybox")
_HERE = Path(__file__).parent
_MOUNT_POINTS = ("proc", "sys", "dev", "lower", "upper", "work", "new")
_LINKS = {"fd": "fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
_FIRST = (
    ("proc", "/proc", "proc", "defaults"),
    ("sysfs", "/sys", "sysfs", "defaults"),
    ("devtmpfs", "/dev", "devtmpfs", "defaults"),
)
_SECOND = (
    *_FIRST,
    ("devpts", "/dev/pts", "devpts", "mode=620,ptmxmode=666"),
    ("tmpfs", "/dev/shm", "tmpfs", "mode=1777"),  # noqa: S108
    ("cgroup2", "/sys/fs/cgroup", "cgroup2", "defaults"),
    ("bpf", "/sys/fs/bpf", "bpf", "defaults"),
    ("tracefs", "/sys/kernel/tracing", "tracefs", "defaults"),
    ("debugfs", "/sys/kernel/debug", "debugfs", "defaults"),
)
_PT_INTERP = b"\x03\0\0\0"


@dataclass(frozen=True)
class Parts:
    """What differs from guest to guest."""

    release: str
    """The kernel's."""
    drivers: Sequence[Path]
    """Modules to load before anything is mounted, each after those that it needs."""
    binds: Mapping[str, Path]
    """Directories of the guest, by plain paths, that are to show others of the host."""
    settings: Mapping[str, str]
    """Variables that agent.sh reads."""


def write(out: BinaryIO, parts: Parts) -> None:
    """Write the initramfs.

    :raises MissingFeature: there is no busybox that runs without libraries.
    """
    archive = Archive(out)
    for directory in _MOUNT_POINTS:
        archive.directory(directory)
    archive.character_device("dev/console", 5, 1)
    archive.file("init", (_HERE / "init.sh").read_bytes(), 0o755)
    archive.file("nettax-lab/busybox", _busybox(), 0o755)
    archive.symlink("bin/busybox", "/nettax-lab/busybox")
    archive.file("fstab", _fstab(_FIRST))
    for name, target in _LINKS.items():
        archive.symlink(f"links/{name}", f"/proc/self/{target}")
    archive.file("directories", _line(f"/new{directory}" for directory in parts.binds))
    _drivers(archive, parts)

    binds = ((_escaped(path), where, "none", "bind") for where, path in parts.binds.items())
    archive.file("nettax-lab/agent.sh", (_HERE / "agent.sh").read_bytes())
    archive.file("nettax-lab/fstab", _fstab((*_SECOND, *binds)))
    said = (f"{name}={shlex.quote(value)}\n" for name, value in parts.settings.items())
    archive.file("nettax-lab/settings", "".join(said).encode())
    archive.close()


def _drivers(archive: Archive, parts: Parts) -> None:
    """The modules, and the list that modprobe wants; their order is right already."""
    names = [modules.name_of(str(path)) for path in parts.drivers]
    directory = f"lib/modules/{parts.release}"
    for name, path in zip(names, parts.drivers, strict=True):
        archive.file(f"{directory}/{name}.ko", modules.content(path))
    archive.file(f"{directory}/modules.dep", "".join(f"{name}.ko:\n" for name in names).encode())
    archive.file("drivers", _line(names))


def _fstab(lines: Iterable[tuple[str, str, str, str]]) -> bytes:
    return "".join(" ".join((*line, "0 0\n")) for line in lines).encode()


def _escaped(path: Path) -> str:
    """A path as fstab(5) has it."""
    return "".join(f"\\{ord(c):03o}" if c in " \t\n\\" else c for c in str(path))


def _line(words: Iterable[str]) -> bytes:
    return (" ".join(words) + "\n").encode()


def _busybox() -> bytes:
    try:
        program = BUSYBOX.read_bytes()
    except OSError:
        program = b""
    if not _is_static(program):
        raise MissingFeature(
            f"there is no static {BUSYBOX}, which the guest starts from: "
            "apt-get install busybox-static"
        )
    return program


def _is_static(program: bytes) -> bool:
    """Whether an ELF file of 64 bits asks for no interpreter (elf(5): e_phoff, PT_INTERP)."""
    if program[:5] != b"\x7fELF\x02":
        return False
    start = int.from_bytes(program[32:40], "little")
    size, count = (int.from_bytes(program[at : at + 2], "little") for at in (54, 56))
    headers = (program[start + n * size :][:4] for n in range(count))
    return _PT_INTERP not in headers
