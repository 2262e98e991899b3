"""Packet filters: the translation to eBPF against libpcap's own interpreter."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nettax.errors import MissingFeature, UsageError
from nettax.kernel import pcap

try:
    pcap.compile_filter("ip")
except MissingFeature as error:
    pytest.skip(str(error), allow_module_level=True)

EXPRESSIONS = (
    "udp port 53",
    "tcp",
    "host 10.0.0.1 and (tcp port 80 or port 443) and tcp[tcpflags] & tcp-syn != 0",
    "ip6 and udp dst port 5001",
    "vlan 10 and ip",
    "ip[ip[0] & 0xf] = 3",
    "(ip[2:2] / (ip[8] & 3)) > 3",
    "ip[4:2] << (ip[1] & 63) > 0x80000000",
    "ip[4:4] >> ip[1] = 0",
    "ether[300:2] = 5",
    "ether[255] = 0 or ether[254:2] = 0",
    "less 100",
    "1 = 1",
    "icmp6 or arp or len % 7 = 3",
    "not (-ip[2:2] = 5) and ip[0] ^ 3 | 4 != 0",
)
MASK = 2**64 - 1


class Machine:
    """eBPF, as far as the translation uses it; bounds of every access are checked."""

    def __init__(self, code: bytes, packet: bytes, captured: int, wire: int) -> None:
        self.code = list(struct.iter_unpack("<BBhi", code))
        self.packet = packet.ljust(pcap.SNAP, b"\xaa")
        self.stack = bytearray(b"\xbb" * 512)
        self.r = [0] * 11
        self.r[1], self.r[2], self.r[3] = 0x10000, captured, wire
        self.r[10] = 0x20000 + 512

    def load(self, address: int, size: int) -> int:
        if address >= 0x20000:
            return int.from_bytes(self.stack[address - 0x20000 :][:size], "little")
        place = address - 0x10000
        assert 0 <= place <= pcap.SNAP - size, "the verifier would refuse this"
        return int.from_bytes(self.packet[place : place + size], "little")

    def run(self) -> int:
        at = 0
        while True:
            code, registers, offset, k = self.code[at]
            dst, src = registers & 15, registers >> 4
            at += 1
            if code == 0x95:
                return self.r[0] & 0xFFFFFFFF
            kind = code & 7
            if kind in (4, 7):
                self.alu(code, dst, src, k)
            elif kind in (5, 6):
                if self.jumps(code, dst, src, k):
                    at += offset
            elif kind == 1:
                size = {0: 4, 8: 2, 16: 1}[code & 0x18]
                self.r[dst] = self.load(self.r[src] + offset, size)
            else:
                place = self.r[dst] + offset - 0x20000
                self.stack[place : place + 4] = (self.r[src] & 0xFFFFFFFF).to_bytes(4, "little")

    def alu(self, code: int, dst: int, src: int, k: int) -> None:
        wide = code & 7 == 7
        mask = MASK if wide else 0xFFFFFFFF
        a, b = self.r[dst] & mask, (self.r[src] if code & 8 else k) & mask
        operation = code & 0xF0
        if operation == 0xD0:
            raw = (self.r[dst] & ((1 << k) - 1)).to_bytes(k // 8, "little")
            self.r[dst] = int.from_bytes(raw, "big")
            return
        results = {
            0x00: a + b, 0x10: a - b, 0x20: a * b, 0x40: a | b, 0x50: a & b,
            0x60: a << (b & 31), 0x70: a >> (b & 31), 0x80: -a, 0xA0: a ^ b, 0xB0: b,
        }  # fmt: skip
        if operation in (0x30, 0x90):
            assert b, "division by nothing"
            results |= {0x30: a // b, 0x90: a % b}
        if operation in (0x60, 0x70):
            assert b < 32, "a shift that eBPF leaves open"
        self.r[dst] = results[operation] & mask

    def jumps(self, code: int, dst: int, src: int, k: int) -> bool:
        mask = MASK if code & 7 == 5 else 0xFFFFFFFF
        a, b = self.r[dst] & mask, (self.r[src] if code & 8 else k) & mask
        return {
            0x00: True, 0x10: a == b, 0x20: a > b, 0x30: a >= b, 0x40: bool(a & b),
            0x50: a != b, 0xA0: a < b, 0xB0: a <= b,
        }[code & 0xF0]  # fmt: skip


def translated(program: Sequence[pcap.Instruction], packet: bytes, wire: int) -> bool:
    seen = packet[: pcap.SNAP]
    return bool(Machine(pcap.translate(program), seen, len(seen), wire).run())


@st.composite
def packets(draw: st.DrawFn) -> bytes:
    """Bytes that are often near to something that the expressions look for."""
    packet = bytearray(draw(st.binary(max_size=300)))
    if len(packet) > 44 and draw(st.booleans()):
        packet[12:14] = draw(st.sampled_from([b"\x08\0", b"\x86\xdd", b"\x81\0", b"\x08\x06"]))
        packet[14] = draw(st.sampled_from([0x45, 0x46, 0x60]))
        packet[20:22] = draw(st.sampled_from([b"\0\0", b"\x11\0", b"\x06\0", b"\x3a\0"]))
        packet[23] = draw(st.sampled_from([6, 17, 1]))
        packet[26:30] = draw(st.sampled_from([b"\x0a\0\0\x01", b"\x0a\0\0\x02"]))
        packet[36:38] = draw(st.sampled_from([b"\0\x35", b"\0\x50", b"\x13\x89"]))
    return bytes(packet)


@pytest.mark.parametrize("expression", EXPRESSIONS)
@given(packet=packets(), longer=st.integers(0, 2000))
@settings(max_examples=12, deadline=None)
def test_as_libpcap_has_it(expression: str, packet: bytes, longer: int) -> None:
    program = pcap.compile_filter(expression)
    wire = len(packet) + longer
    expected = pcap.matches(program, packet[: pcap.SNAP], wire)
    assert translated(program, packet, wire) == expected


STATEMENTS = st.one_of(
    st.builds(pcap.Instruction, st.sampled_from([0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0xB1]),
              st.just(0), st.just(0), st.integers(0, 300)),
    st.builds(pcap.Instruction, st.sampled_from([0x00, 0x01, 0x80, 0x81, 0x07, 0x87]),
              st.just(0), st.just(0), st.integers(0, 2**32 - 1)),
    st.builds(pcap.Instruction, st.sampled_from([0x02, 0x03, 0x60, 0x61]),
              st.just(0), st.just(0), st.integers(0, 15)),
    st.builds(pcap.Instruction,
              st.sampled_from([op | x | 4 for op in range(0, 0xB0, 0x10) for x in (0, 8)
                               if (op, x) not in ((0x60, 0), (0x70, 0), (0x80, 8))]),
              st.just(0), st.just(0), st.integers(0, 2**32 - 1)),
    st.builds(pcap.Instruction,
              st.sampled_from([op | x | 5 for op in range(0x10, 0x50, 0x10) for x in (0, 8)]),
              st.integers(0, 3), st.integers(0, 3), st.integers(0, 2**32 - 1)),
)  # fmt: skip


@given(body=st.lists(STATEMENTS, max_size=30), packet=st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_any_program(body: list[pcap.Instruction], packet: bytes) -> None:
    """Whatever libpcap could compile to, and what it could not."""
    safe = [i if i.code not in (0x34, 0x94) or i.k else i._replace(k=1) for i in body]
    zeroed = [pcap.Instruction(0x02, 0, 0, slot) for slot in range(16)]
    program = (*zeroed, *safe, *[pcap.Instruction(0x16, 0, 0, 0)] * 4)
    assert translated(program, packet, len(packet)) == pcap.matches(
        program, packet[: pcap.SNAP], len(packet)
    )


def test_what_libpcap_does_not_understand() -> None:
    with pytest.raises(UsageError, match="syntax error"):
        pcap.compile_filter("udp prot 53")
    with pytest.raises(UsageError, match="loop"):
        pcap.translate(pcap.compile_filter("ip6 protochain 17"))
    with pytest.raises(UsageError, match="NUL"):
        pcap.compile_filter("udp\0")


def test_a_filter_must_fit() -> None:
    expression = " or ".join(f"host 10.0.{i}.{j}" for i in range(2) for j in range(150))
    code = pcap.translate(pcap.compile_filter(expression))
    with pytest.raises(UsageError, match="more than"):
        pcap.patched(b"x" * 8 + b"\x05\0\0\0\0\0\0\0" * pcap.SLOT, code)
    with pytest.raises(ValueError, match="not one slot"):
        pcap.patched(b"", code)
