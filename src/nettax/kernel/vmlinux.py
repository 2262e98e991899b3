"""What the running kernel's own BTF says: its tracepoints, and where its variables are.

Layouts are those of Documentation/bpf/btf.rst in the kernel's tree.
"""

from __future__ import annotations

import ctypes
import functools
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from nettax.errors import NettaxError
from nettax.kernel import features
from nettax.kernel.libbpf import libbpf

__all__ = ["member_offset", "percpu_offsets", "tracepoint_arguments"]

# Kinds, from include/uapi/linux/btf.h.
STRUCT, UNION, TYPEDEF, DATASEC = 4, 5, 8, 15


class _Type(NamedTuple):
    """struct btf_type, and where what follows it is."""

    name_off: int
    info: int
    type: int
    tail: int

    @property
    def kind(self) -> int:
        return self.info >> 24 & 0x1F

    def items(self) -> Iterator[tuple[int, int, int]]:
        """What a struct, a union or a data section holds, three words each."""
        raw = ctypes.string_at(self.tail, 12 * (self.info & 0xFFFF))
        yield from struct.iter_unpack("=III", raw)


@functools.cache
def _btf() -> int:
    """The kernel's BTF, parsed by libbpf."""
    features.btf_path()
    handle: int | None = libbpf().btf__load_vmlinux_btf()
    if not handle:
        raise NettaxError(f"libbpf cannot read the kernel's BTF: {os.strerror(ctypes.get_errno())}")
    return handle


def _type(type_id: int) -> _Type:
    address = libbpf().btf__type_by_id(_btf(), type_id)
    name_off, info, size_or_type = struct.unpack("=III", ctypes.string_at(address, 12))
    return _Type(name_off, info, size_or_type, address + 12)


def _find(name: str, kind: int) -> _Type | None:
    type_id = libbpf().btf__find_by_name_kind(_btf(), name.encode(), kind)
    return _type(type_id) if type_id > 0 else None


def _name(offset: int) -> str:
    return str(libbpf().btf__name_by_offset(_btf(), offset).decode())


def tracepoint_arguments(name: str) -> int | None:
    """How many arguments a tracepoint gives to BPF; None if the kernel has no such tracepoint.

    Each has a typedef `btf_trace_NAME` of a pointer to its probe's type, whose first argument is
    the kernel's own (include/trace/bpf_probe.h).

    :raises MissingFeature: the kernel has no BTF
    """
    found = _find(f"btf_trace_{name}", TYPEDEF)
    if found is None:
        return None
    prototype = _type(_type(found.type).type)
    return (prototype.info & 0xFFFF) - 1


@functools.cache
def percpu_offsets() -> dict[str, int]:
    """Where the kernel's per-CPU variables are in a CPU's area: name → offset in bytes.

    From the section `.data..percpu`, so it works where /proc/kallsyms has no data symbols. Only
    differences of two offsets mean something.

    :raises MissingFeature: the kernel has no BTF
    """
    section = _find(".data..percpu", DATASEC)
    if section is None:
        return {}
    return {_name(_type(var).name_off): offset for var, offset, _ in section.items()}


def member_offset(name: str, member: str) -> int | None:
    """Where a member is in a struct, or in a typedef of one, in bytes; None if it is not.

    Members of anonymous structs and unions inside count as the struct's own, as in C.

    :raises MissingFeature: the kernel has no BTF
    """
    found = _find(name, STRUCT) or _find(name, TYPEDEF)
    if found is not None and found.kind == TYPEDEF:
        found = _type(found.type)
    return None if found is None else _offset(found, member)


def _offset(parent: _Type, member: str) -> int | None:
    for name_off, type_id, bits in parent.items():
        offset = (bits & 0xFFFFFF) // 8
        name = _name(name_off)
        if name == member:
            return offset
        inner = _type(type_id)
        if not name and inner.kind in (STRUCT, UNION):
            inside = _offset(inner, member)
            if inside is not None:
                return offset + inside
    return None
