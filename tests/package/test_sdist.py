"""The sdist: what is in it, and that it builds anywhere, here and for another machine."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from tests.package.running import ROOT, run

from nettax.version import __version__

CROSS = pytest.mark.skipif(
    not shutil.which("aarch64-linux-gnu-gcc"), reason="needs a cross compiler: make dist"
)


def test_contents(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tops = {name.split("/")[0] for name in names}
    assert tops == {
        ".gitignore",
        "CHANGELOG.md",
        "LICENSES",
        "PKG-INFO",
        "README.md",
        "contrib",
        "hatch_build.py",
        "kmod",
        "pyproject.toml",
        "src",
    }
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "src").rglob("*.[ch]")}
    assert sources <= names
    assert not [name for name in names if name.endswith((".o", ".so", ".pyc", "-server"))]


@pytest.mark.full
def test_builds_and_runs_from_its_own_tarball(sdist: Path, tmp_path: Path) -> None:
    """As `pip install nettax` does where there is no wheel: with an environment of its own."""
    run(sys.executable, "-m", "venv", tmp_path)
    run(tmp_path / "bin/pip", "install", "--quiet", "--no-cache-dir", sdist)
    done = run(tmp_path / "bin/nettax", "--version", PYTHONPATH="")
    assert done.startswith(f"nettax {__version__}\n")


@pytest.mark.full
@CROSS
def test_the_same_commit_gives_the_same_bytes(tmp_path: Path) -> None:
    run("git", "clone", "--quiet", ROOT, tmp_path / "tree")  # this one may change meanwhile
    script = 'cd "$1" && exec sh scripts/dist.sh "$2"'
    digests = []
    for number in ("first", "second"):
        run("sh", "-c", script, "-", tmp_path / "tree", tmp_path / number, PYTHON=sys.executable)
        files = sorted((tmp_path / number).iterdir())
        digests.append({f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files})
    assert len(digests[0]) == 3
    assert digests[0] == digests[1]


@pytest.fixture(scope="module")
def arm64(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel for arm64, unpacked."""
    out = tmp_path_factory.mktemp("arm64")
    run("sh", "scripts/dist.sh", out, PYTHON=sys.executable, MACHINES="aarch64")
    (wheel,) = out.glob("*.whl")
    assert wheel.stem.endswith("_aarch64")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(out)  # noqa: S202
    return out


@pytest.mark.full
@CROSS
def test_arm64_has_the_same_objects_and_a_library_of_its_own(
    arm64: Path, contents: dict[str, bytes]
) -> None:
    for path in (arm64 / "nettax/bpf").glob("*.o"):
        assert path.read_bytes() == contents[f"nettax/bpf/{path.name}"]
    for binary in ("native/libnettax.so", "native/qemu/count.so", "servers/nettax-server"):
        assert "AArch64" in run("readelf", "-h", arm64 / "nettax" / binary)


@pytest.mark.full
@pytest.mark.timeout(600)
@CROSS
def test_arm64_runs_emulated(arm64: Path, tmp_path: Path) -> None:
    """By qemu's user emulation, which has no bpf(2): up to where the programs would be loaded."""
    if not (shutil.which("qemu-aarch64-static") and shutil.which("mmdebstrap")):
        pytest.skip("needs qemu-user-static and mmdebstrap")
    system = tmp_path / "system"
    run(
        *("mmdebstrap", "--quiet", "--mode=root", "--variant=extract", "--skip=check/qemu"),
        *("--architectures=arm64", "--include=python3,libbpf1", "trixie", system),
    )
    if not (system / "lib").exists():
        (system / "lib").symlink_to("usr/lib")
    run(sys.executable, "-m", "pip", "install", "--quiet", "--target", arm64, "click", "pyroute2")
    python = (
        *("qemu-aarch64-static", "-L", str(system)),
        *("-E", f"PYTHONHOME={system}/usr", "-E", f"PYTHONPATH={arm64}"),
        f"{system}/usr/bin/python3",
    )
    told = run(*python, "-m", "nettax", "--version")
    assert told.startswith(f"nettax {__version__}\n")
    assert "machine:        aarch64" in told
    run(*python, "-c", "import os, ctypes as c, nettax.native as n; c.CDLL(n.PATH, os.RTLD_NOW)")
    doctor = subprocess.run([*python, "-m", "nettax", "doctor"], capture_output=True, text=True)
    assert doctor.returncode == 77
    assert "Function not implemented" in doctor.stdout
    assert doctor.stderr == ""
