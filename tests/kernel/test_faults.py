"""What is lacking is told in a line or two; and whatever ends nettax, nothing of it is left."""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import struct
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import nettax
from nettax.canary import Canary
from nettax.host import Host
from nettax.kernel import proc_pid
from nettax.lab import Testbed
from nettax.lab.endpoint import Endpoint, Page, Place, Role
from nettax.ledger import Ledger

Eventually = Callable[[Callable[[], object]], None]

pytestmark = pytest.mark.needs_root
NETTAX = [sys.executable, "-m", "nettax"]
PACKAGE = Path(nettax.__file__).parent
two_cpus = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="the demo takes two CPUs: one sends, one suffers"
)

# The demo, with a calibration of no moment that takes no time and is not kept.
DEMO = """
import sys
from nettax.experiment import calibration
from nettax.ledger import Toll, TollPoint
class Known:
    def kept(self): return Toll((TollPoint(1000, 500, 400, 600),), 100)
calibration.calibrate = lambda **options: Known()
Toll.save = lambda toll: None
from nettax.cli import main
main(["demo", *sys.argv[1:]])
"""


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, **options
    )


# --- what is lacking -----------------------------------------------------------------------------


@contextmanager
def lacking(path: Path, instead: Path) -> Iterator[list[str]]:
    """A command line to put before a command, for which `instead` is what `path` holds."""
    script = 'mount --bind "$1" "$2"; shift 2; exec "$@"'
    yield ["unshare", "--mount", "sh", "-ec", script, "sh", str(instead), str(path)]


def library_file(name: str) -> Path:
    """Where a shared library was loaded from."""
    ctypes.CDLL(name)
    lines = Path("/proc/self/maps").read_text().splitlines()
    return Path(next(line.split()[5] for line in lines if name.partition(".so")[0] in line))


