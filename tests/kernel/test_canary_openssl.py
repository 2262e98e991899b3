"""The real openssl in both of its modes."""

from __future__ import annotations

import os
import shutil

import pytest

from nettax.canary import openssl
from nettax.errors import NettaxError, UsageError
from nettax.host import spawn

CPU = max(os.sched_getaffinity(0))

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")


def test_beside_a_neighbour_each_clock_tells_its_own_story() -> None:
    neighbour = spawn(["sh", "-c", "while :; do :; done"], cpus=[CPU])
    try:
        wall = openssl.speed(CPU, 1, block_bytes=1024)
        user = openssl.speed(CPU, 1, block_bytes=1024, elapsed=False)
    finally:
        with neighbour:
            neighbour.kill()
    for run in (wall, user):
        (block,) = run.blocks
        assert (block.block_bytes, block.window_s) == (1024, 1)
        assert block.operations > 1000
        assert run.user_ns + run.system_ns < 0.7 * run.elapsed_ns
    assert wall.blocks[0].seconds >= 0.99
    # Its column is the kernel's user time, less what it took to start.
    assert abs(user.blocks[0].seconds - user.user_ns / 1e9) < 0.05


def test_what_openssl_refuses_is_told() -> None:
    with pytest.raises(NettaxError, match="nosuch"):
        openssl.speed(CPU, 1, cipher="nosuch")
    with pytest.raises(UsageError):
        openssl.speed(CPU, 0)
    with pytest.raises(UsageError):
        openssl.speed(100_000, 1)
