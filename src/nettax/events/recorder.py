"""The instrument: load the programs, begin on each CPU, hand out what the rings hold."""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from nettax.errors import UsageError
from nettax.events.model import EVENT, Array, Kind
from nettax.events.ring import Ring
from nettax.kernel import bpf, cpus, pcap, percpu, programs
from nettax.kernel.files import StrPath, read_word
from nettax.kernel.softnet import softnet_stat
from nettax.version import __version__

__all__ = ["Batch", "Lost", "Recorder", "Untraced"]

RING_BYTES = 16 << 20  # of a CPU: a third of a second at a million events per second
MOST_RING_BYTES = 1 << 31  # the kernel's number of bytes has 32 bits
NOTES_BYTES = 1 << 20  # as in bpf/record/ring.h
BATCH = 1 << 20  # bytes: so much is written, and later read, at once
COUNT = 0  # asks the program `mark` for what went untraced; else it takes BEGIN or END


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
    untold: int
    """Those of them of which no LOST in the stream tells."""


@dataclass(frozen=True, slots=True)
class Untraced:
    """What the kernel counted on one CPU, and showed to no program.

    Some hosts hide their supervisor's threads from tracing, and with them what interrupts them.
    What was under way as recording began or ended may be one too many or too few of either.
    """

    softirqs: tuple[int, ...]
    """Runs, by vector."""
    switches: int
    packets: int | None
    """Passes through netif_receive_skb, matching or not; None: packets are not recorded.

    At least so many: the kernel may count a packet twice that a VLAN tagged."""

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return any((*self.softirqs, self.switches, self.packets))


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
        leave_moments: bool = False,
    ) -> None:
        """Say what to record; nothing is loaded yet.

        `cpus`: these only (default: all online). `interface`: polls and packets of this device
        only, by its name in this network namespace. `packets`: record each packet received.
        `packet_filter`: only those that match, in the language of pcap-filter(7); implies
        `packets`. `ring_bytes`: the room of each CPU, a power of two. `raw_tracepoints`: do not
        try to attach by BTF. `leave_moments`: for tests, have another object's
        programs, attached after these, take the times of interrupts from here.

        :raises UsageError: there is no such device, the filter makes no sense, or the room is no
            power of two from 4 KiB to 2 GiB
        :raises MissingFeature: a filter, but no libpcap
        """
        if ring_bytes & (ring_bytes - 1) or not 4096 <= ring_bytes <= MOST_RING_BYTES:
            raise UsageError(
                f"a CPU's buffer has a power of two of bytes, from 4K to 2G; not {ring_bytes}"
            )
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
        self._leave_moments = leave_moments
        self._counts = percpu.count_offsets()
        self._ended = False
        self._events = 0
        self._fds: list[int] = []
        self._rings: dict[int, Ring] = {}

    def __enter__(self) -> Self:
        """Load, attach and begin.

        :raises MissingFeature: no BTF, no libbpf, or a PREEMPT_RT kernel
        :raises MissingPrivilege: CAP_BPF or CAP_PERFMON is lacking
        :raises UsageError: a CPU that is not online
        """
        programs.check_kernel()
        self.cpus = programs.online_of(self._chosen)
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def _start(self) -> None:
        self._load()
        states = self._object.map("cpus")
        self._states, self._stride = states.mapped(), states.stride
        self._lost = self._object.btf.layout("lost_events")
        self._lost_at = self._object.btf.offset("cpu", "lost")
        self._untraced = self._object.btf.layout("counts")
        self._untraced_at = self._object.btf.offset("cpu", "untraced")
        self._notes_lost = self._object.variable("notes_lost")
        self._mark = self._object.programs["mark"]
        notes = self._object.map("notes")
        self._notes = Ring(notes.fd, NOTES_BYTES, self._object.btf.size("note"))
        self._rings_begin()

    def _load(self) -> None:
        possible = max(cpus.possible()) + 1
        left_out = set()
        if not self._packets:
            left_out.add("netif_receive_skb")
        if self._code is None:
            left_out.add("try_filter")
        self._object, _ = programs.attached(
            "record",
            called=("mark", "try_filter"),
            without=left_out,
            raw=self._raw,
            edit=self._with_filter if self._code is not None else None,
            constants={
                "leave_moments": self._leave_moments,
                "has_filter": self._code is not None,
                **self._device,
                **self._counts,
            },
            max_entries={
                "cpus": possible,
                "rings": possible,
                "frames": possible + 1 if self._packets else 1,
                "moments": possible if self._leave_moments else 1,
            },
        )

    def _with_filter(self, image: bytes) -> bytes:
        return image if self._code is None else pcap.patched(image, self._code)

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
        self._mark_all(Kind.BEGIN)
        self._untraced_then = {cpu: self._uncounted(cpu) for cpu in self.cpus}

    @property
    def moments(self) -> int:
        """For tests: the descriptor of the map where times are left."""
        return self._object.map("moments").fd

    def end(self) -> None:
        """End on every CPU, with an event there that says so."""
        self._mark_all(Kind.END)
        self._ended = True

    def _mark_all(self, request: int) -> None:
        for cpu in self.cpus:
            try:
                self._mark.run(request, cpu=cpu)
            except OSError as error:
                if error.errno != errno.ENXIO:  # it went offline
                    raise

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
            row = self._lost.unpack(self._states, cpu * self._stride + self._lost_at)
            if row.events:
                found[cpu] = Lost(*row)
        return found

    def missed(self) -> int:
        """Events that came to no program, as it was running on that CPU already.

        And, once all has ended, those that never left their ring.
        """
        left = sum(ring.waiting for ring in self._rings.values()) if self._ended else 0
        return left + sum(program.stats().missed for program in self._object.programs.values())

    def untraced(self) -> Mapping[int, Untraced] | None:
        """What the kernel has shown to no program so far, by CPU; None: this one does not tell."""
        if not self._counts:
            return None
        if not self._ended:
            self._mark_all(COUNT)
        found = {}
        for cpu in self.cpus:
            now, then = self._uncounted(cpu), self._untraced_then[cpu]
            *softirqs, switches, packets, tagged = map(_growth, now, then)
            packets -= min(max(packets, 0), tagged)
            row = Untraced(tuple(softirqs), switches, packets if self._packets else None)
            if row:
                found[cpu] = row
        return found

    def _uncounted(self, cpu: int) -> tuple[int, ...]:
        row = self._untraced.unpack(self._states, cpu * self._stride + self._untraced_at)
        return (*row.softirqs, row.switches, row.packets, row.tagged)

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
            "lost": {cpu: astuple(lost) for cpu, lost in self.lost().items()},
            "missed": self.missed(),
            "untraced": _as_facts(self.untraced()),
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

    def __exit__(self, *_: object) -> None:
        self.close()


def _device(name: str) -> dict[str, int]:
    """The constants by which the programs know a device."""
    try:
        number = socket.if_nametoindex(name)
    except OSError as error:
        raise UsageError(f"there is no network device {name!r}: ip link lists them") from error
    return {"only_ifindex": number, "only_netns": _netns()}


def _growth(now: int, then: int) -> int:
    """Of a counter of 32 bits, which may have gone back by what was under way."""
    return (now - then + 2**31) % 2**32 - 2**31


def _as_facts(untraced: Mapping[int, Untraced] | None) -> dict[int, dict[str, Any]] | None:
    return None if untraced is None else {cpu: asdict(row) for cpu, row in untraced.items()}


def _netns() -> int:
    return Path("/proc/self/ns/net").stat().st_ino


def _squeezed() -> dict[int, int]:
    return {cpu: row.time_squeeze for cpu, row in softnet_stat().items()}


def _irq_names(sys: StrPath = "/sys") -> dict[int, str]:
    """The handlers' names, by IRQ; several that share one, with commas between."""
    names = {}
    for directory in Path(sys, "kernel/irq").iterdir():
        if name := read_word(directory / "actions"):
            names[int(directory.name)] = name
    return names
