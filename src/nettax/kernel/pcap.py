"""Packet filters in tcpdump's language, to run in the kernel: pcap-filter(7).

libpcap compiles the text to classic BPF; this translates classic BPF to eBPF, which BPF programs
can call. Semantics: bpf_filter() in libpcap's bpf_filter.c, and "The BSD Packet Filter" (McCanne,
Jacobson, 1993). A load beyond the packet ends the filter with no match.
"""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from nettax.errors import MissingFeature, UsageError

__all__ = ["SLOT", "SNAP", "Instruction", "compile_filter", "matches", "patched", "translate"]

SNAP: Final = 256
"""Bytes of a packet that a filter can see: FILTER_BYTES of bpf/record/filter.h."""
SLOT: Final = 2048
"""eBPF instructions that a filter can have: FILTER_SLOT there."""

_DLT_EN10MB = 1
_NETMASK_UNKNOWN = 0xFFFFFFFF


class Instruction(NamedTuple):
    """One of classic BPF: struct bpf_insn of pcap/bpf.h."""

    code: int
    jt: int
    jf: int
    k: int


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.c_void_p))


@functools.cache
def _libpcap() -> ctypes.CDLL:
    try:
        lib = ctypes.CDLL("libpcap.so.0.8")
    except OSError:
        try:
            lib = ctypes.CDLL("libpcap.so.1")
        except OSError as error:
            raise MissingFeature(
                "libpcap is missing, which compiles packet filters.\n"
                "Install it: apt install libpcap0.8 (Fedora, RHEL: dnf install libpcap)"
            ) from error
    lib.pcap_open_dead.restype = ctypes.c_void_p
    lib.pcap_open_dead.argtypes = [ctypes.c_int, ctypes.c_int]
    lib.pcap_compile.argtypes = [
        ctypes.c_void_p,
        ctypes.POINTER(_Program),
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_uint32,
    ]
    lib.pcap_geterr.restype = ctypes.c_char_p
    lib.pcap_geterr.argtypes = [ctypes.c_void_p]
    lib.pcap_freecode.argtypes = [ctypes.POINTER(_Program)]
    lib.pcap_close.argtypes = [ctypes.c_void_p]
    lib.bpf_filter.restype = ctypes.c_uint
    lib.bpf_filter.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint, ctypes.c_uint]
    return lib


def compile_filter(text: str) -> tuple[Instruction, ...]:
    """Compile a filter for Ethernet frames.

    :raises UsageError: libpcap does not understand it
    :raises MissingFeature: there is no libpcap
    """
    lib = _libpcap()
    handle = lib.pcap_open_dead(_DLT_EN10MB, 65535)
    program = _Program()
    try:
        encoded = text.encode(errors="surrogateescape")
        if b"\0" in encoded:
            raise UsageError(f"--filter {text!r}: a NUL is no part of a filter")
        if lib.pcap_compile(handle, ctypes.byref(program), encoded, 1, _NETMASK_UNKNOWN):
            reason = lib.pcap_geterr(handle).decode(errors="replace")
            raise UsageError(f"--filter {text!r}: {reason} (pcap-filter(7) has the language)")
        raw = ctypes.string_at(program.instructions, 8 * program.length)
        lib.pcap_freecode(ctypes.byref(program))
        return tuple(Instruction(*fields) for fields in struct.iter_unpack("=HBBI", raw))
    finally:
        lib.pcap_close(handle)


def matches(program: Sequence[Instruction], packet: bytes, length: int | None = None) -> bool:
    """What libpcap's own interpreter says of a packet, of which `packet` may be the beginning."""
    raw = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    wire = len(packet) if length is None else length
    return bool(_libpcap().bpf_filter(raw, packet, wire, len(packet)))


# Classic BPF: include/uapi/linux/bpf_common.h and filter.h.
LD, LDX, ST, STX, ALU, JMP, RET, MISC = range(8)
ABS, IND, MEM, LEN, MSH = 0x20, 0x40, 0x60, 0x80, 0xA0
BYTES = {0x00: 4, 0x08: 2, 0x10: 1}  # W, H, B
ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, NEG, MOD, XOR = range(0, 0xB0, 0x10)
JA, JEQ, JGT, JGE, JSET = range(0, 0x50, 0x10)
X_OPERAND = 0x08

