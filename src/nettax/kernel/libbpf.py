"""The system's libbpf, by ctypes: the functions in use, with their types.

Only what libbpf 1.0 has. Functions that return int give a negative errno on failure, those that
return a pointer give NULL and set errno (libbpf 1.x, libbpf_set_strict_mode is the default).
"""

from __future__ import annotations

import ctypes
import functools
import os
from typing import Any

from nettax.errors import MissingFeature

__all__ = ["KprobeOpts", "TestRunOpts", "TracepointOpts", "check", "libbpf", "version"]


class TestRunOpts(ctypes.Structure):
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


class KprobeOpts(ctypes.Structure):
    """struct bpf_kprobe_opts (tools/lib/bpf/libbpf.h)."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("bpf_cookie", ctypes.c_uint64),
        ("offset", ctypes.c_size_t),
        ("retprobe", ctypes.c_bool),
    )


class TracepointOpts(ctypes.Structure):
    """struct bpf_tracepoint_opts (tools/lib/bpf/libbpf.h)."""

    _fields_ = (("sz", ctypes.c_size_t), ("bpf_cookie", ctypes.c_uint64))


@functools.cache
def libbpf() -> ctypes.CDLL:
    """The library, loaded once.

    :raises MissingFeature: it is not installed
    """
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
        "bpf_program__set_attach_target": (integer, [pointer, integer, text]),
        "bpf_program__fd": (integer, [pointer]),
        "bpf_program__attach": (pointer, [pointer]),
        "bpf_program__attach_kprobe_opts": (pointer, [pointer, text, ctypes.POINTER(KprobeOpts)]),
        "bpf_program__attach_tracepoint_opts": (
            pointer,
            [pointer, text, text, ctypes.POINTER(TracepointOpts)],
        ),
        "bpf_link__destroy": (integer, [pointer]),
        "bpf_link__fd": (integer, [pointer]),
        "bpf_map__fd": (integer, [pointer]),
        "bpf_map__reuse_fd": (integer, [pointer, integer]),
        "bpf_map__set_max_entries": (integer, [pointer, ctypes.c_uint32]),
        "bpf_map__max_entries": (ctypes.c_uint32, [pointer]),
        "bpf_map__type": (integer, [pointer]),
        "bpf_map__key_size": (ctypes.c_uint32, [pointer]),
        "bpf_map__value_size": (ctypes.c_uint32, [pointer]),
        "bpf_map__initial_value": (pointer, [pointer, size]),
        "bpf_map_create": (integer, [integer, text, *[ctypes.c_uint32] * 3, pointer]),
        "bpf_map_lookup_batch": (integer, [integer, *[pointer] * 4, pointer, pointer]),
        "bpf_map_update_elem": (integer, [integer, text, text, ctypes.c_uint64]),
        "bpf_map_delete_batch": (integer, [integer, pointer, pointer, pointer]),
        "bpf_prog_test_run_opts": (integer, [integer, ctypes.POINTER(TestRunOpts)]),
        "bpf_obj_get_info_by_fd": (integer, [integer, pointer, ctypes.POINTER(ctypes.c_uint32)]),
        "bpf_enable_stats": (integer, [integer]),
        "libbpf_set_print": (pointer, [pointer]),
        "libbpf_version_string": (text, []),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    if "NETTAX_DEBUG" not in os.environ:  # users are told by errno; libbpf's log is for programmers
        lib.libbpf_set_print(None)
    return lib


def version() -> str:
    """The version that the library says of itself: ``1.1``.

    :raises MissingFeature: it is not installed
    """
    said: bytes = libbpf().libbpf_version_string()
    return said.decode().removeprefix("v")


def check(result: int, what: str) -> None:
    """Raise OSError for a negative errno; `what` could not be done."""
    if result < 0:
        raise OSError(-result, f"cannot {what}: {os.strerror(-result)}")
