"""Writes small perf.data files, in either order of bytes, as perf on other machines does."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

IP, TID, TIME, CPU, PERIOD, RAW, IDENTIFIER = (
    *(1 << 0, 1 << 1, 1 << 2, 1 << 7, 1 << 8, 1 << 10, 1 << 16),
)
SAMPLE_TYPE = IP | TID | TIME | CPU | PERIOD | RAW | IDENTIFIER
FORMATS = {
    223: ("softirq_entry", [("unsigned int", "vec", 8, 4, 0)]),
    222: ("softirq_exit", [("unsigned int", "vec", 8, 4, 0)]),
    225: (
        "irq_handler_entry",
        [("int", "irq", 8, 4, 1), ("__data_loc char[]", "name", 12, 4, 0)],
    ),
    300: (
        "napi_poll",
        [
            ("struct napi_struct *", "napi", 8, 8, 0),
            ("__data_loc char[]", "dev_name", 16, 4, 0),
            ("int", "work", 20, 4, 1),
            ("int", "budget", 24, 4, 1),
        ],
    ),
}


def format_text(number: int) -> str:
    """As in tracefs."""
    name, fields = FORMATS[number]
    common = [("unsigned short", "common_type", 0, 2, 0), ("int", "common_pid", 4, 4, 1)]
    lines = [f"name: {name}", f"ID: {number}", "format:"]
    for kind, field_, offset, size, signed in [*common, *fields]:
        lines.append(f"\tfield:{kind} {field_};\toffset:{offset};\tsize:{size};\tsigned:{signed};")
    return "\n".join([*lines, "", 'print fmt: ""', ""])


@dataclass
class PerfWriter:
    """Collects records, then writes the file."""

    order: str = "<"
    sample_id_all: bool = True
    records: list[bytes] = field(default_factory=list)

    def pack(self, code: str, *values: int) -> bytes:
        return struct.pack(self.order + code, *values)

    def record(self, kind: int, body: bytes, misc: int = 0) -> None:
        body += bytes(-len(body) % 8)
        self.records.append(self.pack("IHH", kind, misc, 8 + len(body)) + body)

    def sample(self, number: int, cpu: int, time: int, pid: int, raw: bytes) -> None:
        """A sample of tracepoint `number`, whose fields from offset 8 on are `raw`."""
        raw = self.pack("HBBi", number, 0, 0, pid) + raw
        raw += bytes((4 - len(raw)) % 8)  # with its size before it, whole units
        body = self.pack("QQIIQIIQ", self.ident(number), 0, pid, pid, time, cpu, 0, 1)
        self.record(9, body + self.pack("I", len(raw)) + raw, misc=1)

    def softirq(self, cpu: int, time: int, pid: int, vector: int, entry: bool) -> None:
        self.sample(223 if entry else 222, cpu, time, pid, self.pack("I", vector))

    def irq(self, cpu: int, time: int, pid: int, irq: int, name: str) -> None:
        text = name.encode() + b"\0"
        self.sample(225, cpu, time, pid, self.pack("iI", irq, 16 | len(text) << 16) + text)

    def poll(self, cpu: int, time: int, pid: int, device: str, work: int) -> None:
        text = device.encode() + b"\0"
        body = self.pack("QIii", 0xFFFF888012345678, 28 | len(text) << 16, work, 64)
        self.sample(300, cpu, time, pid, body + text)

    def comm(self, pid: int, name: str, time: int) -> None:
        text = name.encode() + b"\0"
        text += bytes(-len(text) % 8)
        self.record(3, self.pack("ii", pid, pid) + text + self.trailer(0, time))

    def lost(self, cpu: int, time: int, number: int) -> None:
        self.record(2, self.pack("QQ", self.ident(223), number) + self.trailer(cpu, time))

    def round(self) -> None:
        self.record(68, b"")

    def trailer(self, cpu: int, time: int) -> bytes:
        return self.pack("IIQIIQ", 0, 0, time, cpu, 0, self.ident(223))

    def ident(self, number: int) -> int:
        return 1000 + sorted(FORMATS).index(number)

    def attr(self, number: int) -> bytes:
        flags = 1 << 18 if self.sample_id_all else 0
        head = self.pack("IIQQQQQ", 2, 128, number, 1, SAMPLE_TYPE, 0, flags)
        return head + bytes(128 - len(head))

    def tracing_data(self) -> bytes:
        def sized(code: str, text: bytes) -> bytes:
            return self.pack(code, len(text)) + text

        out = b"\x17\x08\x44tracing0.6\0" + bytes([self.order == ">", 8]) + self.pack("I", 4096)
        out += b"header_page\0" + sized("Q", b"") + b"header_event\0" + sized("Q", b"")
        out += self.pack("I", 0) + self.pack("I", 1) + b"irq\0" + self.pack("I", len(FORMATS))
        for number in FORMATS:
            out += sized("Q", format_text(number).encode())
        return out + sized("I", b"") + sized("I", b"") + sized("Q", b"")

    def string(self, text: str) -> bytes:
        raw = text.encode() + b"\0"
        raw += bytes(-len(raw) % 64)
        return self.pack("I", len(raw)) + raw

    def bytes(self) -> bytes:
        """The file."""
        attrs_at, entry = 104, 128 + 16
        ids_at = attrs_at + entry * len(FORMATS)
        start = ids_at + 8 * len(FORMATS)
        attrs = ids = b""
        for i, number in enumerate(sorted(FORMATS)):
            attrs += self.attr(number) + self.pack("QQ", ids_at + 8 * i, 8)
            ids += self.pack("Q", self.ident(number))
        data = b"".join(self.records)
        features = {1: self.tracing_data(), 3: self.string("there"), 4: self.string("6.1.0")}
        bits = sum(1 << number for number in features)
        table, sections = b"", b""
        place = start + len(data) + 16 * len(features)
        for content in features.values():
            table += self.pack("QQ", place + len(sections), len(content))
            sections += content
        magic = b"PERFILE2" if self.order == "<" else b"2ELIFREP"
        head = magic + self.pack("QQ", 104, entry)
        head += self.pack("QQQQQQ", attrs_at, entry * len(FORMATS), start, len(data), 0, 0)
        head += self.pack("4Q", bits, 0, 0, 0)
        return head + attrs + ids + data + table + sections