@pytest.mark.parametrize("words", ["stat -d 1", "canary --calibrate", "canary -d 1", "demo"])
def test_no_btf(words: str) -> None:
    done = run(*NETTAX, *words.split(), env=os.environ | {"NETTAX_SIMULATE_NO_BTF": "1"})
    assert (done.returncode, done.stdout) == (77, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("nettax: this kernel has no BTF (")
    assert "CONFIG_DEBUG_INFO_BTF=y" in line


def test_no_btf_is_the_doctors_finding() -> None:
    done = run(*NETTAX, "doctor", "--json", env=os.environ | {"NETTAX_SIMULATE_NO_BTF": "1"})
    assert (done.returncode, done.stderr) == (77, "")
    found = json.loads(done.stdout)
    assert not found["ledger_works"]
    probes = {probe["name"]: probe for probe in found["probes"]}
    assert not probes["BTF"]["available"]
    assert "CONFIG_DEBUG_INFO_BTF=y" in probes["BTF"]["fix"]
    assert not probes["ledger"]["available"]


def test_no_libbpf() -> None:
    with lacking(library_file("libbpf.so.1"), Path("/dev/null")) as prefix:
        done = run(*prefix, *NETTAX, "stat", "-d", "1")
        doctor = run(*prefix, *NETTAX, "doctor", "--json")
    assert (done.returncode, done.stdout) == (77, "")
    what, fix = done.stderr.splitlines()
    assert what == "nettax: libbpf.so.1 is missing: BPF programs cannot be loaded."
    assert "apt install libbpf1" in fix
    assert (doctor.returncode, doctor.stderr) == (77, "")
    (probe,) = (p for p in json.loads(doctor.stdout)["probes"] if p["name"] == "libbpf")
    assert probe["fix"] in fix


def test_not_built(tmp_path: Path) -> None:
    with lacking(PACKAGE / "bpf", tmp_path) as prefix:
        done = run(*prefix, *NETTAX, "stat", "-d", "1")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.endswith("ledger.bpf.o is missing: nettax was not built. Reinstall it")


def test_native_library_not_built() -> None:
    with lacking(PACKAGE / "native/libnettax.so", Path("/dev/null")) as prefix:
        done = run(*prefix, *NETTAX, "canary", "-d", "1")
    assert (done.returncode, done.stdout) == (1, "")
    what, fix = done.stderr.splitlines()
    assert what.startswith("nettax: cannot load nettax's native library: ")
    assert "pip install" in fix


# --- ordinary users ------------------------------------------------------------------------------

# An ordinary user may be kept out of the interpreter, of the packages and of nettax: all three are
# shown where he may go, in a mount namespace that ends with the command.
SHOWN = """
mount -t tmpfs -o mode=755 none /mnt
for name in python packages nettax; do mkdir /mnt/$name; mount --bind "$1" /mnt/$name; shift; done
cd /
export PYTHONPATH=/mnt/nettax:/mnt/packages PYTHONDONTWRITEBYTECODE=1
exec "$@"
"""


def shown() -> list[str]:
    places = (sys.base_prefix, sysconfig.get_path("purelib"), str(PACKAGE.parent))
    return ["unshare", "--mount", "sh", "-ec", SHOWN, "sh", *places]


def python() -> str:
    """The interpreter, where an ordinary user finds it."""
    within = Path(sys.executable).resolve().relative_to(Path(sys.base_prefix).resolve())
    return f"/mnt/python/{within}"


def as_nobody(*command: str, capabilities: str = "", **options: Any) -> Any:
    drop = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    for of in ("inh", "ambient"):
        drop.append(f"--{of}-caps=-all{capabilities}")
    return run(*shown(), *drop, *command, **options)


@pytest.mark.parametrize("words", ["stat -d 1", "canary --calibrate", "canary -d 1", "demo"])
def test_no_capability(words: str) -> None:
    done = as_nobody(python(), "-m", "nettax", *words.split())
    assert (done.returncode, done.stdout) == (77, "")
    what, fix = done.stderr.splitlines()
    assert what.startswith("nettax: ")
    assert "CAP_" in what
    assert "sudo" in fix


def test_two_capabilities_suffice() -> None:
    nettax = [python(), "-m", "nettax"]
    both = ",+bpf,+perfmon"
    done = as_nobody(*nettax, "stat", "-d", "0.2", "--json", capabilities=both)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert all(cpu["wall_ns"] >= 0.2e9 for cpu in found["cpus"])
    assert found["tasks"]
    doctor = as_nobody(*nettax, "doctor", "--json", capabilities=both)
    assert (doctor.returncode, doctor.stderr) == (0, "")
    assert json.loads(doctor.stdout)["ledger_works"]


@pytest.mark.parametrize("lacks", ["bpf", "perfmon"])
def test_one_capability_does_not(lacks: str) -> None:
    only = {"bpf": ",+perfmon", "perfmon": ",+bpf"}[lacks]
    done = as_nobody(python(), "-m", "nettax", "stat", "-d", "1", capabilities=only)
    assert (done.returncode, done.stdout) == (77, "")
    assert "needs CAP_BPF and CAP_PERFMON" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_timing_programs_takes_more() -> None:
    done = as_nobody(
        *(python(), "-m", "nettax", "stat", "-d", "1", "--time-programs"),
        capabilities=",+bpf,+perfmon",
    )
    assert (done.returncode, done.stdout) == (77, "")
    assert "CAP_SYS_ADMIN" in done.stderr


# Shows what sudo was asked to run, one word to a line.
SUDO = """sudo() { printf '%s\\n' "$@"; }; eval "$1" """


def test_the_fix_that_is_printed_works() -> None:
    """The user's shell expands it, root's sudo runs it, and nettax runs as the user again."""
    _, fix = as_nobody(python(), "-m", "nettax", "stat").stderr.splitlines()
    environment = os.environ | {"USER": "nobody", "HOME": "/nonexistent"}
    words = as_nobody("sh", "-c", SUDO, "sh", fix, env=environment)
    assert words.returncode == 0, words.stderr
    *command, name, rest = words.stdout.splitlines()
    assert (name, rest) == ("nettax", "…")
    shows = ["-o", "/dev/null", "--", "sh", "-c", "id -u; id -g; id -G; echo $HOME"]
    done = run(*shown(), *command, python(), "-m", "nettax", "stat", *shows)
    assert (done.returncode, done.stderr) == (0, "")
    nobody = run("sh", "-c", "id -u nobody; id -g nobody; id -G nobody; echo /nonexistent")
    assert done.stdout == nobody.stdout


def test_a_user_without_a_name_or_a_home() -> None:
    """As in a container that was given any number for a user."""
    caps = [f"--{of}-caps=-all,+bpf,+perfmon" for of in ("inh", "ambient")]
    drop = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", *caps]
    bare = ["env", "-u", "HOME"]
    done = run(*shown(), *drop, *bare, python(), "-m", "nettax", "stat", "-d", "0.1")
    assert (done.returncode, done.stderr) == (0, "")


# --- events that never come ----------------------------------------------------------------------


@two_cpus
def test_a_switch_that_goes_unseen() -> None:
    """A reading finds out who is on the CPU: some hosts hide the switches of some threads."""
    mine = os.sched_getaffinity(0)
    *others, cpu = sorted(mine)
    os.sched_setaffinity(0, others)  # else a reading may meet itself there
    try:
        with Ledger(cpus=[cpu], drop_every=1) as ledger, Canary(cpu) as canary:
            readings = [ledger.read() for _ in range(5)]  # from the first on, it has an account
            time.sleep(0.2)
            interval = ledger.read() - readings[-1]
    finally:
        os.sched_setaffinity(0, mine)
    share = interval.task(canary.pid).oncpu_ns / interval.cpus[0].wall_ns
    assert share > 0.8
    assert (readings[-1] - ledger.began).events.unmatched > 0


# --- killed --------------------------------------------------------------------------------------


class Kernel:
    """The BPF objects there are, by libbpf: (kind, id)."""

    # Where struct bpf_prog_info and bpf_map_info (linux/bpf.h) have the object's name.
    NAME: Mapping[str, int] = {"prog": 64, "map": 24}

    def __init__(self) -> None:
        self._lib = ctypes.CDLL("libbpf.so.1")
        with Ledger():
            self._names = {self._name(*one) for one in held("self")}

    def _name(self, kind: str, number: int) -> bytes | None:
        if kind not in self.NAME:
            return None
        fd = getattr(self._lib, f"bpf_{kind}_get_fd_by_id")(number)
        if fd < 0:  # it is gone
            return None
        info = ctypes.create_string_buffer(256)
        length = ctypes.c_uint32(len(info))
        self._lib.bpf_obj_get_info_by_fd(fd, info, ctypes.byref(length))
        os.close(fd)
        (name,) = struct.unpack_from("16s", info, self.NAME[kind])
        return bytes(name)

    def ours(self) -> set[tuple[str, int]]:
        """The programs and maps that are named as the ledger's."""
        found = set()
        for kind in self.NAME:
            number = ctypes.c_uint32(0)
            following = getattr(self._lib, f"bpf_{kind}_get_next_id")
            while following(number.value, ctypes.byref(number)) == 0:
                if self._name(kind, number.value) in self._names:
                    found.add((kind, number.value))
        return found

    def orphans(self) -> set[tuple[str, int]]:
        """Those that are in nobody's hands: of a process that has ended, and not yet freed.

        Links need no look: each has hold of its program.
        """
        return self.ours() - {one for pid in proc_pid.pids() for one in held(str(pid))}


def held(pid: str) -> Iterator[tuple[str, int]]:
    """The BPF objects that a process has descriptors of."""
    for path in Path("/proc", pid, "fdinfo").glob("*"):
        with suppress(OSError):
            for line in path.read_text().splitlines():
                name, _, value = line.partition("_id:")
                if name in Kernel.NAME:
                    yield name, int(value)


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    return Kernel()


class Left(NamedTuple):
    """What there is of a nettax, dead or alive, by the tag that its children inherit."""

    namespaces: frozenset[str]
    cgroups: frozenset[str]
    journals: frozenset[str]
    processes: frozenset[str | None]


NOTHING = Left(frozenset(), frozenset(), frozenset(), frozenset())


def left(owner: int, tag: str) -> Left:
    prefix = f"nettax-{owner}-"
    return Left(
        frozenset(path.name for path in Path("/run/netns").glob(prefix + "*")),
        frozenset(str(path) for path in Path("/sys/fs/cgroup").glob(f"**/{prefix}*")),
        frozenset(path.name for path in Path("/run/nettax/journal").glob(f"{owner}-*")),
        frozenset(map(proc_pid.comm, tagged(tag))),
    )


def tagged(tag: str) -> Iterator[int]:
    for pid in proc_pid.pids():
        with suppress(OSError):
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            if f"NETTAX_TEST={tag}\0".encode() in environment:
                yield pid


@contextmanager
def started(command: list[str], tag: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"NETTAX_TEST": tag},
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


COMMANDS = {
    "stat": [*NETTAX, "stat", "-d", "0.5", "--hist", "--time-programs", "--json"],
    "calibration": [*NETTAX, "canary", "--calibrate"],
    "demo": [sys.executable, "-c", DEMO, "-r", "1", "-d", "0.2", "--json"],
}


@pytest.fixture(scope="module")
def spans() -> dict[str, float]:
    """How long each command takes undisturbed, in seconds; the calibration is always cut short."""
    found = {"calibration": 2.0}
    for name in ("stat", "demo"):
        begin = time.monotonic()
        done = run(*COMMANDS[name])
        found[name] = time.monotonic() - begin
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout)["schema"] == f"nettax.{name}/1"
    return found


