"""A kernel's image: what it says of itself, and the vmlinux that a bzImage carries."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from nettax.errors import MissingFeature, NettaxError, UsageError
from nettax.lab.vm import image

ELF = b"\x7fELF" + bytes(range(256)) * 64
RELEASE = "6.1.0-56-amd64"


def bzimage(payload: bytes, sectors: int = 7) -> bytes:
    """An image as arch/x86/boot/header.S lays it out, with only what is read."""
    setup = bytearray((sectors + 1) * 512)
    setup[0x1F1] = sectors
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x206, 0x20F)
    struct.pack_into("<H", setup, 0x20E, 0x600)
    text = f"{RELEASE} (someone@somewhere) #1 SMP\0".encode()
    setup[0x800 : 0x800 + len(text)] = text
    stub, size = b"decompressor" * 10, struct.pack("<I", len(ELF))
    struct.pack_into("<II", setup, 0x248, len(stub), len(payload) + len(size))
    return bytes(setup) + stub + payload + size + b"what follows"


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-cq"], input=data, capture_output=True, check=True).stdout


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "zstd": zstd,
    "none": lambda data: data,
}


@pytest.mark.parametrize("packer", PACKERS)
def test_the_vmlinux_inside(packer: str, tmp_path: Path) -> None:
    if packer == "zstd" and shutil.which("zstd") is None:
        pytest.skip("needs zstd")
    path = tmp_path / "vmlinuz"
    path.write_bytes(bzimage(PACKERS[packer](ELF)))
    assert image.vmlinux(path) == ELF
    assert image.release(path) == RELEASE
    assert not image.is_elf(path)


def test_setup_sectors_may_be_untold(tmp_path: Path) -> None:
    """Zero means four, for old loaders' sake."""
    data = bytearray(bzimage(gzip.compress(ELF), sectors=4))
    data[0x1F1] = 0
    path = tmp_path / "vmlinuz"
    path.write_bytes(data)
    assert image.vmlinux(path) == ELF


def test_a_vmlinux_says_its_release(tmp_path: Path) -> None:
    path = tmp_path / "vmlinux"
    path.write_bytes(ELF + b"Linux version 6.12.1 (a@b) #1 SMP\0")
    assert image.is_elf(path)
    assert image.release(path) == "6.12.1"


def test_what_is_no_kernel(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"not a kernel" * 100)
    for read in (image.release, image.vmlinux):
        with pytest.raises(UsageError, match=str(path)):
            read(path)


def test_damage_is_told(tmp_path: Path) -> None:
    path = tmp_path / "vmlinuz"
    packed = bytearray(lzma.compress(ELF))
    packed[len(packed) // 2] ^= 0xFF
    path.write_bytes(bzimage(bytes(packed)))
    with pytest.raises(NettaxError, match="damaged"):
        image.vmlinux(path)
    path.write_bytes(bzimage(gzip.compress(b"no ELF at all")))
    with pytest.raises(NettaxError, match="no ELF"):
        image.vmlinux(path)


def test_a_packing_without_its_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "vmlinuz"
    path.write_bytes(bzimage(b"\x28\xb5\x2f\xfd" + bytes(20)))
    with pytest.raises(MissingFeature, match="apt-get install zstd"):
        image.vmlinux(path)
