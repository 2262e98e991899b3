"""The initramfs's archive, read back by cpio's own rules and by cpio where it is installed."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import pytest

from nettax.lab.vm.cpio import Archive


def written() -> bytes:
    out = io.BytesIO()
    archive = Archive(out)
    archive.directory("proc")
    archive.character_device("dev/console", 5, 1)
    archive.file("bin/deep/tool", b"#!tool\n", 0o755)
    archive.file("bin/deep/odd", b"12345")
    archive.symlink("bin/sh", "deep/tool")
    archive.close()
    return out.getvalue()


def entries(data: bytes) -> list[tuple[str, list[int], bytes]]:
    """Names, the thirteen numbers, contents: buffer-format.rst of the kernel."""
    found, at = [], 0
    while True:
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * n :][:8], 16) for n in range(13)]
        name = data[at + 110 : at + 110 + fields[11] - 1].decode()
        start = (at + 110 + fields[11] + 3) & ~3
        found.append((name, fields, data[start : start + fields[6]]))
        at = (start + fields[6] + 3) & ~3
        if name == "TRAILER!!!":
            assert at == len(data)
            return found


def test_entries_and_their_order() -> None:
    assert [name for name, _, _ in entries(written())] == [
        *("proc", "dev", "dev/console", "bin", "bin/deep", "bin/deep/tool", "bin/deep/odd"),
        *("bin/sh", "TRAILER!!!"),
    ]


def test_modes_contents_devices() -> None:
    found = {name: (fields, data) for name, fields, data in entries(written())}
    assert [oct(found[name][0][1]) for name in ("proc", "dev/console", "bin/deep/tool")] == [
        *("0o40755", "0o20600", "0o100755")
    ]
    assert found["dev/console"][0][9:11] == [5, 1]
    assert found["bin/deep/odd"][1] == b"12345"
    assert found["bin/sh"][1] == b"deep/tool"
    numbers = [fields[0] for fields, _ in found.values()]
    assert len(set(numbers)) == len(numbers)


def test_the_same_again() -> None:
    assert written() == written()


@pytest.mark.skipif(shutil.which("busybox") is None, reason="needs busybox")
def test_as_busybox_reads_it(tmp_path: Path) -> None:
    subprocess.run(["busybox", "cpio", "-id", "bin/*"], input=written(), cwd=tmp_path, check=True)
    assert (tmp_path / "bin/sh").read_bytes() == b"#!tool\n"
    assert (tmp_path / "bin/deep/tool").stat().st_mode & 0o777 == 0o755
