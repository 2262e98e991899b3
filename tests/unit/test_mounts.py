"""mountinfo: hybrid cgroups as captured, optional fields, escaped blanks; tracefs below it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nettax.errors import MissingFeature
from nettax.kernel import cgroup, tracefs
from nettax.kernel.mounts import Mount, mounts

CAPTURED = Path(__file__).parents[1] / "fixtures/proc/vm-6.18"


def proc_with(tmp_path: Path, mountinfo: str) -> Path:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mountinfo").write_text(mountinfo)
    return tmp_path


def test_a_captured_hybrid_host() -> None:
    assert cgroup.v2_mount(CAPTURED) == Path("/sys/fs/cgroup/unified")
    assert cgroup.v1_mount("cpu", CAPTURED) == Path("/sys/fs/cgroup/cpu")
    assert cgroup.v1_mount("perf_event", CAPTURED) is None
    assert mounts("nfs", CAPTURED) == []


def test_blanks_are_escaped_and_optional_fields_skipped(tmp_path: Path) -> None:
    proc = proc_with(
        tmp_path,
        r"36 35 98:0 /a\040b /mnt/c\134d\011e rw shared:1 master:2 - ext3 /dev/x rw,errors=x"
        "\n"
        "37 35 0:12 / /t rw - tracefs tracefs rw,gid=4\n",
    )
    assert mounts("ext3", proc) == [
        Mount("/a b", Path("/mnt/c\\d\te"), "ext3", frozenset({"rw", "errors=x"}))
    ]
    assert tracefs.tracefs_mount(proc) == Path("/t")


def test_what_is_not_mounted_says_how_to_mount_it(tmp_path: Path) -> None:
    proc = proc_with(tmp_path, "22 27 0:21 / /proc rw - proc proc rw\n")
    with pytest.raises(MissingFeature, match="mount -t tracefs"):
        tracefs.tracefs_mount(proc)
    with pytest.raises(MissingFeature, match="mount -t cgroup2"):
        cgroup.v2_mount(proc)


def test_event_ids(tmp_path: Path) -> None:
    event = tmp_path / "events/napi/napi_poll"
    event.mkdir(parents=True)
    (event / "id").write_text("1234\n")
    (tmp_path / "events/napi/enable").write_text("0\n")
    assert tracefs.events("napi", tmp_path) == ["napi_poll"]
    assert tracefs.event_id("napi", "napi_poll", tmp_path) == 1234
    with pytest.raises(MissingFeature, match="napi:napi_pull"):
        tracefs.event_id("napi", "napi_pull", tmp_path)
    with pytest.raises(MissingFeature, match=r"nope:\*"):
        tracefs.events("nope", tmp_path)
