"""`nettax record` and `nettax report` on this kernel."""

from __future__ import annotations

import os
import random
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.trace_sums import counted, of_ledger, of_trace, traced

from nettax.cli import main
from nettax.errors import MissingFeature
from nettax.events.flight import Flight
from nettax.events.model import EVENT, Kind
from nettax.events.native_file import NativeRecording, records
from nettax.events.recorder import Recorder
from nettax.events.saving import Saving, keep_up
from nettax.experiment.replay import replayed
from nettax.host import Host
from nettax.kernel import cpus, pcap, proc_stat
from nettax.kernel.interrupts import softirqs
from nettax.lab import Testbed

CPU = cpus.online()[-1]
NETTAX = [sys.executable, "-m", "nettax"]


def nettax(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*NETTAX, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def kinds(path: Path) -> dict[Kind, int]:
    with NativeRecording(path) as recording:
        found: dict[Kind, int] = {}
        last = 0
        for chunk in recording.chunks():
            assert int(chunk["time_ns"][0]) >= last
            last = int(chunk["time_ns"][-1])
            for kind in chunk["kind"].tolist():
                found[Kind(kind)] = found.get(Kind(kind), 0) + 1
        return found


def test_a_command_and_its_report(tmp_path: Path) -> None:
    path = tmp_path / "events"
    done = nettax("record", "-o", str(path), "--", "sh", "-c", "sleep 0.3; exit 3", code=3)
    assert f"nettax report {path}" in done.stderr
    assert nettax("record", "-o", str(path), "-d", "0.1", code=1).stderr.count("-f overwrites") == 1
    found = kinds(path)
    for kind in (Kind.SWITCH, Kind.VECTOR_ENTRY, Kind.SOFTIRQ_ENTRY, Kind.WAKEUP, Kind.FORK):
        assert found[kind] > 0, kind
    assert found[Kind.BEGIN] == found[Kind.END] == len(cpus.online())
    assert "residual" in nettax("report", str(path)).stdout


def test_raw_tracepoints_record_the_same_kinds() -> None:
    with Recorder(raw_tracepoints=True, packets=True) as recorder:
        time.sleep(0.1)
        rows = [batch for batch in recorder.batches() if batch.cpu is not None]
        assert rows
        assert not recorder.lost()


def test_a_killed_recorder_leaves_what_it_wrote(
    tmp_path: Path, eventually: Callable[[Callable[[], object]], None]
) -> None:
    path = tmp_path / "events"
    with subprocess.Popen([*NETTAX, "record", "-o", str(path)]) as child:
        try:
            eventually(lambda: path.exists() and path.stat().st_size > 20_000)
        finally:
            child.kill()
    with NativeRecording(path) as recording:
        assert not recording.ended
        assert sum(len(chunk) for chunk in recording.chunks()) > 100
        assert replayed(recording).recorded > 100


def test_what_finds_no_room_is_lost_and_told(tmp_path: Path) -> None:
    with Host() as host, Testbed(host) as bed, bed.udp(50_000, cpu=CPU) as flow:
        while not flow.sent():
            time.sleep(0.005)
        with Recorder(ring_bytes=8192) as recorder:
            saving = Saving(tmp_path / "events", recorder)
            for _ in range(2):  # the ring is full before each of these
                time.sleep(0.1)
                for batch in recorder.batches():
                    saving.take(batch)
            recorder.end()
            for batch in recorder.batches():
                saving.take(batch)
            lost = recorder.lost()[CPU]
            saving.finish()
    assert lost.events > 1000
    assert lost.first_ns < lost.last_ns < time.monotonic_ns()
    with NativeRecording(tmp_path / "events") as recording:
        told = [row for chunk in recording.chunks() for row in chunk if row["kind"] == Kind.LOST]
    # Each hole is told in the stream; what came after the last of them only in total.
    assert 0 < sum(int(row["value"]) for row in told if row["cpu"] == CPU) <= lost.events


def test_packets_are_all_there(tmp_path: Path) -> None:
    """Each packet that came is in the recording, or is told as one that this host hid from it."""
    path = tmp_path / "events"
    with Host() as host, Testbed(host, steer=CPU) as bed, Recorder(packet_filter="udp") as recorder:
        others = _received_by_host()
        with bed.udp(20_000, size=137) as flow:
            time.sleep(0.3)
        came = flow.received()
        saving = Saving(path, recorder)
        keep_up(recorder, saving, lambda pause: True)
        others = _received_by_host() - others
        facts = saving.finish().facts
    assert facts["lost"] == {}
    assert facts["missed"] == 0
    ports: dict[int, int] = {}
    with NativeRecording(path) as recording:
        for chunk in recording.chunks():
            for row in chunk[chunk["kind"] == Kind.PACKET]:
                assert row["b"] == 17
                if row["a"] == 165:  # 137 bytes, and the headers of UDP and IP: nobody else's
                    assert recording.tables.devices[int(row["id"])].startswith("veth0")
                    ports[int(row["c"])] = ports.get(int(row["c"]), 0) + 1
    (found,) = ports.values()
    hidden = sum(row["packets"] for row in facts["untraced"].values())
    assert found <= came <= found + hidden <= came + others


def _received_by_host() -> int:
    """Packets that came to the devices of this network namespace, of which some may be hidden."""
    lines = Path("/proc/net/dev").read_text().splitlines()[2:]
    return sum(int(line.partition(":")[2].split()[1]) for line in lines)


def test_what_the_kernel_counted_was_recorded_or_is_told() -> None:
    """The kernel's own counts, read just outside and just inside the recording, are the bounds."""
    outer = _counted()
    with Recorder() as recorder:
        inner = _counted()
        time.sleep(0.5)
        inner = {key: count - inner[key] for key, count in _counted().items()}
        recorder.end()
        outer = {key: count - outer[key] for key, count in _counted().items()}
        untraced = recorder.untraced()
        parts = [records(b.rows.data, EVENT) for b in recorder.batches() if b.cpu is not None]
        assert not recorder.lost()
        assert not recorder.missed()
    assert untraced is not None, "this kernel should tell"
    events = np.concatenate(parts)
    switches = int((events["kind"] == Kind.SWITCH).sum())
    switches += sum(row.switches for row in untraced.values())
    assert inner.pop("switches") <= switches <= outer.pop("switches")
    runs = events[events["kind"] == Kind.SOFTIRQ_ENTRY]
    for (cpu, vector), least in inner.items():
        told = untraced[cpu].softirqs[vector] if cpu in untraced else 0
        told += int(((runs["cpu"] == cpu) & (runs["id"] == vector)).sum())
        # One may have been under way at either end.
        assert least - 1 <= told <= outer[cpu, vector] + 1, (cpu, vector)


def _counted() -> dict[Any, int]:
    counts: dict[Any, int] = {
        (cpu, vector): count
        for vector, by_cpu in enumerate(softirqs().values())
        for cpu, count in by_cpu.items()
        if cpu in cpus.online()
    }
    return {**counts, "switches": proc_stat.stat().context_switches}


def test_a_task_is_billed_once_though_its_coming_went_untraced() -> None:
    """It leaves twice in a row, as a task does that came back unseen."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {CPU})
    try:
        with Recorder(cpus=[CPU]) as recorder:
            for _ in range(3):
                _spin(0.02)
                recorder.end()
            parts = [records(b.rows.data, EVENT) for b in recorder.batches() if b.cpu is not None]
    finally:
        os.sched_setaffinity(0, before)
    events = np.concatenate(parts)
    mine = events[(events["kind"] == Kind.END) & (events["pid"] == os.getpid())]
    billed, gaps = mine["value"], np.diff(mine["time_ns"])
    assert len(mine) == 3
    # Not more than the time that has gone by since it left before, but for a clock's tick.
    assert (billed[1:] <= gaps + 1_000_000).all()
    assert (billed[1:] > 0).all()


def _spin(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


EXPRESSIONS = (
    "udp port 53",
    "host 10.0.0.1 and (tcp port 80 or port 443) and tcp[tcpflags] & tcp-syn != 0",
    "ip[ip[0] & 0xf] = 3 or (ip[2:2] / (ip[8] & 3)) > 3",
    "vlan 10 or less 100 or ether[254:2] = 0",
    "icmp6 or len % 7 = 3",
)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_filters_in_the_kernel(expression: str) -> None:
    """The translation, loaded and run, against libpcap's interpreter, on random frames."""
    try:
        program = pcap.compile_filter(expression)
    except MissingFeature as error:
        pytest.skip(str(error))
    rng = random.Random(expression)
    with Recorder(packet_filter=expression, cpus=[cpus.online()[0]]) as recorder:
        for _ in range(500):
            frame = _frame(rng)
            wire = len(frame) + rng.choice([0, 1000])
            expected = pcap.matches(program, frame[: pcap.SNAP], wire)
            assert recorder.try_filter(frame, wire) == expected, frame.hex()


def _frame(rng: random.Random) -> bytes:
    frame = bytearray(rng.randbytes(rng.choice([0, 13, 14, 20, 34, 42, 60, 100, 255, 256, 300])))
    if len(frame) > 42:
        frame[12:14] = rng.choice([b"\x08\0", b"\x86\xdd", b"\x81\0"])
        frame[14] = rng.choice([0x45, 0x46, 0x60])
        frame[20:22] = rng.choice([b"\0\0", b"\x11\0", b"\x06\0", b"\x3a\0"])
        frame[23] = rng.choice([6, 17, 1])
        frame[36:38] = rng.choice([b"\0\x35", b"\0\x50"])
    return bytes(frame)


def test_flight_recorder(
    tmp_path: Path, eventually: Callable[[Callable[[], object]], None]
) -> None:
    path = tmp_path / "events"
    words = ["record", "--last", "500ms", "-d", "20", "-o", str(path)]
    with subprocess.Popen([*NETTAX, *words], stderr=subprocess.PIPE) as child:
        try:
            # Its handler is there before the first event is taken.
            eventually(lambda: _catches(child.pid, signal.SIGUSR1))
            time.sleep(1)  # longer than it keeps
            child.send_signal(signal.SIGUSR1)
            eventually(path.exists)
            with NativeRecording(path) as recording:
                assert recording.ended  # whole as soon as it is there
            child.send_signal(signal.SIGINT)
            _, told = child.communicate(timeout=10)
        finally:
            child.kill()
    assert f"{path}, {path}.2" in told.decode()
    with NativeRecording(path) as recording:
        times = [int(t) for chunk in recording.chunks() for t in chunk["time_ns"]]
        assert replayed(recording).events.lost == 0
    assert len(times) > 100
    assert 0.1e9 < times[-1] - times[0] < 1.2e9  # what is kept is cut by whole rounds
    assert sorted(tmp_path.iterdir()) == [path, tmp_path / "events.2"]


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    full = nettax("record", "-f", "-o", "/dev/full", "-d", "0.1", code=1)
    assert full.stderr == "nettax: /dev/full: No space left on device\n"
    path = tmp_path / "events"
    with Recorder() as recorder:
        flight = Flight(recorder, path, last_s=1, memory=1 << 20)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        try:
            with pytest.raises(OSError, match="too large"):
                flight.dump({})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert not list(tmp_path.iterdir())
        (tmp_path / "events.part").write_text("half of one")  # as a kill leaves it
        # Files of an earlier time are kept, and what is written takes the next name.
        path.write_text("earlier")
        assert flight.dump({}) == tmp_path / "events.2"
    assert sorted(tmp_path.iterdir()) == [path, tmp_path / "events.2"]


def test_theft_has_it_written(tmp_path: Path) -> None:
    path = tmp_path / "events"
    when = ("--last", "500ms", "--when", "theft > 0.001%")
    told = nettax("record", *when, "-d", "1.5", "-o", str(path)).stderr
    assert f"{path}, {path}.2" in told  # one for the theft, one at the end
    with NativeRecording(path) as recording:
        assert recording.facts["theft"]["share"] > 0.00001


def _catches(pid: int, number: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_bytes()
    caught = int(status.partition(b"SigCgt:")[2].split()[0], 16)
    return bool(caught >> (number - 1) & 1)


def test_chrome_slices_come_to_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / "events"
    with Host() as host, Testbed(host, steer=CPU) as bed, bed.udp(30_000):
        nettax("record", "-d", "0.5", "-o", str(path))
    with NativeRecording(path) as recording:
        events, accounts = traced(recording, tmp_path / "trace.json")
    of_ledger(of_trace(events), accounts)
    counted(events, accounts)


@pytest.mark.full
def test_parquet(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    path, table = tmp_path / "events", tmp_path / "it's.parquet"
    nettax("record", "-d", "0.3", "-o", str(path))
    nettax("report", "--parquet", str(table), str(path))
    found = duckdb.read_parquet(str(table)).aggregate("kind, count(*)").fetchall()
    assert dict(found) == {kind.name: number for kind, number in kinds(path).items()}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--filter 'udp prot 53'", "--filter 'udp prot 53': can't parse"),
        ("--filter 'ip protochain 6'", "a loop, which the kernel does not take"),
        ("--iface nope", "no network device 'nope'"),
        ("-C 4095", "CPU 4095 is not online"),
        ("-a -C 0", "-a and -C exclude each other"),
        ("--last '5 apples'", "'5 apples' is no time"),
        ("--last 1s --memory 5Q", "'5Q' is no size"),
        ("--memory 5M", "--memory goes with --last"),
        ("--when 'theft > 30%'", "--when goes with --last"),
        ("--last 1s --when theft", "such as 'theft > 30%'; not 'theft'"),
        ("--last 1s --when 'theft > 100%'", "such as 'theft > 30%'"),
        ("--buffer 5000", "a power of two of bytes, from 4K to 2G; not 5000"),
        ("--buffer 4G", "from 4K to 2G"),
    ],
)
def test_requests_that_make_no_sense(
    words: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["record", "-o", str(tmp_path / "f"), "-d", "0.1", *shlex.split(words)])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
