"""Debian's package lists, modules.dep, and which kernel a name means."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from nettax.errors import MissingFeature, NettaxError, UsageError
from nettax.lab.vm import backports, cache, kernels, modules, packages
from nettax.lab.vm.modules import Modules

LISTS = """\
Package: linux-headers-6.1.0-56-amd64
Source: linux
Version: 6.1.192-2
Installed-Size: 4150
Architecture: amd64
Depends: linux-headers-6.1.0-56-common (= 6.1.192-2), linux-kbuild-6.1 (>= 6.1.192-2), gcc-12 | gcc
Filename: pool/updates/main/l/linux/linux-headers-6.1.0-56-amd64_6.1.192-2_amd64.deb
Size: 1841552
Description: Header files for Linux 6.1.0-56-amd64
 This package provides the architecture-specific kernel header files
 for Linux kernel 6.1.0-56-amd64.
Description-md5: 0123456789abcdef0123456789abcdef

Package: linux-image-6.12-amd64
Version: 6.12.117-1~deb12u1
"""
NAMES = [
    *("6.1.0-9-amd64", "6.1.0-56-amd64", "6.1.0-56-amd64-unsigned", "6.1.0-56-cloud-amd64"),
    *("6.1.0-56-rt-amd64", "6.12.9+bpo-amd64", "6.12.117+deb12-amd64", "6.12-amd64", "amd64"),
    *("6.12.117+deb12-amd64-dbg", "6.12.117+deb12-cloud-amd64", "cloud-amd64", "6.16.3-1-amd64"),
]


def test_stanzas() -> None:
    first, second = packages.parse(LISTS)
    assert first == packages.Package(
        "linux-headers-6.1.0-56-amd64",
        "6.1.192-2",
        ("linux-headers-6.1.0-56-common", "linux-kbuild-6.1", "gcc-12"),
        1841552,
    )
    assert (second.name, second.needs, second.size_bytes) == ("linux-image-6.12-amd64", (), 0)


def test_generic_kernels_only(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "".join(f"linux-image-{name}\n" for name in NAMES)
    monkeypatch.setattr(packages, "_run", lambda *command: said)
    assert packages.images() == [
        *("6.1.0-9-amd64", "6.1.0-56-amd64", "6.12.9+bpo-amd64"),
        *("6.12.117+deb12-amd64", "6.16.3-1-amd64"),
    ]


@pytest.mark.parametrize(
    ("series", "release"),
    [("6.1", "6.1.0-56-amd64"), ("6.12", "6.12.117+deb12-amd64"), ("6.16", "6.16.3-1-amd64")],
)
def test_the_newest_of_a_series(series: str, release: str) -> None:
    assert packages.newest(series, NAMES[:2] + NAMES[5:7] + NAMES[-1:]) == release
    assert packages.newest("6", []) is None
    assert packages.newest("5.10", NAMES) is None


def tree(root: Path, release: str) -> Path:
    """What fetching a kernel leaves, empty."""
    place = root / "nettax/kernels" / release
    (place / "lib/modules" / release).mkdir(parents=True)
    (place / "vmlinux").write_bytes(b"\x7fELF Linux version " + release.encode() + b" (a@b)")
    return place


def test_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kernels.cached() == []
    for release in ("6.12.117+deb12-amd64", "6.1.0-9-amd64", "6.1.0-56-amd64"):
        tree(tmp_path, release)
    (tmp_path / "nettax/kernels/.partial-1").mkdir()
    releases = [kernel.release for kernel in kernels.cached()]
    assert releases == ["6.1.0-9-amd64", "6.1.0-56-amd64", "6.12.117+deb12-amd64"]
    found = kernels.find("6.1")
    assert found.release == "6.1.0-56-amd64"
    assert found.modules == tmp_path / "nettax/kernels/6.1.0-56-amd64/lib/modules/6.1.0-56-amd64"
    assert found.headers is None
    assert kernels.find("6.1.0-9-amd64").release == "6.1.0-9-amd64"
    with cache.leased(tmp_path / "nettax/kernels/6.1.0-56-amd64") as there:
        assert there
        assert kernels.remove("6.1") == (["6.1.0-9-amd64"], ["6.1.0-56-amd64"])
    assert kernels.remove("6.1") == (["6.1.0-56-amd64"], [])
    with cache.leased(tmp_path / "nettax/kernels/6.1.0-56-amd64") as there:
        assert not there
    assert not (tmp_path / "nettax/kernels/.partial-1").exists()
    with pytest.raises(UsageError, match=r"no kernel 6\.1 in the cache"):
        kernels.remove("6.1")
    assert kernels.remove() == (["6.12.117+deb12-amd64"], [])


def test_a_qemu_of_the_backports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest is taken; its own data comes first, and it is not removed while it is used."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert (backports.cached(), backports.remove()) == ([], ([], []))
    for version in ("9.2.0+ds-1~bpo12+1", "10.0.2+ds-2~bpo12+1"):
        tree = tmp_path / "nettax/qemu" / version
        for directory in ("usr/bin", "usr/share/qemu", "usr/lib/x86_64-linux-gnu"):
            (tree / directory).mkdir(parents=True)
        (tree / "usr/bin/qemu-system-x86_64").touch()
    with ExitStack() as stack:
        words = backports.emulator(stack).words
        assert str(tree / "usr/bin/qemu-system-x86_64") in words
        assert words[words.index("-L") + 1] == str(tree / "usr/share/qemu")
        assert backports.remove() == (["9.2.0+ds-1~bpo12+1"], [tree.name])
    assert backports.remove() == ([tree.name], [])


def test_what_qemu_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what apt would install, what QEMU needs; not what it would upgrade beside."""
    uris = "".join(
        f"'http://deb.example/pool/{name}_1%3a10_amd64.deb' {name}_1%3a10_amd64.deb 7 SHA256:0\n"
        for name in ("qemu-system-x86", "qemu-system-data", "seabios", "qemu-user")
    )
    stanzas = (
        "Package: qemu-system-x86\nDepends: libc6 (>= 2.36), qemu-system-data (>> 1), seabios\n\n"
        "Package: qemu-system-data\nDepends: qemu-system-x86\n\n"
        "Package: seabios\n\nPackage: qemu-user\n"
    )
    monkeypatch.setattr(
        packages, "_run", lambda *words: stanzas if words[0] == "apt-cache" else uris
    )
    assert sorted(backports._needed(())) == ["qemu-system-data", "qemu-system-x86", "seabios"]


