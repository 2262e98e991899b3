"""A command in a guest is as one here: output, input, exit code, environment, files."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from nettax.lab.vm import Vm

pytestmark = pytest.mark.full


def test_release(guest: Vm) -> None:
    result = guest.run(["uname", "-r"])
    assert result.stdout.decode().strip() == guest.kernel.release
    assert result.code == 0
    assert not result.stderr


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 7", 7), ("kill -9 $$", 137), ("exec /nowhere/to/be/found", 127), ("exec /etc", 126)],
)
def test_exit_codes_are_a_shells(guest: Vm, script: str, code: int) -> None:
    assert guest.run(["sh", "-c", script]).code == code


def test_outputs_are_apart_and_whole(guest: Vm) -> None:
    script = "i=0; while [ $i -lt 2000 ]; do echo out$i; echo err$i >&2; i=$((i+1)); done"
    result = guest.run(["sh", "-c", script])
    for name, text in (("out", result.stdout), ("err", result.stderr)):
        assert text.decode().split() == [f"{name}{i}" for i in range(2000)]


def test_outputs_can_be_opened_again(guest: Vm) -> None:
    result = guest.run(["sh", "-c", "echo a >/dev/stdout; echo b >/dev/stderr"])
    assert (result.stdout, result.stderr) == (b"a\n", b"b\n")


def test_output_comes_as_it_is_written(guest: Vm) -> None:
    came: list[tuple[float, bytes]] = []
    guest.run(
        ["sh", "-c", "echo one; sleep 1; echo two"],
        stdout=lambda data: came.append((time.monotonic(), data)),
    )
    assert [data for _, data in came] == [b"one\n", b"two\n"]
    assert came[1][0] - came[0][0] > 0.5


def test_what_stays_behind_keeps_nobody_waiting(guest: Vm) -> None:
    began = time.monotonic()
    late = "(while echo late; do sleep 0.1; done) & echo done"
    assert b"done\n" in guest.run(["sh", "-c", late]).stdout
    assert guest.run(["sh", "-c", "sleep 300 & echo done"]).stdout == b"done\n"
    assert guest.run(["sleep", "1"]).stdout == b"", "it writes nothing more"
    assert time.monotonic() - began < 60


def test_arguments_environment_directory(guest: Vm, tmp_path: Path) -> None:
    odd = "a 'b' \"c\" $d\n\\e ü"
    result = guest.run(
        ["sh", "-c", 'printf "%s|%s|%s" "$1" "$ODD" "$PWD"', "sh", odd],
        env={"PATH": os.environ["PATH"], "ODD": odd, "no-name": "x"},
        cwd=tmp_path,
    )
    assert result.stdout.decode() == f"{odd}|{odd}|{tmp_path}"


def test_files_are_read_and_never_written(guest: Vm, tmp_path: Path) -> None:
    (tmp_path / "here").write_text("from the host")
    result = guest.run(["sh", "-c", "cat here; echo changed >here; cat here"], cwd=tmp_path)
    assert result.stdout == b"from the hostchanged\n"
    assert (tmp_path / "here").read_text() == "from the host"


def test_signals_reach_the_command(guest: Vm) -> None:
    arrived, wake = os.pipe()
    script = "trap 'echo interrupted; exit 3' INT; echo ready; while :; do sleep 0.1; done"

    def ready(data: bytes) -> None:
        said.append(data)
        if data == b"ready\n":
            os.write(wake, bytes([signal.SIGINT]))

    said: list[bytes] = []
    result = guest.run(["sh", "-c", script], stdout=ready, signals=arrived)
    assert (result.code, b"".join(said)) == (3, b"ready\ninterrupted\n")
    os.write(wake, bytes([signal.SIGTERM]))
    assert guest.run(["sleep", "300"], signals=arrived).code == 128 + signal.SIGTERM
    os.close(arrived)
    os.close(wake)


def test_input_ends(guest: Vm) -> None:
    source, sink = os.pipe()

    def feed() -> None:
        os.write(sink, b"x" * 100_000)
        os.close(sink)

    feeder = threading.Thread(target=feed)
    feeder.start()
    assert guest.run(["wc", "-c"], stdin=source).stdout.split() == [b"100000"]
    feeder.join()
    os.close(source)


def test_input_that_nobody_reads(guest: Vm) -> None:
    """A command that ends before its input does, and then one that reads its own."""
    with open("/dev/zero", "rb") as endless:  # noqa: PTH123
        assert guest.run(["head", "-c", "70000"], stdin=endless.fileno()).stdout == bytes(70000)
        assert guest.run(["sleep", "1"], stdin=endless.fileno()).code == 0
    source, sink = os.pipe()
    os.write(sink, b"mine\n")
    os.close(sink)
    assert guest.run(["cat"], stdin=source).stdout == b"mine\n"
    os.close(source)


def test_time_passes_as_it_does_here(guest: Vm) -> None:
    """The guest is told the rate of its counter; measuring it, it was once out by ten."""
    assert guest.run(["sleep", "3"]).guest_ns / 1e9 == pytest.approx(3, abs=2)
    began = time.monotonic()
    first = float(guest.run(["cat", "/proc/uptime"]).stdout.split()[0])
    guest.run(["sleep", "5"])
    last = float(guest.run(["cat", "/proc/uptime"]).stdout.split()[0])
    assert last - first == pytest.approx(time.monotonic() - began, rel=0.2)


def test_configuration_is_the_kernels_own(guest: Vm) -> None:
    found = guest.run(["grep", "-c", "^CONFIG_9P_FS=m", f"/boot/config-{guest.kernel.release}"])
    assert found.stdout == b"1\n", found.stderr


def test_modules_of_the_kernel_can_be_loaded(guest: Vm) -> None:
    assert guest.run(["modprobe", "dummy"]).code == 0
    assert b"dummy" in guest.run(["lsmod"]).stdout


def test_shares_are_written(tmp_path: Path) -> None:
    odd = tmp_path / "with, a\tblank ü"
    odd.mkdir()
    with Vm(share=[odd]) as vm:
        assert vm.run(["sh", "-c", "uname -r >release; mkdir sub; cat <release"], cwd=odd).code == 0
    assert (odd / "release").read_text().strip() == vm.kernel.release
    assert (odd / "sub").is_dir()
