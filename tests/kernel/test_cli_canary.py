"""`nettax canary` from the outside: the working set's faces, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

needs_root = pytest.mark.needs_root


def nettax(*arguments: str, state: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"XDG_STATE_HOME": str(state)} if state else {})}
    return subprocess.run(
        [sys.executable, "-m", "nettax", "canary", *arguments],
        capture_output=True,
        text=True,
        timeout=110,
        env=environment,
        check=False,
    )


def document(*arguments: str) -> dict[str, Any]:
    run = nettax(*arguments, "--json")
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


@needs_root
def test_a_live_working_set_tells_what_it_can_and_no_more() -> None:
    found = document("--working-set", "64K", "-d", "1")
    assert (found["schema"], found["mode"]) == ("nettax.working-set/1", "live")
    (size,) = found["sizes"]
    assert size["size_bytes"] == 65536
    assert size["shared"] is None and size["indirect"] is None
    assert 0 < size["speed"]["rate"] <= size["speed"]["clean_rate"]
    assert len(found["windows"]) == 4
    assert found["task"]["comm"] == "nettax-canary"


@needs_root
def test_the_parts_under_load_make_up_the_loss() -> None:
    found = document("--working-set", "0,1M", "--load", "-r", "2")
    assert (found["schema"], found["mode"]) == ("nettax.working-set/1", "load")
    assert [size["size_bytes"] for size in found["sizes"]] == [0, 1 << 20]
    for size in found["sizes"]:
        assert len(size["rounds"]) == 2
        for one in size["rounds"]:
            kept = (1 - one["direct"]) * (1 - one["shared"]) * (1 - one["indirect"])
            assert 1 - one["loss"] == pytest.approx(kept)
            # The work of 100,000 packets a second on the canary's CPU, or on the other.
            assert one["interrupts_per_s"] > 1000
            assert one["direct"] > 0.05


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--working-set", "12"), "4K to 256G"),
        (("--working-set", "many"), "is no size"),
        (("--working-set", "0,1M"), "a list is for --load"),
        (("--load",), "without --working-set"),
        (("--huge-pages",), "without --working-set"),
        (("--share", "1%"), "without --watch"),
        (("--watch", "--share", "90%"), "0.1% to 50%"),
        (("--watch", "--working-set", "0"), "exclude each other"),
        (("--watch", "--engine", "gap"), "exclude each other"),
        (("--watch", "--idle"), "--idle does nothing with --watch"),
        (("--working-set", "0", "--load", "-d", "3"), "--duration does nothing with --load"),
        (("-C", "0,1"), "a list is for --watch"),
        (("-C", "100000"), "CPU"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(arguments: tuple[str, ...], complaint: str) -> None:
    run = nettax(*arguments)
    assert run.returncode == 2, run.stderr
    assert complaint in run.stderr
    assert len(run.stderr.splitlines()) <= 2


@needs_root
@pytest.mark.full
@pytest.mark.timeout(400)
def test_indirect_cost_shows_where_there_is_a_cache_to_lose() -> None:
    """The claim: nothing for a loop without memory, something for 256 MB, by the same traffic."""
    none, much = document("--working-set", "0,256M", "--load", "-r", "40")["sizes"]
    assert abs(none["indirect"]["median"]) < 0.02
    assert much["indirect"]["low"] > 0
    assert much["indirect"]["low"] > none["indirect"]["median"]
