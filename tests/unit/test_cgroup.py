"""The map of cgroups, over plain directories: they have inode numbers too."""

from __future__ import annotations

from pathlib import Path

import pytest

from nettax.errors import MissingFeature, UsageError
from nettax.kernel.cgroup import Cgroups, cgroup_of

CAPTURED = Path(__file__).parents[1] / "fixtures/proc/vm-6.18"


def add(mount: Path, path: str) -> int:
    directory = mount / path
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "cgroup.procs").touch()
    return directory.stat().st_ino


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    top = tmp_path / "cgroup"
    for path in ("", "web", "web/a", "web/a/deep", "webby"):
        add(top, path)
    (tmp_path / "cgroup.procs").touch()  # a trap above the mount
    return top


def test_ids_name_paths(mount: Path) -> None:
    cgroups = Cgroups(mount)
    assert cgroups.path(mount.stat().st_ino) == "/"
    assert cgroups.path((mount / "web/a").stat().st_ino) == "/web/a"


class CountedWalks(Cgroups):
    """Cgroups that count their walks."""

    walks = 0

    def _walk(self) -> None:
        self.walks += 1
        super()._walk()


def test_a_miss_looks_again_once(mount: Path) -> None:
    cgroups = CountedWalks(mount)
    late = add(mount, "late")
    assert cgroups.path(late) == "/late"
    assert cgroups.walks == 2
    for _ in range(3):
        assert cgroups.path(1 << 60) is None
    assert cgroups.walks == 3


def test_a_removed_cgroup_keeps_its_name_for_late_events(mount: Path) -> None:
    cgroups = Cgroups(mount)
    gone = (mount / "webby").stat().st_ino
    (mount / "webby/cgroup.procs").unlink()
    (mount / "webby").rmdir()
    assert cgroups.path(gone) == "/webby"


def test_the_spellings_of_a_cgroup(mount: Path) -> None:
    cgroups = Cgroups(mount)
    expected = (mount / "web/a").stat().st_ino
    for name in ("web/a", "/web/a", "web/a/", "./web/../web/a", str(mount / "web/a")):
        assert cgroups.resolve(name) == expected
    assert cgroups.resolve("/") == cgroups.resolve(str(mount)) == mount.stat().st_ino


@pytest.mark.parametrize("name", ["", "nope", "..", "../..", "web/cgroup.procs", "/etc", "x" * 999])
def test_no_such_cgroup(mount: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no cgroup"):
        Cgroups(mount).resolve(name)


def test_the_cgroup_of_a_task() -> None:
    assert cgroup_of(7391, proc=CAPTURED) == "/"
    assert cgroup_of(7391, "cpu", CAPTURED) == "/"
    assert cgroup_of(1, proc=CAPTURED) is None
    with pytest.raises(MissingFeature, match="rdma"):
        cgroup_of(7391, "rdma", CAPTURED)


def test_the_path_of_a_cgroup_may_hold_colons(tmp_path: Path) -> None:
    (tmp_path / "5").mkdir()
    (tmp_path / "5/cgroup").write_text("1:cpu,cpuacct:/old\n0::/a:b/c\n")
    assert cgroup_of(5, proc=tmp_path) == "/a:b/c"
    assert cgroup_of(5, "cpuacct", tmp_path) == "/old"
