"""The verdict is a pure function: each finding by evidence made for it, and no other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettax.experiment.evidence import Evidence, SideEvidence
from nettax.experiment.verdict import BOUNDS, LIMITS, WARNINGS, verdict

SIDE = SideEvidence(
    saturation=0.5, used=0.5, throttled=0.0, waited=0.0, net_share=0.3, threads=1, cpus=1
)
CLEAN = Evidence(
    tool="wrk",
    unit="request",
    done=50_000,
    rate=10_000,
    connections=16,
    opened=17,
    reconnects=1,
    wants_keep_alive=True,
    mean_ms=1.6,
    residual=0.0,
    at_40_ms=0.0,
    delayed_acks=0.0,
    unacknowledged=0.2,
    overflows=0,
    attempts=17,
    syn_retries=0,
    most_waiting=0,
    generator=SIDE,
    server=SIDE,
    share_cpus=False,
    busy=0.6,
    generator_of_busy=0.5,
    net_cpu=0.01,
    foreign_on_server=0.01,
    heaviest="sshd (12)",
    steal=0.01,
)
BUSY = replace(SIDE, saturation=0.99, used=0.98)
STARVED = replace(SIDE, saturation=0.99, used=0.5, waited=0.5)
PLATEAU = replace(
    CLEAN, mean_ms=44.1, rate=362, done=1800, at_40_ms=0.98, delayed_acks=1.0, unacknowledged=0.97
)


@pytest.mark.parametrize(
    ("seen", "bound", "warnings", "word"),
    [
        (CLEAN, "latency", (), "16 connections / 1.6 ms = 10,000 requests/s"),
        (replace(CLEAN, residual=0.6), "none", (), "no side was at its limit"),
        (replace(CLEAN, residual=None, mean_ms=None), "none", (), "no side was at its limit"),
        (replace(CLEAN, generator=BUSY), "generator", (), "wrk was busy for 99 %"),
        (replace(CLEAN, generator=STARVED), "generator", (), "waited for one 50 %"),
        (replace(CLEAN, server=BUSY), "server", (), "the server was busy for 99 %"),
        (
            replace(CLEAN, server=replace(SIDE, throttled=0.8)),
            "server",
            (),
            "a CPU quota held the server up for 80 %",
        ),
        (
            replace(CLEAN, server=BUSY, generator=replace(BUSY, saturation=0.95)),
            "server",
            (),
            "while wrk was busy for 95 %",
        ),
        (
            replace(CLEAN, server=BUSY, generator=BUSY, share_cpus=True, busy=0.99),
            "shared",
            (),
            "put them apart",
        ),
        (replace(CLEAN, server=replace(BUSY, net_share=0.7)), "network", (), "70 %"),
        (replace(CLEAN, net_cpu=0.93), "network", (), "93 %"),
        (
            replace(CLEAN, overflows=492, attempts=992, syn_retries=492),
            "latency",
            ("listen-queue",),
            "492 connection attempts",
        ),
        (PLATEAU, "latency", ("delayed-ack",), "98 % of the answers"),
        # A server that takes 42 ms, and whose requests are acknowledged late, has sent nothing.
        (replace(PLATEAU, unacknowledged=0.0), "latency", (), "latency-bound"),
        (replace(PLATEAU, at_40_ms=0.0), "latency", (), "latency-bound"),
        (
            replace(CLEAN, opened=50_016, reconnects=50_000),
            "latency",
            ("one-request",),
            "50016 connections for 50000 requests",
        ),
        (
            replace(CLEAN, opened=50_016, reconnects=50_000, wants_keep_alive=False),
            "latency",
            (),
            "latency-bound",
        ),
        (
            replace(CLEAN, server=STARVED, foreign_on_server=0.5),
            "server",
            ("disturbed",),
            "sshd (12)) had 50 % of the server's CPUs",
        ),
        # Others on CPUs that the server did not want do not disturb it.
        (replace(CLEAN, foreign_on_server=0.5), "latency", (), "latency-bound"),
        (replace(CLEAN, steal=0.2), "latency", ("disturbed",), "the hypervisor kept 20 %"),
    ],
)
def test_each_finding(seen: Evidence, bound: str, warnings: tuple[str, ...], word: str) -> None:
    found = verdict(seen)
    assert (found.bound, found.warnings) == (bound, warnings)
    assert found.kind == (warnings or (bound,))[0]
    assert word in found.sentence
    assert found.sentence.endswith(".") and "\n" not in found.sentence


def test_limits_have_reasons() -> None:
    for value, reason in LIMITS.values():
        assert 0 < value <= 1
        assert len(reason) > 20


def side(shares: list[float], threads: int) -> SideEvidence:
    saturation, used, throttled, waited, net_share = shares
    return SideEvidence(saturation, used, throttled, waited, net_share, threads, cpus=2)


@given(
    st.builds(
        lambda shares, counts, flags: replace(
            CLEAN,
            generator=side(shares[:5], counts[0]),
            server=side(shares[5:10], counts[1]),
            at_40_ms=shares[10],
            unacknowledged=shares[11],
            busy=shares[12],
            residual=shares[13] if flags[0] else None,
            mean_ms=1.0 if flags[0] else None,
            share_cpus=flags[1],
            wants_keep_alive=flags[2],
            overflows=counts[2],
            opened=counts[3],
            reconnects=counts[3],
        ),
        st.lists(st.floats(0, 1.5), min_size=14, max_size=14),
        st.lists(st.integers(0, 10**6), min_size=4, max_size=4),
        st.lists(st.booleans(), min_size=3, max_size=3),
    )
)
def test_any_evidence_has_one_verdict(seen: Evidence) -> None:
    found = verdict(seen)
    assert found.bound in BOUNDS
    assert list(found.warnings) == [name for name in WARNINGS if name in found.warnings]
    assert found.kind in (*WARNINGS, *BOUNDS)
    assert found.evidence
