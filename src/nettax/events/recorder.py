"""The instrument: load the programs, begin on each CPU, hand out what the rings hold."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from nettax.errors import MissingFeature, NettaxError, UsageError
from nettax.events.model import EVENT, Array, Kind
from nettax.events.ring import Ring
from nettax.kernel import bpf, cpus, features, pcap, percpu, vmlinux
from nettax.kernel.files import StrPath, read_word
from nettax.kernel.softnet import softnet_stat
from nettax.version import __version__

__all__ = ["Batch", "Lost", "Recorder"]

OBJECTS = Path(__file__).parent.parent / "bpf"
RING_BYTES = 16 << 20  # of a CPU: a third of a second at a million events per second
NOTES_BYTES = 1 << 20  # as in bpf/record/ring.h
BATCH = 1 << 20  # bytes: so much is written, and later read, at once

CALLED = ("mark", "try_filter")  # programs that are run by us, not by a tracepoint


class Batch(NamedTuple):
    """Events of one CPU, or notes, in the ring's own memory: write or copy before the next."""

    cpu: int | None
    """None: notes."""
    rows: Array
    """Bytes: one row for each record, with the ring's header."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Events of one CPU for which there was no room."""

    events: int
    first_ns: int
    """CLOCK_MONOTONIC, as `last_ns`."""
    last_ns: int


