"""What a kernel's image says of itself, and the vmlinux that a bzImage carries.

The header of a bzImage: Documentation/arch/x86/boot.rst in the kernel's tree.
"""

from __future__ import annotations

import bz2
import lzma
import mmap
import re
import struct
import subprocess
import zlib
from pathlib import Path

from nettax.errors import MissingFeature, NettaxError, UsageError

__all__ = ["is_elf", "release", "vmlinux"]

_ELF = b"\x7fELF"
_SETUP_SECTORS, _MAGIC, _PROTOCOL, _VERSION, _PAYLOAD = 0x1F1, 0x202, 0x206, 0x20E, 0x248
_SECTOR = 512
_WITH_PAYLOAD = 0x0208  # the protocol's version that brought payload_offset and payload_length
_SIZE_BYTES = 4  # of the unpacked size, which the kernel's build appends to the payload
_BANNER = re.compile(rb"Linux version (\S+) ")


def is_elf(image: Path) -> bool:
    """Whether an image is a vmlinux, which QEMU starts without a boot loader."""
    with image.open("rb") as file:
        return file.read(len(_ELF)) == _ELF


def release(image: Path) -> str:
    """The release of a bzImage or vmlinux, as ``uname -r`` will say it.

    :raises UsageError: it is neither.
    """
    with image.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        if data[: len(_ELF)] == _ELF:
            if found := _BANNER.search(data):
                return found[1].decode()
        elif _is_bzimage(data):
            (offset,) = struct.unpack_from("<H", data, _VERSION)
            text = data[_SECTOR + offset : _SECTOR + offset + 256]
            return text.split(b" ", 1)[0].decode(errors="replace")
    raise UsageError(f"{image} is no kernel for x86-64: give a bzImage (vmlinuz) or a vmlinux.")


def vmlinux(image: Path) -> bytes:
    """The vmlinux inside a bzImage.

    :raises UsageError: it is no bzImage.
    :raises MissingFeature: what it is packed with cannot be unpacked here.
    :raises NettaxError: it is damaged.
    """
    data = image.read_bytes()
    if not _is_bzimage(data) or struct.unpack_from("<H", data, _PROTOCOL)[0] < _WITH_PAYLOAD:
        raise UsageError(f"{image} is no bzImage that tells where its kernel is.")
    offset, length = struct.unpack_from("<II", data, _PAYLOAD)
    start = ((data[_SETUP_SECTORS] or 4) + 1) * _SECTOR + offset
    try:
        unpacked = _unpack(data[start : start + length - _SIZE_BYTES], image)
    except (EOFError, OSError, lzma.LZMAError, zlib.error, subprocess.CalledProcessError) as error:
        raise NettaxError(f"{image} is damaged: {error}.") from error
    if not unpacked.startswith(_ELF):
        raise NettaxError(f"{image} is damaged: what it carries is no ELF file.")
    return unpacked


def _is_bzimage(data: bytes | mmap.mmap) -> bool:
    return len(data) > _PAYLOAD + 8 and data[_MAGIC : _MAGIC + 4] == b"HdrS"


def _unpack(payload: bytes, image: Path) -> bytes:
    """Undo the packing that the payload's first bytes tell of (usr/Kconfig has the list)."""
    if payload.startswith(_ELF):
        return payload
    if payload.startswith(b"\xfd7zXZ\0"):
        return lzma.decompress(payload)
    if payload.startswith(b"\x1f\x8b"):
        return zlib.decompress(payload, wbits=31)
    if payload.startswith(b"BZh"):
        return bz2.decompress(payload)
    if payload.startswith(b"\x5d\0\0"):
        return lzma.decompress(payload, format=lzma.FORMAT_ALONE)
    for magic, tool in ((b"\x28\xb5\x2f\xfd", "zstd"), (b"\x02\x21\x4c\x18", "lz4")):
        if payload.startswith(magic):
            try:
                run = subprocess.run([tool, "-dcq"], input=payload, capture_output=True, check=True)
            except FileNotFoundError:
                raise MissingFeature(
                    f"{tool} is missing, which {image} is packed with: apt-get install {tool}"
                ) from None
            return run.stdout
    raise MissingFeature(f"{image} is packed in a way that nettax does not know.")
