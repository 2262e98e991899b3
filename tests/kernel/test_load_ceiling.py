"""The ceiling of a generator: ab's one thread, and wrk's several, on one server.

Two cores are too few to show it whole, so threads get a tenth of a CPU each: a cgroup with a quota
of T tenths for T threads. ab cannot use more than the first of them, wrk can. A quota holds whoever
else is on the CPU, so a disturbed run tells the same.
"""

from __future__ import annotations

from dataclasses import replace

from tests.kernel.test_load_verdicts import Case, judged, pytestmark

__all__ = ["pytestmark"]

QUOTA = 0.1
THREADS = (1, 2, 4)
CASE = Case("ceiling", ("generator",), connections=32, duration_s=2)


def test_ab_stays_where_wrk_scales() -> None:
    rates: dict[str, list[float]] = {"ab": [], "wrk": []}
    for threads in THREADS:
        for tool, found in rates.items():
            # ab has one thread, however many it is given: so it keeps the quota of one.
            share = QUOTA * (threads if tool == "wrk" else 1)
            case = replace(CASE, tool=tool, threads=threads, tool_quota=share)
            run, told = judged(case)
            print(f"\n{tool} -t {threads}: {run.result.rate:,.0f}/s; {told.sentence}")
            assert told.bound == "generator"
            found.append(run.result.rate)
    flat, rising = rates["ab"], rates["wrk"]
    assert max(flat) < 1.5 * min(flat)
    assert rising[0] < rising[1] < rising[2]
    assert rising[2] > 2 * rising[0]


def test_until_the_server_is_the_limit() -> None:
    case = replace(CASE, threads=4, tool_quota=0.9, server_quota=0.1)
    _, told = judged(case)
    assert told.bound == "server"
