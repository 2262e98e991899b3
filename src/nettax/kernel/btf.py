"""BTF: the layouts of C structs, read from a BPF object instead of being written twice.

Format: Documentation/bpf/btf.rst in the kernel's tree. Only what a shared header needs is kept:
integers, enums, arrays and structs of them, and the variables of data sections.
"""

from __future__ import annotations

import struct
from collections import namedtuple
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any, NamedTuple

__all__ = ["Btf", "Layout"]

# Kinds, from include/uapi/linux/btf.h.
INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF = range(1, 9)
VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = (
    range(9, 20)
)
ALIASES = (TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG)
CODES = {1: "b", 2: "h", 4: "i", 8: "q"}  # struct's signed integers by size


class Type(NamedTuple):
    """One record of the type section; `size` is the type referred to, for kinds that refer."""

    name: str
    kind: int
    vlen: int
    size: int
    tail: int  # where the kind's own data starts in the type section


class Layout:
    """How to unpack one struct: `unpack(buffer, offset)` gives a named tuple.

    Integers come as int, arrays of char as str (up to the first zero byte), other arrays as a
    flat tuple.
    """

    def __init__(self, name: str, size: int, fields: list[tuple[str, int, str]]) -> None:
        """`fields` holds name, offset in bytes and struct code; `size` is in bytes."""
        self.size = size
        self._row: Any = namedtuple(  # type: ignore[misc]
            name, [field for field, _, _ in fields]
        )
        self._fields = {field: (offset, code) for field, offset, code in fields}
        self._texts = [i for i, (_, _, code) in enumerate(fields) if code.endswith("s")]
        parts: list[int | slice] = []
        form, end, count = "=", 0, 0
        for _, offset, code in fields:
            form += f"{offset - end}x{code}"
            end = offset + struct.calcsize("=" + code)
            length = 1 if code.endswith("s") else int(code[:-1] or 1)
            parts.append(
                count if len(code) == 1 or code[-1] == "s" else slice(count, count + length)
            )
            count += length
        self._struct = struct.Struct(f"{form}{size - end}x")
        # With one key more than there are fields, itemgetter always gives a tuple.
        self._pick = itemgetter(*parts, slice(0))

    @property
    def names(self) -> tuple[str, ...]:
        """The fields, in order; those of structs inside stand where the struct does."""
        return tuple(self._fields)

    def field(self, name: str) -> Callable[[Any], Any]:
        """A reader of one integer or text alone: cheaper than unpacking the struct.

        :raises KeyError: no such field
        """
        offset, code = self._fields[name]
        unpack = struct.Struct("=" + code).unpack_from
        if code.endswith("s"):
            return lambda buffer: _text(unpack(buffer, offset)[0])
        return lambda buffer: unpack(buffer, offset)[0]

    def leading(self, last: str) -> Callable[..., tuple[Any, ...]]:
        """A reader of the fields up to and with `last`, as a flat tuple: cheaper still.

        It takes a buffer and, if need be, an offset.

        :raises KeyError: no such field
        """
        form, end = "=", 0
        for name in self.names[: self.names.index(last) + 1]:
            offset, code = self._fields[name]
            form += f"{offset - end}x{code}"
            end = offset + struct.calcsize("=" + code)
        return struct.Struct(form).unpack_from

    def unpack(self, buffer: Any, offset: int = 0) -> Any:
        """The struct at `offset` of a bytes-like buffer, as a named tuple."""
        values = list(self._pick(self._struct.unpack_from(buffer, offset))[:-1])
        for i in self._texts:
            values[i] = _text(values[i])
        return self._row._make(values)


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode(errors="replace")


