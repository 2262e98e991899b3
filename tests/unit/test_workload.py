"""What a cgroup's path tells, on paths as engines and managers make them, and on any other."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nettax.kernel.workload import KINDS, workload

ID = "4f0d1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7"
SHORT = ID[:12]
OTHER = "ab" * 32
UID = "8d4b2f7e-1c3a-4e5b-9f60-7a8b9c0d1e2f"
UID_ = UID.replace("-", "_")
HASH = "0123456789abcdef0123456789abcdef"
USER = "/user.slice/user-1000.slice"
MANAGER = f"{USER}/user@1000.service"
CONTAINERS = "/kubepods.slice/kubepods-burstable.slice"

# Each: the path, the kind, the name, and how much of the path is the workload's top.
PATHS = [
    ("/", "root", "/", "/"),
    # docker, by either cgroup driver; as ECS starts it; nested; systemd inside
    (f"/system.slice/docker-{ID}.scope", "docker", SHORT, None),
    (f"/docker/{ID}", "docker", SHORT, None),
    (f"/docker/{ID}/system.slice/nginx.service", "docker", SHORT, f"/docker/{ID}"),
    (f"/docker/{ID}/docker/{OTHER}", "docker", OTHER[:12], None),
    (f"/system.slice/docker-{ID}.scope/init", "docker", SHORT, f"/system.slice/docker-{ID}.scope"),
    (f"{MANAGER}/user.slice/docker-{ID}.scope", "docker", SHORT, None),
    (f"/ecs/{HASH}/{ID}", "docker", SHORT, None),
    (f"/system.slice/ecs-{HASH}.slice/docker-{ID}.scope", "docker", SHORT, None),
    ("/system.slice/docker.service", "service", "docker.service", None),
    ("/docker", "cgroup", "docker", None),
    ("/docker/buildkit/x7y2", "cgroup", "docker/buildkit/x7y2", None),
    # podman: root's, a user's, in a pod, quadlet's split cgroups, by cgroupfs
    (f"/machine.slice/libpod-{ID}.scope", "podman", SHORT, None),
    (
        f"/machine.slice/libpod-{ID}.scope/container",
        "podman",
        SHORT,
        f"/machine.slice/libpod-{ID}.scope",
    ),
    (f"{MANAGER}/user.slice/libpod-{ID}.scope", "podman", SHORT, None),
    (f"/machine.slice/machine-libpod_pod_{OTHER}.slice/libpod-{ID}.scope", "podman", SHORT, None),
    (f"/system.slice/web.service/libpod-payload-{ID}", "podman", SHORT, None),
    ("/system.slice/web.service/runtime", "service", "web.service", "/system.slice/web.service"),
    (f"/libpod_parent/libpod-{ID}", "podman", SHORT, None),
    (
        f"/machine.slice/libpod-conmon-{ID}.scope",
        "scope",
        f"libpod-conmon-{SHORT}.scope",
        None,
    ),
    # kubernetes: every class of service, runtime and driver; kind, which nests it in docker
    (
        f"{CONTAINERS}/kubepods-burstable-pod{UID_}.slice/cri-containerd-{ID}.scope",
        "kubernetes",
        f"{UID}/{SHORT}",
        None,
    ),
    (
        f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UID_}.slice"
        f"/crio-{ID}.scope/container",
        "kubernetes",
        f"{UID}/{SHORT}",
        f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UID_}.slice"
        f"/crio-{ID}.scope",
    ),
    (
        f"/kubepods.slice/kubepods-pod{UID_}.slice/docker-{ID}.scope",
        "kubernetes",
        f"{UID}/{SHORT}",
        None,
    ),
    (f"/kubepods.slice/kubepods-pod{HASH}.slice", "kubernetes", HASH, None),
    (
        f"{CONTAINERS}/kubepods-burstable-pod{UID_}.slice/crio-conmon-{ID}.scope",
        "kubernetes",
        UID,
        f"{CONTAINERS}/kubepods-burstable-pod{UID_}.slice",
    ),
    (f"/kubepods/burstable/pod{UID}/{ID}", "kubernetes", f"{UID}/{SHORT}", None),
    (f"/kubepods/besteffort/pod{UID}/{ID}", "kubernetes", f"{UID}/{SHORT}", None),
    (f"/kubepods/pod{UID}/{ID}", "kubernetes", f"{UID}/{SHORT}", None),
    (f"/kubepods/pod{UID}", "kubernetes", UID, None),
    (
        f"/docker/{OTHER}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice"
        f"/kubelet-kubepods-burstable-pod{UID_}.slice/cri-containerd-{ID}.scope",
        "kubernetes",
        f"{UID}/{SHORT}",
        None,
    ),
    ("/kubepods.slice/kubepods-burstable.slice", "slice", "kubepods-burstable.slice", None),
    # containerd by itself
    (f"/system.slice/nerdctl-{ID}.scope", "containerd", SHORT, None),
    (f"/default/{ID}", "containerd", SHORT, None),
    # LXC, LXD, Proxmox, libvirt's
    ("/lxc.payload.web", "lxc", "web", None),
    ("/lxc.payload.web/system.slice/ssh.service", "lxc", "web", "/lxc.payload.web"),
    ("/lxc.payload.a/lxc.payload.b/init.scope", "lxc", "b", "/lxc.payload.a/lxc.payload.b"),
    ("/lxc/101/ns/init.scope", "lxc", "101", "/lxc/101"),
    (r"/machine.slice/machine-lxc\x2d77\x2dweb.scope", "lxc", "web", None),
    ("/lxc.monitor.web", "cgroup", "lxc.monitor.web", None),
    # nspawn, with and without its unit
    (
        "/machine.slice/systemd-nspawn@deb12.service/payload/init.scope",
        "nspawn",
        "deb12",
        "/machine.slice/systemd-nspawn@deb12.service",
    ),
    (r"/machine.slice/machine-my\x2dbox.scope", "nspawn", "my-box", None),
    # virtual machines
    (
        r"/machine.slice/machine-qemu\x2d12\x2dmy\x2dvm.scope/libvirt/vcpu0",
        "vm",
        "my-vm",
        r"/machine.slice/machine-qemu\x2d12\x2dmy\x2dvm.scope",
    ),
    ("/machine/web.libvirt-qemu/emulator", "vm", "web", "/machine/web.libvirt-qemu"),
    ("/qemu.slice/100.scope", "vm", "100", None),
    ("/firecracker/f00", "vm", "f00", None),
    # systemd's own
    ("/init.scope", "scope", "init.scope", None),
    ("/system.slice", "slice", "system.slice", None),
    ("/system.slice/ssh.service", "service", "ssh.service", None),
    (
        "/system.slice/system-getty.slice/getty@tty1.service",
        "service",
        "getty@tty1.service",
        None,
    ),
    (
        "/system.slice/systemd-udevd.service/udev",
        "service",
        "systemd-udevd.service",
        "/system.slice/systemd-udevd.service",
    ),
    ("/system.slice/_cpu.service", "service", "cpu.service", None),
    (f"{USER}/session-2.scope", "session", "session-2 of user 1000", None),
    (f"{MANAGER}/init.scope", "scope", "init.scope of user 1000", None),
    (f"{MANAGER}/app.slice/dbus.service", "service", "dbus.service of user 1000", None),
    ("/system.slice/dbus.service", "service", "dbus.service", None),
    (
        "/user.slice/user-1001.slice/user@1001.service/session.slice/dbus.service/main",
        "service",
        "dbus.service of user 1001",
        "/user.slice/user-1001.slice/user@1001.service/session.slice/dbus.service",
    ),
    (
        f"{MANAGER}/app.slice/app-org.gnome.Terminal.slice/vte-spawn-0a1b.scope",
        "scope",
        "vte-spawn-0a1b.scope of user 1000",
        None,
    ),
    (f"{MANAGER}/app.slice", "service", "user@1000.service", MANAGER),
    (USER, "slice", "user-1000.slice", None),
    # anybody's
    ("/web", "cgroup", "web", None),
    ("/web/a b:c/[deep]", "cgroup", "web/a b:c/[deep]", None),
    (f"/batch/{ID}", "cgroup", f"batch/{SHORT}", None),
]


@pytest.mark.parametrize(("path", "kind", "name", "top"), PATHS, ids=[p[0][:60] for p in PATHS])
def test_real_paths(path: str, kind: str, name: str, top: str | None) -> None:
    found = workload(path)
    assert (found.kind, found.name, found.path) == (kind, name, path if top is None else top)


PARTS = st.one_of(
    st.text(st.characters(blacklist_characters="/\n\0"), min_size=1, max_size=12),
    st.sampled_from(
        [part for path, *_ in PATHS for part in path.split("/") if part]
        + ["docker", "ecs", "lxc", "machine.slice", "qemu.slice", "default", "firecracker"]
    ),
)
ANY = st.lists(PARTS, max_size=6).map(lambda parts: "/" + "/".join(parts))


@given(ANY)
def test_any_path_belongs_to_a_cgroup_above_it_or_itself(path: str) -> None:
    found = workload(path)
    assert found.kind in KINDS
    assert found.name
    assert (path + "/").startswith(found.path.rstrip("/") + "/")
    assert found.path == "/" or len(found.path) > 1


@given(ANY)
def test_the_top_of_a_workload_is_the_same_workload(path: str) -> None:
    found = workload(path)
    assert workload(found.path) == found


@given(ANY, st.sampled_from(["init.scope", "app.slice", "x.service", "x", "payload"]))
def test_what_is_below_a_container_is_the_container(path: str, below: str) -> None:
    found = workload(path)
    assume(not path.endswith(("/lxc", "/firecracker")))  # what comes next is a container of theirs
    if found.kind in ("docker", "podman", "kubernetes", "containerd", "lxc", "nspawn", "vm"):
        assert workload(f"{path}/{below}") == found