# eBPF, likewise: instruction-set.rst of the kernel's documentation.
R0, R1, R2, R3, R4, R5, R6 = range(7)
A, X, DATA, CAPTURED, WIRE, T1, T2 = R0, R4, R1, R2, R3, R5, R6
FRAME = 10
ALU32, ALU64, JMP64, JMP32 = 0x04, 0x07, 0x05, 0x06
MOV, EXIT, END_TO_BE = 0xB0, 0x95, 0xDC
JNE, JLT, JLE, JSETX = 0x50, 0xA0, 0xB0, 0x40
LOAD = {4: 0x61, 2: 0x69, 1: 0x71}
LOAD_WORD, STORE_WORD = 0x61, 0x63


def _op(code: int, dst: int = 0, src: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    signed = immediate - (1 << 32) if immediate >= 1 << 31 else immediate
    return struct.pack("<BBhi", code, dst | src << 4, offset, signed)


class _Translation:
    """eBPF being written: `r0 filter(r1 = data, r2 = captured, r3 = wire)`, a subprogram.

    Accumulator and index register are R0 and R4; R5 and R6 are for addresses.
    """

    def __init__(self, program: Sequence[Instruction]) -> None:
        self._program = program
        self._code: list[bytes] = []
        self._jumps: list[tuple[int, int]] = []  # where, to which classic instruction
        self._rejects: list[int] = []
        self._places: list[int] = []

    def translate(self) -> bytes:
        self._emit(ALU32 | MOV, A)
        self._emit(ALU32 | MOV, X)
        used = {i.k for i in self._program if i.code & 7 in (ST, STX) or self._is_memory(i)}
        for slot in sorted(used):  # what a program reads before it writes is zero
            self._emit(STORE_WORD, FRAME, A, -4 * (slot + 1))
        for instruction in self._program:
            self._places.append(len(self._code))
            self._one(instruction)
        reject = len(self._code)
        if self._rejects:
            self._emit(ALU32 | MOV, R0)
            self._emit(EXIT)
        for place, target in self._jumps:
            self._aim(place, self._places[target])
        for place in self._rejects:
            self._aim(place, reject)
        return b"".join(self._code)

    @staticmethod
    def _is_memory(instruction: Instruction) -> bool:
        return instruction.code & 7 in (LD, LDX) and instruction.code & 0xE0 == MEM

    def _emit(self, code: int, dst: int = 0, src: int = 0, offset: int = 0, k: int = 0) -> None:
        self._code.append(_op(code, dst, src, offset, k))

    def _aim(self, place: int, target: int) -> None:
        code, registers, _, k = struct.unpack("<BBhi", self._code[place])
        self._code[place] = struct.pack("<BBhi", code, registers, target - place - 1, k)

    def _reject_if(self, code: int, dst: int, src: int = 0, k: int = 0) -> None:
        self._rejects.append(len(self._code))
        self._emit(code, dst, src, 0, k)

    def _reject(self) -> None:
        # Always; but the verifier wants to see a way to what follows.
        self._reject_if(JMP64 | JGE, CAPTURED)

    def _one(self, i: Instruction) -> None:
        kind = i.code & 7
        if kind in (LD, LDX):
            self._load(i, A if kind == LD else X)
        elif kind in (ST, STX):
            self._emit(STORE_WORD, FRAME, A if kind == ST else X, -4 * (i.k + 1))
        elif kind == ALU:
            self._alu(i)
        elif kind == JMP:
            self._jump(i)
        elif kind == RET:
            if i.code & 0x18 != 0x10:  # not of A
                self._emit(ALU32 | MOV, A, k=i.k)
            self._emit(EXIT)
        elif i.code & 0xF8 == 0x80:  # TXA
            self._emit(ALU32 | MOV | X_OPERAND, A, X)
        else:  # TAX
            self._emit(ALU32 | MOV | X_OPERAND, X, A)

    def _load(self, i: Instruction, to: int) -> None:
        mode = i.code & 0xE0
        if mode == ABS:
            self._load_fixed(i.k, BYTES[i.code & 0x18], to)
        elif mode == IND:
            self._load_indexed(i.k, BYTES[i.code & 0x18])
        elif mode == MSH:  # 4 × the low half of a byte: an IPv4 header's length
            self._load_fixed(i.k, 1, X)
            self._emit(ALU32 | AND, X, k=15)
            self._emit(ALU32 | LSH, X, k=2)
        elif mode == MEM:
            self._emit(LOAD_WORD, to, FRAME, -4 * (i.k + 1))
        elif mode == LEN:
            self._emit(ALU32 | MOV | X_OPERAND, to, WIRE)
        else:
            self._emit(ALU32 | MOV, to, k=i.k)

    def _load_fixed(self, offset: int, size: int, to: int) -> None:
        if offset + size > SNAP:
            self._reject()
            return
        self._reject_if(JMP64 | JLT, CAPTURED, k=offset + size)
        self._emit(LOAD[size], to, DATA, offset)
        self._swap(size, to)

    def _load_indexed(self, offset: int, size: int) -> None:
        if offset + size > SNAP:
            self._reject()
            return
        # Two checks: against what there is of the packet, and one that the verifier can follow.
        self._emit(ALU32 | MOV | X_OPERAND, T1, X)
        self._reject_if(JMP64 | JGT, T1, k=SNAP - offset - size)
        self._emit(ALU64 | MOV | X_OPERAND, T2, T1)
        self._emit(ALU64 | ADD, T2, k=offset + size)
        self._reject_if(JMP64 | JGT | X_OPERAND, T2, CAPTURED)
        self._emit(ALU64 | MOV | X_OPERAND, T2, DATA)
        self._emit(ALU64 | ADD | X_OPERAND, T2, T1)
        self._emit(LOAD[size], A, T2, offset)
        self._swap(size, A)

    def _swap(self, size: int, register: int) -> None:
        if size > 1:
            self._emit(END_TO_BE, register, k=8 * size)

    def _alu(self, i: Instruction) -> None:
        operation = i.code & 0xF0
        if operation == NEG:
            self._emit(ALU32 | NEG, A)
        elif not i.code & X_OPERAND:
            self._alu_constant(operation, i.k)
        else:
            if operation in (DIV, MOD):  # by nothing: no match
                self._reject_if(JMP32 | JEQ, X)
            if operation in (LSH, RSH):  # by 32 and more: nothing is left
                self._emit(JMP32 | JLE, X, offset=1, k=31)
                self._emit(ALU32 | MOV, A)
                self._emit(JMP32 | JGT, X, offset=1, k=31)
            self._emit(ALU32 | operation | X_OPERAND, A, X)

    def _alu_constant(self, operation: int, k: int) -> None:
        if operation in (DIV, MOD) and k == 0:
            self._reject()
        elif operation in (LSH, RSH) and k > 31:
            self._emit(ALU32 | MOV, A)
        else:
            self._emit(ALU32 | operation, A, k=k)

    def _jump(self, i: Instruction) -> None:
        here = len(self._places)  # the instruction after this one
        if i.code & 0xF0 == JA:
            self._goto(here + i.k)
            return
        operation, operand = i.code & 0xF0, i.code & X_OPERAND
        self._jumps.append((len(self._code), here + i.jt))
        self._emit(JMP32 | operation | operand, A, X if operand else 0, k=0 if operand else i.k)
        self._goto(here + i.jf)

    def _goto(self, target: int) -> None:
        self._jumps.append((len(self._code), target))
        self._emit(JMP64 | JA)


def translate(program: Sequence[Instruction]) -> bytes:
    """The filter as an eBPF subprogram of three arguments: data, bytes captured, bytes in all.

    The data must be readable for `SNAP` bytes, and at most so many be captured.

    :raises UsageError: it jumps back, as `protochain` makes it, which no kernel takes
    """
    for i, instruction in enumerate(program):
        always = instruction.code & 0xFF == JMP | JA
        if instruction.code & 7 == JMP and always and i + 1 + instruction.k >= len(program):
            raise UsageError("--filter: protochain makes a loop, which the kernel does not take")
    return _Translation(program).translate()


_NOP = _op(JMP64 | JA)


def patched(image: bytes, code: bytes) -> bytes:
    """A BPF object whose slot for a filter, a run of `SLOT` no-ops, holds this one.

    What is left of the slot can be jumped to, as the verifier wants of all code, but never is.

    :raises UsageError: the filter is too long
    :raises ValueError: the object has no slot, or two
    """
    start = image.find(_NOP * SLOT)
    if start < 0 or image.find(_NOP * SLOT, start + 8) >= 0:
        raise ValueError("the object has not one slot for a filter")
    head = [_op(ALU32 | MOV, R0), _op(JMP32 | JNE, R0, offset=len(code) // 8)]
    rest = SLOT - len(head) - len(code) // 8
    if rest < 0:
        raise UsageError(
            f"--filter: {len(code) // 8} instructions are more than the {SLOT} allowed"
        )
    tail = _op(ALU32 | MOV, R0) * rest  # an exit follows the slot
    return image[:start] + b"".join(head) + code + tail + image[start + 8 * SLOT :]
