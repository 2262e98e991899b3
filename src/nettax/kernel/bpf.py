"""Load BPF objects, attach their programs and read their maps, by libbpf.

Why libbpf and not light skeletons: see docs/decisions.md.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import mmap
import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

from nettax.errors import MissingPrivilege, NettaxError
from nettax.kernel import cpus, features
from nettax.kernel.btf import Btf
from nettax.kernel.libbpf import KprobeOpts, TestRunOpts, TracepointOpts, check, libbpf

__all__ = ["Map", "Object", "Program", "ProgramStats", "enable_stats", "new_ring"]

# include/uapi/linux/bpf.h
BPF_F_TEST_RUN_ON_CPU = 1
BPF_MAP_TYPE_PERCPU_HASH = 5
BPF_MAP_TYPE_RINGBUF = 27
BPF_ANY = 0
BPF_NOEXIST = 1
BPF_STATS_RUN_TIME = 0
BPF_LINK_TYPE_PERF_EVENT = 7
BPF_PERF_EVENT_KPROBES = (3, 4)  # kprobe, kretprobe


class ProgramStats(NamedTuple):
    """What the kernel counted for one program since it was loaded."""

    run_ns: int  # 0 unless statistics are enabled
    runs: int  # likewise
    missed: int  # runs skipped because the program was already running on that CPU


class Program:
    """One loaded program."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        lib = libbpf()
        self.name: str = lib.bpf_program__name(handle).decode()
        self.section: str = lib.bpf_program__section_name(handle).decode()

    @property
    def fd(self) -> int:
        """The program's file descriptor, once loaded."""
        return int(libbpf().bpf_program__fd(self._handle))

    def run(self, *arguments: int, cpu: int | None = None) -> int:
        """Run a raw tracepoint program once, on a CPU of choice; return what it returned.

        Its arguments are of 64 bits.

        :raises OSError: ENXIO if that CPU is offline
        """
        context = struct.pack(f"={len(arguments)}Q", *arguments)
        buffer = ctypes.create_string_buffer(context, len(context))
        opts = TestRunOpts(
            sz=ctypes.sizeof(TestRunOpts),
            ctx_in=ctypes.addressof(buffer),
            ctx_size_in=len(context),
            flags=0 if cpu is None else BPF_F_TEST_RUN_ON_CPU,
            cpu=cpu or 0,
        )
        check(libbpf().bpf_prog_test_run_opts(self.fd, ctypes.byref(opts)), f"run {self.name}")
        return int(opts.retval)

    def stats(self) -> ProgramStats:
        """The kernel's counters for this program (struct bpf_prog_info in linux/bpf.h)."""
        info = ctypes.create_string_buffer(216)
        length = ctypes.c_uint32(len(info))
        check(
            libbpf().bpf_obj_get_info_by_fd(self.fd, info, ctypes.byref(length)),
            f"read statistics of {self.name}",
        )
        return ProgramStats(*struct.unpack_from("=QQQ", info, 192))


