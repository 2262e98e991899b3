"""Load BPF objects, attach their programs and read their maps, by ctypes over `libbpf.so.1`.

Why libbpf and not light skeletons: see docs/decisions.md. Only functions that libbpf 1.0 has.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import mmap
import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from nettax.errors import MissingFeature, MissingPrivilege, NettaxError
from nettax.kernel import features
from nettax.kernel.btf import Btf

__all__ = [
    "Map",
    "Object",
    "Program",
    "ProgramStats",
    "enable_stats",
    "kernel_has_tracepoint",
    "percpu_offsets",
]

BTF_KIND_TYPEDEF, BTF_KIND_DATASEC = 8, 15
BPF_F_TEST_RUN_ON_CPU = 1  # include/uapi/linux/bpf.h
BPF_STATS_RUN_TIME = 0


class _TestRunOpts(ctypes.Structure):
    """struct bpf_test_run_opts (tools/lib/bpf/bpf.h)."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("data_in", ctypes.c_void_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_void_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    )


@functools.cache
def _libbpf() -> ctypes.CDLL:
    try:
        lib = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise MissingFeature(
            "libbpf.so.1 is missing: BPF programs cannot be loaded.\n"
            "Install it: apt install libbpf1 (Fedora, RHEL: dnf install libbpf)"
        ) from error
    pointer, text, integer = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    size = ctypes.POINTER(ctypes.c_size_t)
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "bpf_object__open_file": (pointer, [text, pointer]),
        "bpf_object__load": (integer, [pointer]),
        "bpf_object__close": (None, [pointer]),
        "bpf_object__next_program": (pointer, [pointer, pointer]),
        "bpf_object__find_map_by_name": (pointer, [pointer, text]),
        "bpf_object__btf": (pointer, [pointer]),
        "btf__raw_data": (pointer, [pointer, ctypes.POINTER(ctypes.c_uint32)]),
        "btf__load_vmlinux_btf": (pointer, []),
        "btf__find_by_name_kind": (ctypes.c_int32, [pointer, text, ctypes.c_uint32]),
        "btf__type_by_id": (pointer, [pointer, ctypes.c_uint32]),
        "btf__name_by_offset": (text, [pointer, ctypes.c_uint32]),
        "bpf_program__name": (text, [pointer]),
        "bpf_program__section_name": (text, [pointer]),
        "bpf_program__set_autoload": (integer, [pointer, ctypes.c_bool]),
        "bpf_program__fd": (integer, [pointer]),
        "bpf_program__attach": (pointer, [pointer]),
        "bpf_link__destroy": (integer, [pointer]),
        "bpf_map__fd": (integer, [pointer]),
        "bpf_map__set_max_entries": (integer, [pointer, ctypes.c_uint32]),
        "bpf_map__max_entries": (ctypes.c_uint32, [pointer]),
        "bpf_map__key_size": (ctypes.c_uint32, [pointer]),
        "bpf_map__value_size": (ctypes.c_uint32, [pointer]),
        "bpf_map__initial_value": (pointer, [pointer, size]),
        "bpf_map_lookup_batch": (integer, [integer, *[pointer] * 4, pointer, pointer]),
        "bpf_map_delete_batch": (integer, [integer, pointer, pointer, pointer]),
        "bpf_prog_test_run_opts": (integer, [integer, ctypes.POINTER(_TestRunOpts)]),
        "bpf_obj_get_info_by_fd": (integer, [integer, pointer, ctypes.POINTER(ctypes.c_uint32)]),
        "bpf_enable_stats": (integer, [integer]),
        "libbpf_set_print": (pointer, [pointer]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    if "NETTAX_DEBUG" not in os.environ:  # users are told by errno; libbpf's log is for programmers
        lib.libbpf_set_print(None)
    return lib


@functools.cache
def _vmlinux_btf() -> int:
    """The running kernel's BTF, parsed once by libbpf."""
    features.btf_path()
    handle: int | None = _libbpf().btf__load_vmlinux_btf()
    if not handle:
        raise NettaxError(f"libbpf cannot read the kernel's BTF: {os.strerror(ctypes.get_errno())}")
    return handle


def kernel_has_tracepoint(name: str) -> bool:
    """Whether BPF can attach to a tracepoint: its typedef `btf_trace_NAME` is in the kernel's BTF.

    :raises MissingFeature: the kernel has no BTF
    """
    found = _libbpf().btf__find_by_name_kind(
        _vmlinux_btf(), f"btf_trace_{name}".encode(), BTF_KIND_TYPEDEF
    )
    return bool(found > 0)


@functools.cache
def percpu_offsets() -> dict[str, int]:
    """Where the kernel's per-CPU variables are in a CPU's area: name → offset in bytes.

    From the kernel's BTF (the section `.data..percpu`), so it works where /proc/kallsyms has no
    data symbols. Only differences of two offsets mean something.

    :raises MissingFeature: the kernel has no BTF
    """
    lib, btf = _libbpf(), _vmlinux_btf()
    section = lib.btf__find_by_name_kind(btf, b".data..percpu", BTF_KIND_DATASEC)
    if section < 0:
        return {}
    # struct btf_type {name_off, info, size}, then struct btf_var_secinfo {type, offset, size} each.
    header = lib.btf__type_by_id(btf, section)
    (info,) = struct.unpack("=I", ctypes.string_at(header + 4, 4))
    raw = ctypes.string_at(header + 12, 12 * (info & 0xFFFF))
    offsets = {}
    for type_id, offset, _ in struct.iter_unpack("=III", raw):
        (name,) = struct.unpack("=I", ctypes.string_at(lib.btf__type_by_id(btf, type_id), 4))
        offsets[lib.btf__name_by_offset(btf, name).decode()] = offset
    return offsets


class ProgramStats(NamedTuple):
    """What the kernel counted for one program since it was loaded."""

    run_ns: int  # 0 unless statistics are enabled
    runs: int  # likewise
    missed: int  # runs skipped because the program was already running on that CPU


class Program:
    """One loaded program."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        lib = _libbpf()
        self.name: str = lib.bpf_program__name(handle).decode()
        self.section: str = lib.bpf_program__section_name(handle).decode()

    @property
    def fd(self) -> int:
        """The program's file descriptor, once loaded."""
        return int(_libbpf().bpf_program__fd(self._handle))

    def run(self, *arguments: int, cpu: int | None = None) -> None:
        """Run a raw tracepoint program once, on a CPU of choice, with 64-bit arguments.

        :raises OSError: ENXIO if that CPU is offline
        """
        context = struct.pack(f"={len(arguments)}Q", *arguments)
        buffer = ctypes.create_string_buffer(context, len(context))
        opts = _TestRunOpts(
            sz=ctypes.sizeof(_TestRunOpts),
            ctx_in=ctypes.addressof(buffer),
            ctx_size_in=len(context),
            flags=0 if cpu is None else BPF_F_TEST_RUN_ON_CPU,
            cpu=cpu or 0,
        )
        _check(_libbpf().bpf_prog_test_run_opts(self.fd, ctypes.byref(opts)), f"run {self.name}")

    def stats(self) -> ProgramStats:
        """The kernel's counters for this program (struct bpf_prog_info in linux/bpf.h)."""
        info = ctypes.create_string_buffer(216)
        length = ctypes.c_uint32(len(info))
        _check(
            _libbpf().bpf_obj_get_info_by_fd(self.fd, info, ctypes.byref(length)),
            f"read statistics of {self.name}",
        )
        return ProgramStats(*struct.unpack_from("=QQQ", info, 192))


class Map:
    """One map of a loaded object."""

    def __init__(self, handle: int, name: str) -> None:
        lib = _libbpf()
        self.name = name
        self.fd: int = lib.bpf_map__fd(handle)
        self.key_size: int = lib.bpf_map__key_size(handle)
        self.value_size: int = lib.bpf_map__value_size(handle)
        self.max_entries: int = lib.bpf_map__max_entries(handle)

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
        lib = _libbpf()
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
                _check(result, f"read map {self.name}")
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
        key_view, value_view = memoryview(keys), memoryview(values)
        k, v = self.key_size, self.value_size
        for i in range(count):
            yield bytes(key_view[i * k : i * k + k]), bytes(value_view[i * v : i * v + v])

    def delete(self, keys: Sequence[bytes]) -> None:
        """Delete entries; those already gone are skipped."""
        if not keys:
            return
        joined = ctypes.create_string_buffer(b"".join(keys), len(keys) * self.key_size)
        done = 0
        while done < len(keys):
            count = ctypes.c_uint32(len(keys) - done)
            result = _libbpf().bpf_map_delete_batch(
                self.fd, ctypes.byref(joined, done * self.key_size), ctypes.byref(count), None
            )
            if result < 0 and result != -errno.ENOENT:
                _check(result, f"shrink map {self.name}")
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
    ) -> None:
        """Load a BPF object into the kernel.

        `wanted` is asked for each program's tracepoint (the last part of its section's name);
        `constants` are read-only globals by name; `max_entries` sizes maps by name.

        :raises MissingFeature: no libbpf, or no BTF in the kernel
        :raises MissingPrivilege: CAP_BPF or CAP_PERFMON is lacking
        :raises NettaxError: the object is missing, or the kernel refuses it
        """
        lib = _libbpf()
        self._links: list[int] = []
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
                _check(
                    lib.bpf_map__set_max_entries(self._find_map(name), entries), f"size map {name}"
                )
            self.programs: dict[str, Program] = {}
            for handle in self._program_handles():
                program = Program(handle)
                load = wanted(program.section.rpartition("/")[2])
                lib.bpf_program__set_autoload(handle, load)
                if load:
                    self.programs[program.name] = program
            self._load(path)
        except BaseException:
            self.close()
            raise

    def _program_handles(self) -> Iterator[int]:
        handle = None
        while handle := _libbpf().bpf_object__next_program(self._handle, handle):
            yield handle

    def _find_map(self, name: str) -> int:
        handle: int | None = _libbpf().bpf_object__find_map_by_name(self._handle, name.encode())
        if not handle:
            raise KeyError(name)
        return handle

    def _set_constants(self, constants: Mapping[str, int]) -> None:
        start = _libbpf().bpf_map__initial_value(self._find_map(".rodata"), ctypes.c_size_t())
        variables = self.btf.variables(".rodata")
        for name, value in constants.items():
            offset, code = variables[name]
            packed = struct.pack("=" + code, value)
            ctypes.memmove(start + offset, packed, len(packed))

    def _load(self, path: str) -> None:
        result = _libbpf().bpf_object__load(self._handle)
        if result >= 0:
            return
        # EACCES is also what the verifier says; EPERM is a matter of privilege alone.
        lacking = {"CAP_BPF", "CAP_PERFMON"} - features.capabilities()
        if result == -errno.EPERM or (result == -errno.EACCES and lacking):
            raise MissingPrivilege(
                "loading BPF programs needs CAP_BPF and CAP_PERFMON: run as root, or\n"
                'sudo setpriv --reuid "$USER" --inh-caps +bpf,+perfmon --ambient-caps +bpf,+perfmon'
                " nettax …"
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
        lib = _libbpf()
        for program in programs:
            link: int | None = lib.bpf_program__attach(program._handle)
            if not link:
                _check(-ctypes.get_errno() or -errno.EINVAL, f"attach {program.name}")
            else:
                self._links.append(link)

    def close(self) -> None:
        """Detach everything and free programs and maps. May be called twice."""
        lib = _libbpf()
        while self._links:
            lib.bpf_link__destroy(self._links.pop())
        if self._handle:
            lib.bpf_object__close(self._handle)
            self._handle = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def enable_stats() -> int:
    """Have the kernel time all BPF programs for as long as the returned descriptor is open.

    Costs two clock readings a program run.

    :raises MissingPrivilege: CAP_SYS_ADMIN is lacking
    """
    fd: int = _libbpf().bpf_enable_stats(BPF_STATS_RUN_TIME)
    if fd < 0:
        raise MissingPrivilege("timing BPF programs needs CAP_SYS_ADMIN: run as root")
    return fd


def _check(result: int, what: str) -> None:
    """Raise OSError for a negative errno, as libbpf 1.x returns it."""
    if result < 0:
        raise OSError(-result, f"cannot {what}: {os.strerror(-result)}")
