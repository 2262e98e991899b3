"""`nettax serve`: it becomes the server, or ends and tidies up with it."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nettax.cli import main
from nettax.errors import UsageError
from nettax.servers.recipes import RECIPES, recipe

SERVE = [sys.executable, "-m", "nettax", "serve"]


def test_a_reference_server() -> None:
    command = [*SERVE, "epoll", "--protocol", "echo", "--two-writes", "--no-nodelay"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        port = int(server.stdout.readline())
        assert "nettax-server" in Path(f"/proc/{server.pid}/cmdline").read_text()
        with socket.create_connection(("127.0.0.1", port), 10) as one:
            one.sendall(b"hello")
            said = one.recv(100)
            while len(said) < 5:
                said += one.recv(100)
        server.send_signal(signal.SIGTERM)
        assert server.wait(10) == 0
    assert said == b"hello"


@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")
def test_nginx_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    tmp_path.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen([*SERVE, "nginx", "--port", str(port)], stderr=subprocess.PIPE) as server:
        deadline = time.monotonic() + 10
        while True:
            try:
                one = socket.create_connection(("127.0.0.1", port), 10)
                break
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        with one:
            one.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert one.recv(100).startswith(b"HTTP/1.1 200 OK")
        assert list(tmp_path.glob("nettax-*"))
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=20)
    assert not list(tmp_path.glob("nettax-*"))


def test_a_recipe_runs_in_its_own_directory(tmp_path: Path) -> None:
    stand_in = tmp_path / "sehttpd"
    stand_in.write_text('#!/bin/sh\necho "$@"; pwd\n')
    stand_in.chmod(0o755)
    command = [*SERVE, "sehttpd", "--program", str(stand_in), "--port", "8099"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    assert ran.stdout == f"-p 8099\n{tmp_path}\n"
    assert "delayed ACKs" in ran.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["user-echo-server", "--port", "7"], "listens on port 12345"),
        (["sehttpd", "--program", "/no/such"], "/no/such is not there: build it from"),
        (["nginx", "--cork"], "--cork is for reference servers"),
        (["epoll", "--program", "x"], "--program is for others' servers"),
        (["apache"], "is not one of"),
    ],
)
def test_what_makes_no_sense(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", *words])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_recipes() -> None:
    assert [recipe(name).name for name in RECIPES] == list(RECIPES)
    with pytest.raises(UsageError, match="no recipe"):
        recipe("apache")