class Map:
    """One map of a loaded object."""

    def __init__(self, handle: int, name: str) -> None:
        lib = libbpf()
        self.name = name
        self.fd: int = lib.bpf_map__fd(handle)
        self.key_size: int = lib.bpf_map__key_size(handle)
        self.value_size: int = lib.bpf_map__value_size(handle)
        self.max_entries: int = lib.bpf_map__max_entries(handle)
        if lib.bpf_map__type(handle) == BPF_MAP_TYPE_PERCPU_HASH:  # a value is one of each CPU
            self.value_size = self.stride * (max(cpus.possible()) + 1)

    def mapped(self) -> mmap.mmap:
        """The values of an array map made with BPF_F_MMAPABLE, as read-only shared memory.

        Value i starts at i × `value_size` rounded up to 8 bytes.
        """
        length = self.stride * self.max_entries
        page = mmap.PAGESIZE
        return mmap.mmap(self.fd, (length + page - 1) // page * page, prot=mmap.PROT_READ)

    @property
    def stride(self) -> int:
        """Distance between the values of an array map, in bytes."""
        return (self.value_size + 7) // 8 * 8

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All entries of a hash map, read in bulk (one system call for most maps)."""
        lib = libbpf()
        room = self.max_entries
        keys, values = self._buffers
        position = ctypes.create_string_buffer(max(self.key_size, 4))
        previous = None
        while True:
            count = ctypes.c_uint32(room)
            result = lib.bpf_map_lookup_batch(
                self.fd, previous, position, keys, values, ctypes.byref(count), None
            )
            # The end is told by ENOENT, with the last entries still valid.
            if result < 0 and result != -errno.ENOENT:
                check(result, f"read map {self.name}")
            yield from self._split(keys, values, count.value)
            if result < 0:
                return
            previous = position

    @functools.cached_property
    def _buffers(self) -> tuple[Any, Any]:
        """Room for all keys and values; only the part in use ever becomes resident."""
        room = self.max_entries
        sizes = room * self.key_size, room * self.value_size
        keys, values = ((ctypes.c_char * size).from_buffer(mmap.mmap(-1, size)) for size in sizes)
        return keys, values

    def _split(self, keys: Any, values: Any, count: int) -> Iterator[tuple[bytes, bytes]]:
        k, v = self.key_size, self.value_size
        all_keys, all_values = memoryview(keys)[: count * k], memoryview(values)[: count * v]
        key_bytes, value_bytes = bytes(all_keys), bytes(all_values)  # quicker to cut than views
        for i in range(count):
            yield key_bytes[i * k : i * k + k], value_bytes[i * v : i * v + v]

    def insert(self, key: bytes) -> None:
        """Make an entry of zeroes, unless there is one."""
        value = bytes(self.value_size)
        result = libbpf().bpf_map_update_elem(self.fd, key, value, BPF_NOEXIST)
        if result < 0 and result != -errno.EEXIST:
            check(result, f"fill map {self.name}")

    def put(self, key: bytes, value: bytes) -> None:
        """Set an entry; in an array of maps, `value` is the file descriptor of one."""
        result = libbpf().bpf_map_update_elem(self.fd, key, value, BPF_ANY)
        check(result, f"fill map {self.name}")

    def delete(self, keys: Sequence[bytes]) -> None:
        """Delete entries; those already gone are skipped."""
        if not keys:
            return
        joined = ctypes.create_string_buffer(b"".join(keys), len(keys) * self.key_size)
        done = 0
        while done < len(keys):
            count = ctypes.c_uint32(len(keys) - done)
            result = libbpf().bpf_map_delete_batch(
                self.fd, ctypes.byref(joined, done * self.key_size), ctypes.byref(count), None
            )
            if result < 0 and result != -errno.ENOENT:
                check(result, f"shrink map {self.name}")
            done += count.value + (result < 0)


class Object:
    """A BPF object file: opened, configured, loaded, attached; closed on leaving the context."""

    def __init__(
        self,
        path: str,
        *,
        wanted: Callable[[str], bool],
        constants: Mapping[str, int] | None = None,
        max_entries: Mapping[str, int] | None = None,
        shared: Mapping[str, int] | None = None,
        targets: Mapping[str, str] | None = None,
    ) -> None:
        """Load a BPF object into the kernel.

        `wanted` is asked for each program's tracepoint (the last part of its section's name);
        `constants` are read-only globals by name; `max_entries` sizes maps by name; `shared` has
        descriptors of another object's maps, to be used for those of these names; `targets` are
        kernel functions for fentry and fexit programs by name.

        :raises OSError: ESRCH: a target is not in the kernel's BTF, nor in its modules'
        :raises MissingFeature: no libbpf, or no BTF in the kernel
        :raises MissingPrivilege: CAP_BPF or CAP_PERFMON is lacking
        :raises NettaxError: the object is missing, or the kernel refuses it
        """
        lib = libbpf()
        self._links: list[int] = []
        self._probes: list[int] = []  # of those links
        self._handle: int = lib.bpf_object__open_file(os.fsencode(path), None) or 0
        if not self._handle:
            raise NettaxError(f"cannot open {path}: {os.strerror(ctypes.get_errno())}")
        try:
            length = ctypes.c_uint32()
            raw = lib.btf__raw_data(lib.bpf_object__btf(self._handle), ctypes.byref(length))
            self.btf = Btf(ctypes.string_at(raw, length.value))
            if constants:
                self._set_constants(constants)
            for name, entries in (max_entries or {}).items():
                check(
                    lib.bpf_map__set_max_entries(self._find_map(name), entries), f"size map {name}"
                )
            for name, fd in (shared or {}).items():
                check(lib.bpf_map__reuse_fd(self._find_map(name), fd), f"share map {name}")
            self.programs: dict[str, Program] = {}
            for handle in self._program_handles():
                program = Program(handle)
                load = wanted(program.section.rpartition("/")[2])
                lib.bpf_program__set_autoload(handle, load)
                if target := (targets or {}).get(program.name):
                    result = lib.bpf_program__set_attach_target(handle, 0, target.encode())
                    check(result, f"find {target}")
                if load:
                    self.programs[program.name] = program
            self._load(path)
        except BaseException:
            self.close()
            raise

    def _program_handles(self) -> Iterator[int]:
        handle = None
        while handle := libbpf().bpf_object__next_program(self._handle, handle):
            yield handle

    def _find_map(self, name: str) -> int:
        handle: int | None = libbpf().bpf_object__find_map_by_name(self._handle, name.encode())
        if not handle:
            raise KeyError(name)
        return handle

    def _set_constants(self, constants: Mapping[str, int]) -> None:
        start = libbpf().bpf_map__initial_value(self._find_map(".rodata"), ctypes.c_size_t())
        variables = self.btf.variables(".rodata")
        for name, value in constants.items():
            offset, code = variables[name]
            packed = struct.pack("=" + code, value)
            ctypes.memmove(start + offset, packed, len(packed))

    def _load(self, path: str) -> None:
        result = libbpf().bpf_object__load(self._handle)
        if result >= 0:
            return
        # EACCES is also what the verifier says; EPERM is a matter of privilege alone.
        lacking = {"CAP_BPF", "CAP_PERFMON"} - features.capabilities()
        if result == -errno.EPERM or (result == -errno.EACCES and lacking):
            raise MissingPrivilege(
                "loading BPF programs needs CAP_BPF and CAP_PERFMON: run as root, or\n"
                'sudo setpriv --reuid "$USER" --regid "$(id -g)" --init-groups --inh-caps '
                '+bpf,+perfmon --ambient-caps +bpf,+perfmon env "PATH=$PATH" "HOME=$HOME" nettax …'
            )
        raise NettaxError(
            f"the kernel refused {path}: {os.strerror(-result)}.\n"
            "Run again with NETTAX_DEBUG=1 to see its verifier's reasons, and report them"
        )

    def map(self, name: str) -> Map:
        """A map of the object by its name in the source.

        :raises KeyError: no such map
        """
        return Map(self._find_map(name), name)

    def variable(self, name: str) -> Callable[[], int]:
        """A reader of a global variable of `.bss`; each call is one load, no system call.

        :raises KeyError: no such variable
        """
        memory = self.map(".bss").mapped()
        offset, code = self.btf.variables(".bss")[name]
        unpack = struct.Struct("=" + code).unpack_from
        return lambda: int(unpack(memory, offset)[0])

    def attach(self, programs: Sequence[Program]) -> None:
        """Attach programs to the tracepoints that their sections name, in order.

        :raises OSError: the kernel refuses (EINVAL or ENOTSUPP: no attaching by BTF)
        """
        lib = libbpf()
        for program in programs:
            self._linked(lib.bpf_program__attach(program._handle), f"attach {program.name}")

    def attach_kprobe(self, program: Program, function: str, is_return: bool, cookie: int) -> None:
        """Attach a program to a kernel function's entry or return; it may be attached to several.

        The program sees `cookie`.

        :raises OSError: ENOENT: no such function to probe; EPERM, ENOTSUP: the kernel refuses all
        """
        opts = KprobeOpts(sz=ctypes.sizeof(KprobeOpts), bpf_cookie=cookie, retprobe=is_return)
        link: int | None = libbpf().bpf_program__attach_kprobe_opts(
            program._handle, function.encode(), ctypes.byref(opts)
        )
        self._probes.append(self._linked(link, f"probe {function}"))

    def attach_event(self, program: Program, group: str, name: str, cookie: int) -> None:
        """Attach a program of kprobes' to an event that tracefs has defined; it sees `cookie`.

        :raises OSError: there is no such event, or the kernel refuses
        """
        opts = TracepointOpts(sz=ctypes.sizeof(TracepointOpts), bpf_cookie=cookie)
        link: int | None = libbpf().bpf_program__attach_tracepoint_opts(
            program._handle, group.encode(), name.encode(), ctypes.byref(opts)
        )
        self._linked(link, f"attach {program.name}")

    def _linked(self, link: int | None, what: str) -> int:
        if not link:
            check(-ctypes.get_errno() or -errno.EINVAL, what)
            raise AssertionError("check raises")
        self._links.append(link)
        return link

    def missed_probes(self) -> int:
        """Hits of `attach_kprobe` that the kernel skipped; 0 before Linux 6.7, which tells none."""
        return sum(map(_missed_by_link, self._probes))

    def detach(self) -> None:
        """Undo every attachment; the programs stay loaded."""
        self._probes.clear()
        while self._links:
            libbpf().bpf_link__destroy(self._links.pop())

    def close(self) -> None:
        """Detach everything and free programs and maps. May be called twice."""
        self.detach()
        if self._handle:
            libbpf().bpf_object__close(self._handle)
            self._handle = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _missed_by_link(link: int) -> int:
    lib = libbpf()
    info = ctypes.create_string_buffer(64)  # struct bpf_link_info in linux/bpf.h
    length = ctypes.c_uint32(len(info))
    if lib.bpf_obj_get_info_by_fd(lib.bpf_link__fd(link), info, ctypes.byref(length)) < 0:
        return 0  # a link of libbpf's own, before Linux 5.15
    kind, of = struct.unpack_from("=I", info)[0], struct.unpack_from("=I", info, 16)[0]
    if kind != BPF_LINK_TYPE_PERF_EVENT or of not in BPF_PERF_EVENT_KPROBES:
        return 0
    missed: int = struct.unpack_from("=Q", info, 48)[0]
    return missed


def new_ring(name: str, size: int) -> int:
    """Make a ring buffer of `size` bytes, a power of two and whole pages; its file descriptor.

    :raises OSError: the kernel refuses: too little memory, say
    """
    fd: int = libbpf().bpf_map_create(BPF_MAP_TYPE_RINGBUF, name.encode(), 0, 0, size, None)
    check(fd, f"make a ring buffer of {size >> 10} KiB")
    return fd


def enable_stats() -> int:
    """Have the kernel time all BPF programs for as long as the returned descriptor is open.

    Costs two clock readings a program run.

    :raises MissingPrivilege: CAP_SYS_ADMIN is lacking
    """
    fd: int = libbpf().bpf_enable_stats(BPF_STATS_RUN_TIME)
    if fd < 0:
        raise MissingPrivilege("timing BPF programs needs CAP_SYS_ADMIN: run as root")
    return fd