def kill_and_undo(
    name: str, delays: Iterator[float], kernel: Kernel, eventually: Eventually
) -> None:
    for turn, delay in enumerate(delays):
        tag = f"{name}-{turn}-{time.monotonic_ns()}"
        with started(COMMANDS[name], tag) as process:
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=delay)
            process.kill()
            process.wait()
        undone = run(*NETTAX, "undo")
        assert (undone.returncode, undone.stderr) == (0, ""), f"killed after {delay:.4f} s"
        # Children get their signal, and BPF objects are freed, a moment after the end.
        eventually(lambda: not set(tagged(tag)))  # noqa: B023
        eventually(lambda: not kernel.orphans())
        assert left(process.pid, tag) == NOTHING, f"killed after {delay:.4f} s"


@two_cpus
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.full] * (name == "demo")) for name in COMMANDS]
)
def test_killed_at_a_few_moments(
    name: str, spans: dict[str, float], kernel: Kernel, eventually: Eventually
) -> None:
    # One in each part of the span, so that no phase goes untried.
    parts = 3 if name == "calibration" else 6
    delays = (spans[name] * (turn + random.random()) / parts for turn in range(parts))
    kill_and_undo(name, delays, kernel, eventually)


@two_cpus
@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_fifty_moments(
    name: str, spans: dict[str, float], kernel: Kernel, eventually: Eventually
) -> None:
    delays = (spans[name] * random.random() for _ in range(50))
    kill_and_undo(name, delays, kernel, eventually)


