"""Datagrams to a sink: what it says that came is what was sent, flow by flow, and nobody else's."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM, socket

import pytest

from nettax.cli.load_rate import RATE, Rate
from nettax.errors import UsageError
from nettax.host import spawn
from nettax.load.own import TOOL
from nettax.load.tool import Job, Result, Said

HERE = "127.0.0.1"
SINK = "import os; from nettax.load import udp; w = udp.sink('127.0.0.1', 0); os.execv(w[0], w)"


@contextmanager
def sink() -> Iterator[int]:
    """Its port."""
    process = spawn([sys.executable, "-c", SINK], stdout=subprocess.PIPE)
    try:
        assert process.stdout
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def sent(directory: Path, port: int, datagrams: int, size: int) -> Result:
    """A second of so many."""
    job = Job(
        "stream", HERE, port, protocol="udp", duration_s=1, rate=datagrams * 8 * size,
        message_bytes=size,
    )  # fmt: skip
    command = [TOOL.find(), *TOOL.command(job, directory)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    return TOOL.parse(job, Said(ran.stdout, ran.stderr))


def test_a_sink_tells_what_came_of_each_flow(tmp_path: Path) -> None:
    with sink() as port, socket(AF_INET, SOCK_DGRAM) as other:
        for size in (64, 1400):
            # Somebody else's, of the last flow's size and of none.
            for length in (64, 7):
                other.sendto(bytes(length), (HERE, port))
            result = sent(tmp_path, port, 100, size)
            assert result.unit == "datagram"
            assert 99 <= result.done <= 101 and not result.errors
            assert result.bytes == result.done * size
            assert result.latency is not None and result.latency.total == result.done
            assert f"{result.done} sent" in result.note


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_sink_ends_when_it_is_told(number: signal.Signals) -> None:
    process = spawn([sys.executable, "-c", SINK], stdout=subprocess.PIPE)
    assert process.stdout and int(process.stdout.readline())
    process.send_signal(number)
    process.communicate(timeout=10)
    assert process.returncode == 0


def test_a_port_that_is_taken() -> None:
    with sink() as port:
        again = SINK.replace("', 0", f"', {port}")
        ran = subprocess.run(
            [sys.executable, "-c", again], capture_output=True, text=True, timeout=20, check=False
        )
    assert ran.returncode == 1
    assert ran.stderr == "nettax: the sink cannot take that address: Address already in use.\n"


def test_nobody_answers(tmp_path: Path) -> None:
    with socket(AF_INET, SOCK_DGRAM) as unheard:
        unheard.bind((HERE, 0))
        port = unheard.getsockname()[1]
    with pytest.raises(subprocess.CalledProcessError) as failed:
        sent(tmp_path, port, 100, 64)
    assert "is it `nettax serve sink` that listens there?" in failed.value.stderr
    assert not failed.value.stdout


@pytest.mark.parametrize(
    ("text", "rate", "bits"),
    [
        ("500", Rate(500, False), 500),
        ("1.5M", Rate(1_500_000, False), 1_500_000),
        ("200kpps", Rate(200_000, True), 200_000 * 8 * 64),
    ],
)
def test_rates(text: str, rate: Rate, bits: int) -> None:
    assert RATE.convert(text, None, None) == rate
    assert rate.of_stream(64) == bits


def test_datagrams_of_no_size_have_no_bits() -> None:
    with pytest.raises(UsageError, match="add --bytes"):
        Rate(5, True).of_stream(None)
