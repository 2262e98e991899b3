"""The guest's agent without a guest: its loop, run by this host's busybox over sockets."""

from __future__ import annotations

import os
import re
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nettax.lab.vm import command, vm
from nettax.lab.vm.initramfs import BUSYBOX

pytestmark = pytest.mark.skipif(not BUSYBOX.exists(), reason="needs busybox-static")
AGENT = Path(vm.__file__).with_name("agent.sh")
PORTS = ("control", "stdin", "stdout", "stderr", "signals")  # from descriptor 3 on
TOKEN = b"0123456789abcdef"
LIMIT_S = 30.0


class Agent:
    """The host's end of the five ports."""

    def __init__(self, place: Path) -> None:
        self.place = place
        pairs = {name: socket.socketpair() for name in PORTS}
        self.near = {name: pair[0] for name, pair in pairs.items()}
        far = [pair[1] for pair in pairs.values()]
        whole = AGENT.read_text()
        functions = re.findall(r"^\w+\(\) \{.*?^\}\n", whole, re.MULTILINE | re.DOTALL)
        script = [
            *(f"exec {3 + i}<&{each.fileno()}\n" for i, each in enumerate(far)),
            *("SHARES=\n", *functions, "now() { ns=1000; }\n"),
            whole[whole.index("while read -r number") :],  # what follows the set-up
        ]
        self.process = subprocess.Popen(
            [BUSYBOX, "sh", "-c", "".join(script)],
            cwd=place,
            pass_fds=[each.fileno() for each in far],
        )
        for each in far:
            each.close()
        self.said = dict.fromkeys(PORTS, b"")

    def until(self, name: str, mark: bytes) -> bytes:
        deadline = time.monotonic() + LIMIT_S
        while mark not in self.said[name]:
            assert time.monotonic() < deadline, self.said
            for port in PORTS:
                if select.select([self.near[port]], [], [], 0.01)[0]:
                    self.said[port] += self.near[port].recv(1 << 16)
        before, _, self.said[name] = self.said[name].partition(mark)
        return before

    def run(self, script: bytes, stdin: bool = False, token: bytes = TOKEN) -> tuple[int, bytes]:
        head = f"{len(script)} {token.decode()} {int(stdin)}".ljust(64).encode()
        self.near["control"].sendall(head + script)
        self.until("control", b"started\n")
        self.until("control", b"exit ")
        code = int(self.until("control", b"\n").split()[0])
        return code, self.until("stdout", token)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path)
    yield agent
    for each in agent.near.values():
        each.close()
    agent.process.kill()
    agent.process.wait()


def test_one_command_after_another(agent: Agent) -> None:
    assert agent.run(b"echo one; exit 3") == (3, b"one\n")
    assert agent.run(b"echo error >&2", token=b"another") == (0, b"")
    assert agent.until("stderr", b"another").endswith(b"error\n")


def test_what_stays_behind_writes_nothing_more(agent: Agent) -> None:
    """It is given a second; then what it had is closed, and the next command is alone."""
    late = b"(trap '' PIPE; while echo late; do sleep 0.1; done; sleep 60) 2>/dev/null & echo done"
    code, said = agent.run(late)
    assert code == 0
    assert set(said.split()) == {b"done", b"late"}
    assert agent.run(b"sleep 0.5; echo alone", token=b"another") == (0, b"alone\n")


def test_signals(agent: Agent, tmp_path: Path) -> None:
    script = b"echo $$ >pid; trap 'echo caught; exit 5' USR1; echo up; while :; do sleep 0.05; done"
    agent.near["control"].sendall(f"{len(script)} {TOKEN.decode()} 0".ljust(64).encode() + script)
    agent.until("stdout", b"up\n")
    agent.near["signals"].sendall(b"10\n")
    agent.until("control", b"signalled\n")
    assert agent.until("stdout", TOKEN) == b"caught\n"
    agent.until("control", b"exit 5 ")


def start_on_terminal(agent: Agent, shell: str, stdin: int = 0) -> None:
    """As Vm does it."""
    size = os.terminal_size((101, 33))
    path = {"PATH": os.environ["PATH"]}
    script = command.script(["sh", "-c", shell], path, Path("/"), size)
    script = script.replace("/run/nettax-lab/", f"{agent.place}/")
    head = f"{len(script)} {TOKEN.decode()} {stdin}".ljust(64)
    agent.near["control"].sendall((head + script).encode())


def test_a_terminal_and_its_size(agent: Agent) -> None:
    """A new size is passed on, and the terminal tells the command."""
    loop = "while :; do sleep 0.05; done"
    start_on_terminal(agent, f"stty size; trap 'stty size; exit 4' WINCH; {loop}")
    agent.until("stdout", b"33 101\r\n")
    agent.near["signals"].sendall(b"28 40 90\n")
    assert agent.until("stdout", TOKEN) == b"40 90\r\n"
    agent.until("control", b"exit 4 ")


def test_keys_of_a_terminal(agent: Agent) -> None:
    """Ctrl-C is a byte, of which the guest's terminal makes a signal for what runs there."""
    start_on_terminal(agent, "trap 'echo caught; exit 6' INT; echo up; read -r x", stdin=1)
    agent.until("stdout", b"up\r\n")
    agent.until("control", b"more\n")
    agent.near["stdin"].sendall(b"1\n\x03")
    assert agent.until("stdout", b"caught\r\n")
    agent.until("control", b"exit 6 ")


def test_a_signal_ends_what_is_on_a_terminal(agent: Agent) -> None:
    start_on_terminal(agent, "echo up; sleep 60")
    agent.until("stdout", b"up\r\n")
    agent.near["signals"].sendall(b"15\n")
    agent.until("control", b"exit 143 ")