def to_group(process: subprocess.Popen[str], number: signal.Signals) -> None:
    os.killpg(process.pid, number)


def to_process(process: subprocess.Popen[str], number: signal.Signals) -> None:
    process.send_signal(number)


@two_cpus
@pytest.mark.parametrize(
    ("number", "send"),
    [(signal.SIGINT, to_group), (signal.SIGTERM, to_process)],
    ids=["Ctrl-C", "SIGTERM"],
)
@pytest.mark.parametrize(
    ("name", "sign"), [("calibration", "nettax-canary"), ("demo", "nettax-flow")]
)
def test_a_signal_in_the_middle(
    name: str,
    sign: str,
    number: signal.Signals,
    send: Callable[[subprocess.Popen[str], signal.Signals], None],
    kernel: Kernel,
    eventually: Eventually,
) -> None:
    tag = f"{name}-{number}-{time.monotonic_ns()}"
    with started(COMMANDS[name], tag) as process:
        eventually(lambda: sign in left(process.pid, tag).processes)
        send(process, number)
        out, err = process.communicate(timeout=20)
        code = process.returncode
    assert (128 - code if code < 0 else code) == 128 + number  # as a shell tells it
    assert (out, err.strip()) == ("", "")
    eventually(lambda: not set(tagged(tag)))
    eventually(lambda: not kernel.orphans())
    assert left(process.pid, tag) == NOTHING


@two_cpus
@pytest.mark.parametrize("count", [4, pytest.param(50, marks=pytest.mark.full)])
@pytest.mark.timeout(600)
def test_a_signal_at_any_moment(
    count: int, spans: dict[str, float], kernel: Kernel, eventually: Eventually
) -> None:
    """From the demo's first change to the host on; before it, there is nothing to undo."""
    for turn in range(count):
        number, send = ((signal.SIGINT, to_group), (signal.SIGTERM, to_process))[turn % 2]
        delay = spans["demo"] * 0.7 * (turn + random.random()) / count
        tag = f"signal-{turn}-{time.monotonic_ns()}"
        with started(COMMANDS["demo"], tag) as process:
            eventually(lambda: left(process.pid, tag).journals)  # noqa: B023
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=delay)
            done = process.poll() is not None
            send(process, number)
            _, err = process.communicate(timeout=20)
            code = process.returncode
        told = f"{number.name} after {delay:.4f} s: {code}, {err}"
        assert done or (128 - code if code < 0 else code) == 128 + number, told
        assert err.strip() == "", told
        eventually(lambda: not set(tagged(tag)))  # noqa: B023
        eventually(lambda: not kernel.orphans())
        assert left(process.pid, tag) == NOTHING, told


FORKING = """
import os, signal
from nettax.host import Host
with Host() as host:
    os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGTERM))
    host.spawn(["sleep", "1000"])
    signal.pause()
"""


def test_a_signal_in_the_middle_of_a_fork() -> None:
    """Python drops what a handler raises in a hook of fork: there, the signal must wait."""
    tag = f"fork-{time.monotonic_ns()}"
    with started([sys.executable, "-c", FORKING], tag) as process:
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (128 + signal.SIGTERM, "", "")
    assert left(process.pid, tag) == NOTHING


def test_a_signal_between_a_flows_ends(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The receiver has started, the sender not yet: the way out needs no sender."""

    def endpoint(host: Host, place: Place, page: Page) -> Endpoint:
        if page.role == Role.UDP_SENDER:
            raise SystemExit(143)
        return Endpoint(host, place, page)

    monkeypatch.setattr("nettax.lab.flow.Endpoint", endpoint)
    with Testbed(host) as bed, pytest.raises(SystemExit, match="143"), bed.udp():
        pass
