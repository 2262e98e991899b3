r"""What runs in a cgroup, as its path tells: a container, a virtual machine, a service, a session.

Container engines and service managers name cgroups by rules that have not changed for years; no
daemon has to be asked, and nothing is read. Where the rules are made:

* docker: ``docker-ID.scope`` (systemd), ``docker/ID`` (cgroupfs), ``ecs/TASK/ID``
  (moby, daemon/oci_linux.go)
* podman: ``libpod-ID.scope``, ``libpod-ID``, ``libpod-payload-ID``
  (libpod/container_internal_common.go)
* kubernetes: ``kubepods…podUID.slice/RUNTIME-ID.scope``, ``kubepods/QOS/podUID/ID``
  (pkg/kubelet/cm/pod_container_manager_linux.go); RUNTIME is cri-containerd, crio or docker
* containerd: ``nerdctl-ID.scope``, and ID below a namespace of its own
* lxc: ``lxc.payload.NAME``; ``lxc/NAME`` before 4.0 and in Proxmox (src/lxc/cgroups/cgfsng.c)
* nspawn: ``systemd-nspawn@NAME.service``, ``machine-NAME.scope``
  (systemd.io/CONTROL_GROUP_INTERFACE)
* vm: ``machine-qemu\x2dN\x2dNAME.scope`` and ``NAME.libvirt-qemu`` (libvirt, src/util/vircgroup.c),
  ``qemu.slice/N.scope`` (Proxmox), ``firecracker/NAME`` (its jailer)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["KINDS", "Workload", "workload"]

KINDS = (
    "docker",
    "podman",
    "kubernetes",
    "containerd",
    "lxc",
    "nspawn",
    "vm",
    "service",
    "session",
    "scope",
    "slice",
    "root",
    "cgroup",
)


@dataclass(frozen=True, slots=True)
class Workload:
    """What people call a cgroup."""

    kind: str
    """One of `KINDS`."""
    name: str
    """Ids of containers have 12 digits, as `docker ps` shows; units are as systemctl takes them,
    those of a user with `of user UID`."""
    path: str
    """The workload's topmost cgroup; what lies below it is the same workload."""


_END = r"(?=/|\Z)"
_ID = r"[0-9a-f]{64}"
# The API server makes a UUID, whose dashes systemd's driver replaces; a static pod has a hash.
_UID = r"[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32}"

# What isolates its contents. The first of those that match equally deep counts.
_CONTAINERS = tuple(
    (kind, re.compile(pattern + _END))
    for kind, pattern in (
        (
            "kubernetes",
            rf"kubepods(?:[^/]*/)*?(?:[^/]*-)?pod({_UID})(?:\.slice)?"
            rf"(?:/(?:(?:cri-containerd|crio|docker)-)?({_ID})(?:\.scope)?)?",
        ),
        ("docker", rf"/(?:docker-({_ID})\.scope|docker/({_ID})|ecs/[^/]+/(?:[^/]+/)?({_ID}))"),
        ("podman", rf"/libpod-(?:payload-)?({_ID})(?:\.scope)?"),
        ("containerd", rf"/(?:nerdctl-({_ID})\.scope|(?:default|k8s\.io|moby)/({_ID}))"),
        ("lxc", r"/(?:lxc\.payload\.([^/]+)|lxc/([^/]+)|machine-lxc\\x2d\d+\\x2d([^/]+)\.scope)"),
        (
            "vm",
            r"/(?:machine-qemu\\x2d\d+\\x2d([^/]+)\.scope|([^/]+)\.libvirt-qemu"
            r"|qemu\.slice/(\d+)\.scope|firecracker/([^/]+))",
        ),
        ("nspawn", r"/(?:systemd-nspawn@([^/]+)\.service|machine\.slice/machine-([^/]+)\.scope)"),
    )
)
_UNIT = re.compile(r".*/([^/]+\.(service|scope))" + _END)
_SLICE = re.compile(r".*/([^/]+\.slice)" + _END)
_MANAGER = re.compile(r"/user@(\d+)\.service/")
_SESSION = re.compile(r"/user-(\d+)\.slice/(session-[^/]+)\.scope\Z")


@lru_cache(maxsize=4096)
def workload(path: str) -> Workload:
    """The workload to which a cgroup belongs, by the cgroup's path below the v2 mount.

    The innermost container or virtual machine that the path names; services inside one are part of
    it. Outside of them the innermost service, session or scope, else the innermost slice, else the
    cgroup itself.
    """
    if path in ("", "/"):
        return Workload("root", "/", "/")
    return _container(path) or _unit(path) or Workload("cgroup", _short(path.strip("/")), path)


def _container(path: str) -> Workload | None:
    found = ((kind, match) for kind, rule in _CONTAINERS for match in rule.finditer(path))
    kind, match = max(found, key=lambda each: each[1].end(), default=(None, None))
    if kind is None or match is None:
        return None
    names = [name for name in match.groups() if name]
    if kind == "kubernetes":
        names[0] = names[0].replace("_", "-")
    name = "/".join(map(_short, map(_unescaped, names)))
    return Workload(kind, name, path[: match.end()])


def _unit(path: str) -> Workload | None:
    unit = _UNIT.match(path)
    if unit:
        top = path[: unit.end()]
        if session := _SESSION.search(top):
            return Workload("session", f"{session[2]} of user {session[1]}", top)
        name = _short(unit[1].removeprefix("_"))
        if manager := _MANAGER.search(top):  # each user's manager has its own init.scope
            name += f" of user {manager[1]}"
        return Workload(unit[2], name, top)
    if inner := _SLICE.match(path):
        return Workload("slice", _short(inner[1]), path[: inner.end()])
    return None


def _short(name: str) -> str:
    """With the first 12 digits of a container's id, as its engine shows it."""
    return re.sub(rf"\b({_ID})\b", lambda found: found[0][:12], name)


def _unescaped(name: str) -> str:
    r"""A machine's name from its unit's: ``my\x2dvm`` is my-vm (systemd.unit(5))."""
    plain = re.sub(
        rb"\\x([0-9a-f]{2})", lambda x: bytes.fromhex(x[1].decode()), name.encode(errors="replace")
    )
    return plain.decode(errors="replace")
