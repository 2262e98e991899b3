"""Layouts read from BTF against the compiler's, known and random."""

from __future__ import annotations

import ctypes
import os
import shutil
import string
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nettax.errors import MissingFeature
from nettax.kernel.btf import Btf, Layout
from nettax.kernel.libbpf import libbpf

CLANG = shutil.which(os.environ.get("CLANG", "clang"))
pytestmark = pytest.mark.skipif(CLANG is None, reason="needs clang to make BTF")

PRELUDE = """
typedef signed char s8; typedef short s16; typedef int s32; typedef long long s64;
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32;
typedef unsigned long long u64;
"""
KNOWN = """
enum colour { RED, GREEN = 5, BLUE };
typedef volatile const u32 odd_word;
struct known {
    u8 first;
    s64 wide;             /* after 7 bytes of padding */
    char name[6];
    u16 numbers[3];
    s16 grid[2][3];
    _Bool flag;
    enum colour colour;
    odd_word word;
    char letter;
    s32 none[0];
};                        /* and 4 bytes at the end */
struct with_pointer { u32 number; void *pointer; };
const volatile u32 setting = 7;
const volatile _Bool choice;
u64 counter;
s16 small[3];
struct known used;
struct with_pointer unused;
"""

Compile = Callable[[str], Btf]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """A compiler from C to BTF, as libbpf gives it: with the offsets of variables filled in."""
    try:
        lib = libbpf()
    except MissingFeature as error:
        pytest.skip(str(error))
    directory = tmp_path_factory.mktemp("btf")

    def compile_(source: str) -> Btf:
        path = directory / "one.o"
        subprocess.run(
            [str(CLANG), "-target", "bpf", "-g", "-O2", "-xc", "-", "-c", "-o", path],
            input=PRELUDE + source,
            text=True,
            check=True,
        )
        handle = lib.bpf_object__open_file(os.fsencode(path), None)
        assert handle
        try:
            length = ctypes.c_uint32()
            raw = lib.btf__raw_data(lib.bpf_object__btf(handle), ctypes.byref(length))
            return Btf(ctypes.string_at(raw, length.value))
        finally:
            lib.bpf_object__close(handle)

    return compile_


@pytest.fixture(scope="session")
def known(compiled: Compile) -> Btf:
    return compiled(KNOWN)


class Known(ctypes.Structure):
    """The same, as ctypes lays it out."""

    _fields_ = (
        ("first", ctypes.c_uint8),
        ("wide", ctypes.c_int64),
        ("name", ctypes.c_char * 6),
        ("numbers", ctypes.c_uint16 * 3),
        ("grid", ctypes.c_int16 * 6),
        ("flag", ctypes.c_bool),
        ("colour", ctypes.c_uint32),
        ("word", ctypes.c_uint32),
        ("letter", ctypes.c_int8),
    )


def sample(name: bytes = b"abc") -> Known:
    return Known(200, -5, name, (1, 2, 65535), (1, -2, 3, -4, 5, -6), True, 6, 1 << 31, -1)


def test_sizes_and_offsets(known: Btf) -> None:
    assert known.size("known") == ctypes.sizeof(Known) == 56
    for name, _ in Known._fields_:
        assert known.offset("known", name) == getattr(Known, name).offset


def test_every_kind_of_field(known: Btf) -> None:
    row = known.layout("known").unpack(bytes(sample()))
    assert row._asdict() == {
        "first": 200,
        "wide": -5,
        "name": "abc",
        "numbers": (1, 2, 65535),
        "grid": (1, -2, 3, -4, 5, -6),
        "flag": True,
        "colour": 6,
        "word": 1 << 31,
        "letter": -1,
        "none": (),
    }


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", ""),
        (b"sixsix", "sixsix"),  # no room for a zero
        (b"a\0bcd", "a"),
        ("añb".encode(), "añb"),
        ("abcdeñ".encode()[:6], "abcde�"),  # cut inside a character, as the kernel does
    ],
)
def test_text(known: Btf, raw: bytes, text: str) -> None:
    assert known.layout("known").unpack(bytes(sample(raw))).name == text


def test_structs_in_the_middle_of_a_buffer(known: Btf) -> None:
    layout = known.layout("known")
    buffer = b"x" * 3 + bytes(sample()) + b"y"
    assert layout.unpack(buffer, 3) == layout.unpack(bytes(sample()))
    assert layout.size == len(bytes(sample()))


