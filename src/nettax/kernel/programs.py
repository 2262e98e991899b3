"""What each instrument made of BPF programs does first: look at the kernel, load, attach.

An instrument's object is built twice, with BTF-typed tracepoints and, as NAME.raw, with raw ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from nettax.errors import MissingFeature, NettaxError, UsageError
from nettax.kernel import bpf, cpus, features, percpu, vmlinux

__all__ = ["OBJECTS", "attach", "attached", "by_either", "check_kernel", "online_of"]

OBJECTS = Path(__file__).parent.parent / "bpf"


def check_kernel() -> None:
    """See that interrupts and softirqs can be told from each other here.

    :raises MissingFeature: the kernel has no BTF, or is PREEMPT_RT
    """
    features.btf_path()
    if features.is_realtime():
        raise MissingFeature(
            "this kernel is PREEMPT_RT: its softirqs can be preempted, so their time cannot\n"
            "be told from entry and exit alone. nettax does not account for such kernels"
        )


def online_of(chosen: Iterable[int] | None) -> tuple[int, ...]:
    """The chosen CPUs; with None, all that are online.

    :raises UsageError: one of them is not online
    """
    online = cpus.online()
    if chosen is None:
        return online
    chosen = tuple(chosen)
    if missing := sorted(set(chosen) - set(online)):
        raise UsageError(f"CPU {cpus.format_list(missing)} is not online")
    return chosen


def attached(
    name: str,
    *,
    called: Collection[str],
    without: Collection[str] = (),
    raw: bool = False,
    edit: Callable[[bytes], bytes] | None = None,
    constants: Mapping[str, int],
    max_entries: Mapping[str, int],
    shared: Mapping[str, int] | None = None,
) -> tuple[bpf.Object, bool]:
    """Load the object NAME, and attach its programs to those tracepoints that the kernel has.

    The programs in `called` are loaded but attached nowhere; those in `without` are left out.
    `edit` changes the object's file before it is loaded. `constants` are those of the object's own:
    what every kernel side asks of this kernel is added. `shared` maps are another object's, by
    their descriptors. Returns, too, whether it had to be, or with
    `raw` was to be, by raw tracepoints.

    :raises MissingFeature: no libbpf, or no BTF in the kernel
    :raises MissingPrivilege: CAP_BPF or CAP_PERFMON is lacking
    :raises NettaxError: the object is missing, or the kernel refuses it
    """

    def wanted(tracepoint: str) -> bool:
        if tracepoint in without:
            return False
        return tracepoint in called or vmlinux.tracepoint_arguments(tracepoint) is not None

    def load(path: Path) -> bpf.Object:
        with _edited(path, edit) as file:
            loaded = bpf.Object(
                file,
                wanted=wanted,
                constants={
                    "has_prev_state": vmlinux.tracepoint_arguments("sched_switch") == 4,
                    **percpu.trigger_offsets(),
                    **constants,
                },
                max_entries=max_entries,
                shared=shared,
            )
        try:
            attach(loaded, called)
        except BaseException:
            loaded.close()
            raise
        return loaded

    return by_either(name, load, raw)


def by_either(
    name: str, load: Callable[[Path], bpf.Object], raw: bool = False
) -> tuple[bpf.Object, bool]:
    """Have the object NAME loaded and attached, by BTF or else by raw tracepoints.

    `load` is given its file. Returns, too, whether it had to be, or with `raw` was to be, by raw
    tracepoints.

    :raises NettaxError: the object is missing, or the kernel refuses both
    """
    if not raw:
        try:
            return load(_built(f"{name}.bpf.o")), False
        except OSError:
            pass  # some kernels verify BTF-typed programs but refuse to attach them
    return load(_built(f"{name}.raw.bpf.o")), True


def _built(name: str) -> Path:
    path = OBJECTS / name
    if not path.exists():
        raise NettaxError(f"{path} is missing: nettax was not built. Reinstall it")
    return path


def attach(loaded: bpf.Object, called: Collection[str]) -> None:
    """Attach all programs of an object but those that are called.

    :raises OSError: the kernel refuses
    """
    programs = [p for p in loaded.programs.values() if p.name not in called]
    # Exits first: an entry whose exit is not attached yet would never end.
    programs.sort(key=lambda program: not program.name.endswith("_exit"))
    loaded.attach(programs)


@contextmanager
def _edited(path: Path, edit: Callable[[bytes], bytes] | None) -> Iterator[str]:
    """The path of a BPF object, or of an edited copy in memory."""
    if edit is None:
        yield str(path)
        return
    fd = os.memfd_create("nettax-object")
    try:
        with open(fd, "wb", closefd=False) as copy:
            copy.write(edit(path.read_bytes()))
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)