class Btf:
    """The types of one BPF object."""

    def __init__(self, raw: bytes) -> None:
        """Parse a `.BTF` section, header included."""
        header = struct.unpack_from("<HBBIIIII", raw)
        start = header[3]
        self._types_raw = raw[start + header[4] : start + header[4] + header[5]]
        self._strings = raw[start + header[6] : start + header[6] + header[7]]
        self._types = [Type("void", 0, 0, 0, 0), *self._parse()]
        self._by_name = {(t.kind, t.name): t for t in self._types if t.name}

    def _string(self, offset: int) -> str:
        return self._strings[offset : self._strings.index(b"\0", offset)].decode()

    def _parse(self) -> Iterator[Type]:
        offset = 0
        while offset < len(self._types_raw):
            name, info, size = struct.unpack_from("<III", self._types_raw, offset)
            vlen, kind = info & 0xFFFF, info >> 24 & 0x1F
            offset += 12
            yield Type(self._string(name), kind, vlen, size, offset)
            each = {STRUCT: 12, UNION: 12, ENUM: 8, FUNC_PROTO: 8, DATASEC: 12, ENUM64: 12}
            once = {INT: 4, ARRAY: 12, VAR: 4, DECL_TAG: 4}
            offset += each.get(kind, 0) * vlen + once.get(kind, 0)

    def _resolve(self, type_id: int) -> Type:
        found = self._types[type_id]
        while found.kind in ALIASES:
            found = self._types[found.size]
        return found

    def _code(self, type_id: int) -> str:
        """The struct code of an integer, an enum or an array of these, at any depth."""
        found = self._resolve(type_id)
        if found.kind == INT:
            (bits,) = struct.unpack_from("<I", self._types_raw, found.tail)
            if bits >> 24 & 4:
                return "?"
            code = CODES[found.size]
            return code if bits >> 24 & 1 else code.upper()
        if found.kind == ENUM:
            return CODES[found.size].upper()
        if found.kind == ARRAY:
            element, _, count = struct.unpack_from("<III", self._types_raw, found.tail)
            inner = self._code(element)
            if self._resolve(element).name == "char":
                return f"{count}s"
            return f"{count * int(inner[:-1] or 1)}{inner[-1]}"
        raise TypeError(f"BTF kind {found.kind} ({found.name}) has no place in a shared struct")

    def layout(self, name: str) -> Layout:
        """The layout of `struct name`.

        :raises KeyError: no struct of that name in the object
        :raises TypeError: a field is a pointer or a union
        """
        found = self._by_name[STRUCT, name]
        return Layout(name, found.size, list(self._members(found)))

    def _members(self, parent: Type, start: int = 0) -> Iterator[tuple[str, int, str]]:
        for i in range(parent.vlen):
            name, type_id, bits = struct.unpack_from("<III", self._types_raw, parent.tail + 12 * i)
            offset = start + (bits & 0xFFFFFF) // 8
            if (member := self._resolve(type_id)).kind == STRUCT:
                yield from self._members(member, offset)
            else:
                yield self._string(name), offset, self._code(type_id)

    def offset(self, name: str, member: str) -> int:
        """Where `member` starts in `struct name`, in bytes.

        :raises KeyError: no such struct or member
        """
        parent = self._by_name[STRUCT, name]
        for i in range(parent.vlen):
            field, _, bits = struct.unpack_from("<III", self._types_raw, parent.tail + 12 * i)
            if self._string(field) == member:
                return int((bits & 0xFFFFFF) // 8)
        raise KeyError(f"{name}.{member}")

    def size(self, name: str) -> int:
        """The size of `struct name`, in bytes."""
        return self._by_name[STRUCT, name].size

    def enum(self, name: str) -> dict[str, int]:
        """The values of `enum name`.

        :raises KeyError: no enum of that name in the object
        """
        found = self._by_name[ENUM, name]
        pairs = struct.iter_unpack("<Ii", self._types_raw[found.tail :][: 8 * found.vlen])
        return {self._string(string): value for string, value in pairs}

    def variables(self, section: str) -> dict[str, tuple[int, str]]:
        """The variables of a data section (`.rodata`, `.bss`): name → offset, struct code."""
        found = self._by_name[DATASEC, section]
        result = {}
        for i in range(found.vlen):
            var_id, offset, _ = struct.unpack_from("<III", self._types_raw, found.tail + 12 * i)
            variable = self._types[var_id]
            if self._resolve(variable.size).kind in (INT, ENUM):
                result[variable.name] = (offset, self._code(variable.size))
        return result