class Recorder:
    """The events of this host, from entering the context until `finish()`.

    ::

        with Recorder() as recorder:
            while …:
                for batch in recorder.batches():
                    …

    What `batches()` yields is gone when the next is asked for. Needs CAP_BPF and CAP_PERFMON.
    """

    def __init__(
        self,
        *,
        cpus: Iterable[int] | None = None,
        interface: str | None = None,
        packets: bool = False,
        packet_filter: str | None = None,
        ring_bytes: int = RING_BYTES,
        raw_tracepoints: bool = False,
        clock_first: bool = False,
    ) -> None:
        """Say what to record; nothing is loaded yet.

        `cpus`: these only (default: all online). `interface`: polls and packets of this device
        only, by its name in this network namespace. `packets`: record each packet received.
        `packet_filter`: only those that match, in the language of pcap-filter(7); implies
        `packets`. `ring_bytes`: the room of each CPU, a power of two. `raw_tracepoints`: do not
        try to attach by BTF. `clock_first`: read the clock as an entry's program begins, not as it
        ends: to compare with a ledger in the same seconds.

        :raises UsageError: there is no such device, the filter makes no sense, or the room is no
            power of two or less than a page
        :raises MissingFeature: a filter, but no libpcap
        """
        if ring_bytes & (ring_bytes - 1) or ring_bytes < 4096:
            raise UsageError(f"a ring has a power of two of bytes, 4096 at least; not {ring_bytes}")
        self._chosen = None if cpus is None else tuple(cpus)
        self._interface = interface
        self._device = _device(interface) if interface else {}
        self._packets = packets or packet_filter is not None
        self._filter = packet_filter
        self._code = None
        if packet_filter is not None:
            self._code = pcap.translate(pcap.compile_filter(packet_filter))
        self._ring_bytes = ring_bytes
        self._raw = raw_tracepoints
        self._clock_first = clock_first
        self._events = 0
        self._fds: list[int] = []
        self._rings: dict[int, Ring] = {}

    def __enter__(self) -> Self:
        """Load, attach and begin.

        :raises MissingFeature: no BTF, no libbpf, or a PREEMPT_RT kernel
        :raises MissingPrivilege: CAP_BPF or CAP_PERFMON is lacking
        :raises UsageError: a CPU that is not online
        """
        features.btf_path()
        if features.is_realtime():
            raise MissingFeature(
                "this kernel is PREEMPT_RT: its softirqs can be preempted, so their time cannot\n"
                "be told from entry and exit alone. nettax does not record such kernels"
            )
        online = cpus.online()
        self.cpus = self._chosen if self._chosen is not None else online
        if missing := sorted(set(self.cpus) - set(online)):
            raise UsageError(f"CPU {cpus.format_list(missing)} is not online")
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def _start(self) -> None:
        if not self._raw:
            try:
                self._load("record.bpf.o")
            except OSError:  # some kernels verify BTF-typed programs but refuse to attach them
                self._object.close()
                self._raw = True
        if self._raw:
            self._load("record.raw.bpf.o")
        states = self._object.map("cpus")
        self._states, self._stride = states.mapped(), states.stride
        self._lost = self._object.btf.layout("lost_events")
        self._lost_at = self._object.btf.offset("cpu", "lost")
        self._notes_lost = self._object.variable("notes_lost")
        self._mark = self._object.programs["mark"]
        notes = self._object.map("notes")
        self._notes = Ring(notes.fd, NOTES_BYTES, self._object.btf.size("note"))
        self._rings_begin()

    def _load(self, name: str) -> None:
        path = OBJECTS / name
        if not path.exists():
            raise NettaxError(f"{path} is missing: nettax was not built. Reinstall it")
        possible = max(cpus.possible()) + 1
        with _with_filter(path, self._code) as name:
            self._object = bpf.Object(
                name,
                wanted=self._wanted,
                constants={
                    "has_prev_state": vmlinux.tracepoint_arguments("sched_switch") == 4,
                    "clock_first": self._clock_first,
                    "has_filter": self._code is not None,
                    **self._device,
                    **percpu.trigger_offsets(),
                },
                max_entries={
                    "cpus": possible,
                    "rings": possible,
                    "frames": possible + 1 if self._packets else 1,
                },
            )
        programs = self._object.programs.values()
        self._object.attach([p for p in programs if p.name not in CALLED])

    def _wanted(self, tracepoint: str) -> bool:
        if tracepoint in CALLED:
            return tracepoint == "mark" or self._code is not None
        if tracepoint == "netif_receive_skb" and not self._packets:
            return False
        return vmlinux.tracepoint_arguments(tracepoint) is not None

    def try_filter(self, frame: bytes, length: int | None = None) -> bool:
        """For tests: what the filter, in the kernel, says of an Ethernet frame of some length."""
        captured = frame[: pcap.SNAP]
        frames = self._object.map("frames")
        slot = frames.max_entries - 1
        frames.put(struct.pack("=I", slot), captured.ljust(frames.value_size, b"\0"))
        wire = len(frame) if length is None else length
        return bool(self._object.programs["try_filter"].run(len(captured), wire, slot))

    def _rings_begin(self) -> None:
        rings = self._object.map("rings")
        for cpu in self.cpus:
            fd = bpf.new_ring(f"events_{cpu}", self._ring_bytes)
            self._fds.append(fd)
            rings.put(struct.pack("=I", cpu), struct.pack("=I", fd))
            self._rings[cpu] = Ring(fd, self._ring_bytes, EVENT.itemsize)
        self.mark(Kind.BEGIN)

    def mark(self, kind: Kind) -> None:
        """Begin or end on every CPU, with an event there that says so."""
        for cpu in self.cpus:
            self._mark.run(kind, cpu=cpu)

    @property
    def kinds(self) -> frozenset[Kind]:
        """What is recorded."""
        return frozenset(kind for kind in Kind if kind != Kind.PACKET or self._packets)

    def batches(self) -> Iterator[Batch]:
        """What the rings hold now, a batch at a time; each is released as the next is asked for."""
        sources = [*self._rings.items(), (None, self._notes)]
        for cpu, ring in sources:
            left = ring.waiting  # what comes meanwhile waits for the next round
            most = BATCH // ring.stride
            while left > 0 and len(rows := ring.records(min(most, left))):
                yield Batch(cpu, rows)
                self._events += len(rows) if cpu is not None else 0
                ring.release(len(rows))
                left -= len(rows)

    @property
    def filled(self) -> float:
        """How full the fullest ring is, from 0 to 1."""
        return max(ring.filled for ring in (*self._rings.values(), self._notes))

    def lost(self) -> Mapping[int, Lost]:
        """What was lost so far, by CPU, for want of room."""
        found = {}
        for cpu in self.cpus:
            row: Any = self._lost.unpack(self._states, cpu * self._stride + self._lost_at)
            if row.events:
                found[cpu] = Lost(row.events, row.first_ns, row.last_ns)
        return found

    def missed(self) -> int:
        """Events that the kernel gave to no program, as it was running on that CPU already."""
        return sum(program.stats().missed for program in self._object.programs.values())

    def notes_lost(self) -> int:
        """Names for which there was no room; each is told again at its next event."""
        return self._notes_lost()

    def facts(self) -> dict[str, Any]:
        """What a recording says of its host in its first line."""
        uname = os.uname()
        return {
            "nettax": __version__,
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "hostname": uname.nodename,
            "release": uname.release,
            "arch": uname.machine,
            "online": len(cpus.online()),
            "cpus": list(self.cpus),
            "clock": "CLOCK_MONOTONIC",
            "realtime_ns": time.time_ns() - time.monotonic_ns(),
            "netns": _netns(),
            "kinds": {kind.name: int(kind) for kind in sorted(self.kinds)},
            "interface": self._interface,
            "filter": self._filter,
            "squeezed": _squeezed(),
            "irqs": _irq_names(),
        }

    def last_facts(self) -> dict[str, Any]:
        """What can be said only at the end."""
        return {
            "ended": True,
            "events": self._events,
            "last_ns": time.monotonic_ns(),
            "lost": {
                cpu: [lost.events, lost.first_ns, lost.last_ns] for cpu, lost in self.lost().items()
            },
            "missed": self.missed(),
            "notes_lost": self.notes_lost(),
            "squeezed_end": _squeezed(),
            "irqs": _irq_names(),  # those, too, that came meanwhile
        }

    def close(self) -> None:
        """Detach and unload. May be called twice."""
        if hasattr(self, "_object"):
            self._object.close()
        for fd in self._fds:
            os.close(fd)
        self._fds = []

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _device(name: str) -> dict[str, int]:
    """The constants by which the programs know a device."""
    try:
        number = socket.if_nametoindex(name)
    except OSError as error:
        raise UsageError(f"there is no network device {name!r}: ip link lists them") from error
    return {"only_ifindex": number, "only_netns": _netns()}


def _netns() -> int:
    return Path("/proc/self/ns/net").stat().st_ino


@contextmanager
def _with_filter(path: Path, code: bytes | None) -> Iterator[str]:
    """The path of a BPF object, or of a copy in memory that has the filter in it."""
    if code is None:
        yield str(path)
        return
    fd = os.memfd_create("nettax-filter")
    try:
        os.write(fd, pcap.patched(path.read_bytes(), code))
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _squeezed() -> dict[int, int]:
    return {cpu: row.time_squeeze for cpu, row in softnet_stat().items()}


def _irq_names(sys: StrPath = "/sys") -> dict[int, str]:
    """The handlers' names, by IRQ; several that share one, with commas between."""
    names = {}
    for directory in Path(sys, "kernel/irq").iterdir():
        if name := read_word(directory / "actions"):
            names[int(directory.name)] = name
    return names
