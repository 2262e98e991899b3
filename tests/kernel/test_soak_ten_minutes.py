"""Ten minutes of every reference server, and of one that leaks: what is flat, and what is found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CASES = {
    "epoll": ["epoll"],
    "threads": ["threads"],
    "pool": ["pool"],
    "echo": ["epoll", "--protocol", "echo"],
    "leak": ["epoll", "--leak", "100"],
}
# Little load, that the four do not slow down each other: some 7,000 connections each.
LOAD = [
    "-d",
    "10m",
    "--rate",
    "50",
    "--abort",
    "3",
    "--reset",
    "3",
    "--half",
    "5",
    "--stall",
    "0.5",
]


@pytest.fixture(scope="module")
def soaked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    journals = tmp_path_factory.mktemp("soak")
    running = {
        name: subprocess.Popen(
            [
                *(sys.executable, "-m", "nettax", "soak", *words, *LOAD, "--json"),
                *("-o", str(journals / name)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for name, words in CASES.items()
    }
    return {name: json.loads(process.communicate()[0]) for name, process in running.items()}


@pytest.mark.full
@pytest.mark.timeout(800)
@pytest.mark.parametrize("name", CASES)
def test_ten_minutes(soaked: dict[str, Any], name: str, tmp_path: Path) -> None:
    found = soaked[name]
    assert found["ended"] == "done"
    assert found["memory"]["grows"] == (name == "leak"), found["memory"]
    assert not found["fds"]["grows"], found["fds"]
    assert found["server_errors"]["send EPIPE"] > 100
    assert found["client_errors"] == found["rude_errors"] == {}
    assert found["unanswered"] == 0
    if name == "leak":  # malloc(3) takes 112 bytes for 100
        assert 80 < found["memory"]["per_connection"]["value"] < 150