@pytest.mark.parametrize("text", ["ID=ubuntu\nVERSION_CODENAME=noble\n", ""])
def test_no_backports(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda _: text)
    with pytest.raises(MissingFeature, match="install QEMU 10"):
        backports._release()


def test_a_kernel_that_nobody_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(packages, "images", lambda: ["6.1.0-56-amd64", "6.12.9+bpo-amd64"])
    with pytest.raises(UsageError, match=r"no kernel 9\.9 .* they have 6\.1, 6\.12"):
        kernels.find("9.9")
    with pytest.raises(UsageError, match="there is no kernel /nowhere/vmlinuz"):
        kernels.find("/nowhere/vmlinuz")


def test_a_kernel_by_its_path(tmp_path: Path) -> None:
    """Its modules are found beside it, as in an unpacked package."""
    place = tree(tmp_path, "6.1.0-56-amd64")
    found = kernels.find(str(place / "vmlinux"))
    assert (found.release, found.tree) == ("6.1.0-56-amd64", None)
    assert found.modules == place / "lib/modules/6.1.0-56-amd64"


def test_without_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingFeature, match="give one's path"):
        packages.images()


def test_what_apt_says_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "apt-get"
    tool.write_text("#!/bin/sh\necho 'E: Unable to locate package nonsense' >&2; exit 100\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    with pytest.raises(NettaxError, match=r"locate package nonsense\n.*apt-get update"):
        packages.fetch(["nonsense"], tmp_path)
    tool.write_text("#!/bin/sh\necho 'E: Could not resolve deb.example' >&2; exit 100\n")
    with pytest.raises(NettaxError, match=r"Could not resolve .*\nWithout a network, kernels of"):
        packages.fetch(["nonsense"], tmp_path)
    tool.write_text("#!/bin/sh\necho 'write (28: No space left on device)' >&2; exit 100\n")
    cache_of = tmp_path / "cache"
    with (
        pytest.raises(NettaxError, match=r"No space left on device\.\nSet XDG_CACHE_HOME"),
        cache.locked(cache_of),
        cache.partial(cache_of) as place,
    ):
        packages.fetch(["nonsense"], place)
    assert not list(cache_of.iterdir())


@pytest.fixture
def listed(tmp_path: Path) -> Modules:
    (tmp_path / "modules.dep").write_text(
        "kernel/fs/9p/9p.ko: kernel/net/9p/9pnet.ko kernel/fs/netfs/netfs.ko\n"
        "kernel/net/9p/9pnet.ko:\n"
        "kernel/fs/netfs/netfs.ko:\n"
        "kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko\n"
    )
    (tmp_path / "modules.builtin").write_text("kernel/drivers/virtio/virtio-pci.ko\n")
    return Modules(tmp_path)


def test_modules_come_after_what_they_need(listed: Modules) -> None:
    found = listed.in_order(["virtio_pci", "9pnet-virtio", "9p"])
    assert [path.name for path in found] == [
        *("9pnet.ko", "9pnet_virtio.ko.xz", "netfs.ko", "9p.ko")
    ]
    assert all(path.parent.is_relative_to(listed.directory) for path in found)


def test_a_module_that_the_kernel_lacks(listed: Modules) -> None:
    with pytest.raises(MissingFeature, match="has no overlay"):
        listed.in_order(["overlay"])


def test_needs_that_a_module_names() -> None:
    assert modules.needs_of(b"\x7fELF\0license=GPL\0depends=a,b_c\0name=x\0") == ["a", "b_c"]
    assert modules.needs_of(b"\x7fELF\0license=GPL\0depends=\0name=x\0") == []
    assert modules.needs_of(b"nothing") == []
