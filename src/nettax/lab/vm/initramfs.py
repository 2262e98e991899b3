"""What the guest starts from: busybox, a few modules, and two scripts."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from nettax.errors import MissingFeature
from nettax.lab.vm import modules
from nettax.lab.vm.cpio import Archive

__all__ = ["BUSYBOX", "write"]

BUSYBOX = Path("/bin/busybox")
_HERE = Path(__file__).parent
_MOUNT_POINTS = ("proc", "sys", "dev", "lower", "upper", "new", "modules")
_PT_INTERP = b"\x03\0\0\0"


def write(out: BinaryIO, drivers: Sequence[Path], settings: Mapping[str, str]) -> None:
    """Write an initramfs that loads these modules, in this order.

    ``settings`` are the variables that agent.sh reads.

    :raises MissingFeature: there is no busybox that runs without libraries.
    """
    archive = Archive(out)
    for directory in _MOUNT_POINTS:
        archive.directory(directory)
    archive.character_device("dev/console", 5, 1)
    archive.file("bin/busybox", _busybox(), 0o755)
    archive.file("init", (_HERE / "init.sh").read_bytes(), 0o755)
    archive.file("agent.sh", (_HERE / "agent.sh").read_bytes())
    said = "".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items())
    archive.file("settings", said.encode())
    names = [f"{modules.name_of(str(path))}.ko" for path in drivers]
    for name, path in zip(names, drivers, strict=True):
        archive.file(f"modules/{name}", modules.content(path))
    archive.file("modules/order", "".join(f"{name}\n" for name in names).encode())
    archive.close()


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