def test_one_field_alone(known: Btf) -> None:
    layout = known.layout("known")
    assert layout.field("wide")(bytes(sample())) == -5
    assert layout.field("colour")(bytes(sample())) == 6
    with pytest.raises(KeyError):
        layout.field("absent")


def test_variables(known: Btf) -> None:
    constants = known.variables(".rodata")
    assert {name: code for name, (_, code) in constants.items()} == {"setting": "I", "choice": "?"}
    offsets = {offset for offset, _ in constants.values()}
    assert len(offsets) == 2
    assert known.variables(".bss")["counter"][1] == "Q"
    assert known.variables(".bss")["counter"][0] % 8 == 0


def test_what_is_not_there(known: Btf) -> None:
    for find in (known.layout, known.size, known.variables):
        with pytest.raises(KeyError):
            find("absent")
    for struct, member in (("known", "absent"), ("absent", "first")):
        with pytest.raises(KeyError):
            known.offset(struct, member)


def test_what_has_no_place_in_a_shared_struct(known: Btf) -> None:
    with pytest.raises(TypeError, match="has no place in a shared struct"):
        known.layout("with_pointer")


# --- random structs ------------------------------------------------------------------------------

INTEGERS: dict[str, Any] = {
    f"{sign}{bits}": getattr(ctypes, f"c_{'u' * (sign == 'u')}int{bits}")
    for sign in "us"
    for bits in (8, 16, 32, 64)
}


def values(name: str) -> st.SearchStrategy[int]:
    bits = int(name[1:])
    low, high = (0, 2**bits - 1) if name[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return st.integers(low, high)


@st.composite
def fields(draw: st.DrawFn) -> tuple[str, Any, Any, Any]:
    """A field's declaration without its name, its ctypes type, a value for that, and as read."""
    name = draw(st.sampled_from([*INTEGERS, "char"]))
    if name == "char":
        length = draw(st.integers(1, 20))
        text = draw(st.text(string.ascii_letters, max_size=length))
        return f"char {{}}[{length}]", ctypes.c_char * length, text.encode(), text
    sizes = draw(st.lists(st.integers(1, 3), max_size=2))
    count = 1
    for size in sizes:
        count *= size
    drawn = tuple(draw(values(name)) for _ in range(count))
    if not sizes:
        return f"{name} {{}}", INTEGERS[name], drawn[0], drawn[0]
    declaration = f"{name} {{}}" + "".join(f"[{size}]" for size in sizes)
    return declaration, INTEGERS[name] * count, drawn, drawn


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.lists(fields(), min_size=1, max_size=12), min_size=8, max_size=8))
def test_random_structs_read_back(
    compiled: Compile, structs: list[list[tuple[str, Any, Any, Any]]]
) -> None:
    """Eight structs to one run of the compiler, each filled by ctypes and read by its BTF."""
    source = "\n".join(
        f"struct s{i} {{ {' '.join(f[0].format(f'm{j}') + ';' for j, f in enumerate(members))} }};"
        f"struct s{i} v{i};"
        for i, members in enumerate(structs)
    )
    btf = compiled(source)
    for i, members in enumerate(structs):
        shape = type(
            "Shape",
            (ctypes.Structure,),
            {"_fields_": [(f"m{j}", kind) for j, (_, kind, _, _) in enumerate(members)]},
        )
        filled: Any = shape(*(given_ for _, _, given_, _ in members))
        layout: Layout = btf.layout(f"s{i}")
        assert layout.size == ctypes.sizeof(shape)
        assert list(layout.unpack(bytes(filled))) == [expected for *_, expected in members]


def test_the_ledgers_own_header(compiled: Compile) -> None:
    """The layouts that are relied on: of the built object, and of the header as it is now."""
    import nettax

    header = (Path(nettax.__file__).parent / "bpf/ledger.h").read_text()
    source = header.replace("__u", "u").replace("__s", "s")
    variables = "struct task_account a; struct cpu_totals b; struct task_key c;"
    btf = compiled(source + variables)
    row = btf.layout("task_account").unpack(bytes(btf.size("task_account")))
    assert len(row.softirq_ns) == 10
    assert len(row.displaced_ns) == 3
    assert row.comm == ""
    assert btf.size("task_key") == 16
