"""openssl's own tables: captured ones, broken ones, and the one that founded nettax.

The fixtures are `taskset -c 1 openssl speed -mr -seconds 1 [-elapsed] aes-256-cbc` of OpenSSL
3.0.19, both streams; beside `user_time_halved` a busy loop ran on the same CPU.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettax.canary import openssl
from nettax.canary.openssl import BlockSpeed, OpensslSpeed
from nettax.errors import NettaxError, UsageError

FIXTURES = Path(__file__).parents[1] / "fixtures"
SIZES = (16, 64, 256, 1024, 8192, 16384)

# Ahern, "The CPU cost of networking on a host": operations and "seconds" for each size, in 10 s.
IDLE = (
    (66_675_623, 18_096_647, 4_607_752, 1_162_429, 145_251, 72_831),
    (9.99, 10.00, 10.00, 10.00, 10.00, 10.00),
)
TWO_STREAMS = (
    (12_061_658, 3_457_491, 893_939, 201_756, 25_117, 13_859),
    (1.96, 2.10, 2.01, 1.86, 1.78, 1.89),
)
ONE_STREAM = (
    (26_596_388, 7_137_481, 1_844_565, 472_687, 59_001, 28_569),
    (4.01, 4.14, 4.31, 4.28, 4.46, 4.16),
)


def captured(name: str) -> str:
    return (FIXTURES / f"openssl_speed_{name}.txt").read_text()


def run(blocks: tuple[BlockSpeed, ...]) -> OpensslSpeed:
    return OpensslSpeed(blocks, user_ns=0, system_ns=0, elapsed_ns=0)


def ahern(table: tuple[tuple[int, ...], tuple[float, ...]]) -> OpensslSpeed:
    rows = zip(SIZES, *table, strict=True)
    return run(tuple(BlockSpeed(size, done, 10, got) for size, done, got in rows))


def test_a_captured_run_is_read() -> None:
    blocks = openssl.parse(captured("elapsed"))
    assert tuple(block.block_bytes for block in blocks) == SIZES
    assert blocks[0] == BlockSpeed(16, 25_217_379, 1, 1.01)
    assert blocks[-1] == BlockSpeed(16384, 48_843, 1, 1.0)
    assert blocks[-1].rate == 48_843


def test_user_time_tells_what_openssl_got_and_operations_what_it_lost() -> None:
    idle = run(openssl.parse(captured("elapsed")))
    halved = run(openssl.parse(captured("user_time_halved")))
    for row in openssl.compare(idle, halved):
        assert row.now.seconds == pytest.approx(0.485, abs=0.02)
        assert row.value == pytest.approx(0.48, abs=0.04)


@pytest.mark.parametrize(
    ("table", "differing"),
    # One stream: per second of user time it did 7 and 9 % less than idle. The ticks that make
    # user time cannot tell whether its steps were slower or a part of them was not its own.
    [(TWO_STREAMS, set()), (ONE_STREAM, {256, 8192})],
    ids=["two streams", "one stream"],
)
def test_the_founding_table(
    table: tuple[tuple[int, ...], tuple[float, ...]], differing: set[int]
) -> None:
    rows = openssl.compare(ahern(IDLE), ahern(table))
    assert tuple(row.now.block_bytes for row in rows) == SIZES
    apart = {row.now.block_bytes: row.value - (1 - row.now.seconds / 10) for row in rows}
    assert {size for size, points in apart.items() if abs(points) > 0.03} == differing
    assert max(map(abs, apart.values())) < 0.041


@pytest.mark.parametrize("name", ["human", "unknown_cipher"])
def test_other_output_is_refused(name: str) -> None:
    with pytest.raises(NettaxError, match="no results"):
        openssl.parse(captured(name))


@given(st.data())
def test_a_torn_run_is_refused_or_read_but_never_crashes(data: st.DataObject) -> None:
    lines = captured("elapsed").splitlines()
    kept = data.draw(st.lists(st.sampled_from(lines)))
    try:
        blocks = openssl.parse("\n".join(kept))
    except NettaxError:
        return
    assert 2 * len(blocks) == sum(line.startswith(("+DT", "+R")) for line in kept)


@given(st.text())
def test_garbage_is_refused(text: str) -> None:
    with pytest.raises(NettaxError):
        openssl.parse(f"+DT:aes-256-cbc:1:16\n+R:{text}")


def test_a_missing_result_is_noticed() -> None:
    with pytest.raises(NettaxError, match="1024"):
        openssl.parse("+DT:aes-256-cbc:1:16\n+R:5:aes-256-cbc:1.000000\n+DT:aes-256-cbc:1:1024\n")


def test_runs_of_other_sizes_do_not_compare() -> None:
    idle = ahern(IDLE)
    with pytest.raises(UsageError):
        openssl.compare(idle, run(idle.blocks[:3]))


def test_an_idle_run_that_did_nothing_has_nothing_to_lose() -> None:
    nothing = run((BlockSpeed(16, 0, 1, 0.0),))
    with pytest.raises(UsageError):
        openssl.compare(nothing, nothing)
