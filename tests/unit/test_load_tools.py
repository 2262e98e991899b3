"""Load tools' own words: captured ones, and broken ones, which fail with the line.

The fixtures are each tool's two streams and files as nettax asks for them. Plain: the reference
server `threads http` that sleeps 8 ms (htstress: 200 requests); closes: the same, --keep-alive=0
(h2load: no sleep, every 12th line of its log; it was killed);
stalls: it sleeps 300 ms; 404: Python's http.server, which sleeps 20 ms (nginx for ab); refused: a
port without a server. iperf3, netperf and sockperf are on their own servers; of sockperf's log,
every 12th or 24th message is kept. A file's directory is DIR. udp of iperf3: at 100 Mbit/s, 1000
bytes a datagram; udp-3: three at 50; tcp-4: four. under-load: 20,000 messages a second; rr:
netperf's request and response.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nettax.errors import NettaxError, UsageError
from nettax.load.tool import Job, Result, Said, Tool, spread
from nettax.load.tools import TOOLS, tools
from nettax.load.wrk import uncorrected

FIXTURES = Path(__file__).parents[1] / "fixtures" / "load"
CAPTURED = sorted(path.name for path in FIXTURES.iterdir())
FAILED = [
    name
    for name in CAPTURED
    if name.endswith("refused") and name.startswith(("wrk", "ip", "ht", "netperf"))
]
FINE = [name for name in CAPTURED if name not in FAILED]


def tool_of(name: str) -> Tool:
    return TOOLS[name.partition("-")[0]]


def job_of(name: str) -> Job:
    connections = 2 if name.endswith(("404", "refused")) else 4
    kind = tool_of(name).kinds[0]
    if "-throughput" in name:
        kind = "stream"
    elif "-rr-" in name:
        kind = "echo"
    job = Job(kind, "127.0.0.1", 80, connections=connections)
    if "under-load" in name:
        job = replace(job, rate=20_000)
    return replace(job, protocol="udp") if "udp" in name.split("-") else job


def said(name: str) -> Said:
    texts = {path.name: path.read_text() for path in (FIXTURES / name).iterdir()}
    return Said(texts.pop("stdout.txt"), texts.pop("stderr.txt"), texts)


def parsed(name: str) -> Result:
    return tool_of(name).parse(job_of(name), said(name))


@pytest.mark.parametrize("name", FINE)
def test_captured(name: str) -> None:
    result = parsed(name)
    assert result.elapsed_ns > (0.4e9 if "htstress" in name else 0.9e9)
    if result.latency is None:
        return
    if result.unit == "request" and not result.made_up:
        assert result.latency.total == result.done
    quick = ("ab-2.3-404", "h2load-1.52.0-closes")
    if result.unit == "request" and result.done and name not in quick:
        slept = {"stalls": 300e6, "404": 20e6}.get(name.rpartition("-")[2], 8e6)
        least = result.latency.quantile(0.01)
        assert least is not None and least > 0.98 * slept


@pytest.mark.parametrize("name", FAILED)
def test_what_a_tool_says_when_it_fails_is_no_result(name: str) -> None:
    with pytest.raises(NettaxError, match="cannot read what"):
        parsed(name)


def test_nothing_was_answered() -> None:
    for name in FINE:
        if name.endswith("refused"):
            assert parsed(name).done == 0


def test_http_requests_and_errors() -> None:
    by_tool = {name.partition("-")[0]: parsed(name) for name in FINE if name.endswith("plain")}
    assert set(by_tool) == {"wrk", "ab", "h2load", "htstress"}
    for result in by_tool.values():
        assert not result.errors
        # Four connections of 8 ms each, for a second.
        assert 100 < result.done <= 500
        assert result.bytes is None or result.bytes > 128 * result.done
    for name in FINE:
        if name.endswith("404"):
            assert parsed(name).errors["status"] > 0


def test_h2load_that_never_ended_is_as_its_log_says() -> None:
    name = "h2load-1.52.0-closes"
    result = parsed(name)
    assert "did not end by itself" in result.note
    assert result.done == len(said(name).files["requests.log"].splitlines())
    assert result.elapsed_ns == job_of(name).duration_s * 10**9


def test_streams() -> None:
    tcp, four = parsed("iperf3-3.12-tcp"), parsed("iperf3-3.12-tcp-4")
    assert (tcp.unit, tcp.connections) == ("MB", 2)
    assert (four.unit, four.connections) == ("MB", 5)
    for result in (tcp, four, parsed("netperf-2.7.0-tcp")):
        assert result.bytes is not None and result.done == result.bytes // 10**6
    # 100 Mbit/s of 1000 bytes a datagram; what was sent is lost or arrived.
    udp = parsed("iperf3-3.12-udp")
    assert udp.unit == "datagram" and udp.done + udp.errors["lost"] == 12_492
    # Three at 50 Mbit/s.
    assert parsed("iperf3-3.12-udp-3").done == pytest.approx(3 * 6250, rel=0.001)
    by_netperf = parsed("netperf-2.7.0-udp")
    assert by_netperf.done + by_netperf.errors["lost"] == 63_477
    for result in (udp, by_netperf):
        assert result.bytes == 1000 * result.done
    sent = parsed("sockperf-3.7-no.git-throughput-udp")
    assert sent.done == 105_224 and "sent" in sent.note


def test_what_a_server_under_load_did_not_answer() -> None:
    result = parsed("sockperf-3.7-no.git-under-load-udp")
    assert (result.done, result.errors) == (19_963, {"not answered": 47})


@pytest.mark.parametrize("name", ["netperf-2.7.0-rr-tcp", "netperf-2.7.0-rr-udp"])
def test_netperf_is_as_its_percentiles_and_mean_say(name: str) -> None:
    result, told = parsed(name), dict(line.split("=") for line in said(name).out.split())
    assert result.latency is not None and result.latency.total == result.done
    for share, key in ((0, "MIN"), (0.5, "P50"), (0.9, "P90"), (0.99, "P99"), (1, "MAX")):
        exact = float(told[f"{key}_LATENCY"]) * 1000
        # A histogram's bucket, and a step of the tail.
        assert result.latency.quantile(share) == pytest.approx(exact, rel=0.05)
    assert result.mean_ns == pytest.approx(float(told["MEAN_LATENCY"]) * 1000)
    assert result.latency.mean_ns == pytest.approx(result.mean_ns, rel=0.1)


@given(st.lists(st.integers(0, 10**9), min_size=7, max_size=7))
def test_whatever_netperf_counts_is_in_its_histogram(values: list[int]) -> None:
    """Percentiles from its own coarse buckets lie beyond its least and most at times."""
    done, mean, *times = values
    times[1:4] = sorted(times[1:4])
    names = ("MIN", "P50", "P90", "P99", "MAX")
    lines = [f"{name}_LATENCY={us}" for name, us in zip(names, times, strict=True)]
    lines += ["PROTOCOL=TCP", "ELAPSED_TIME=1.00", f"MEAN_LATENCY={mean}.00"]
    calls = ("LOCAL_SEND_CALLS", "LOCAL_RECV_CALLS", "LOCAL_BYTES_RECVD", "REMOTE_RECV_CALLS")
    lines += [f"{key}={done}" for key in (*calls, "REMOTE_BYTES_RECVD")]
    output = Said("\n".join([*lines, "LOCAL_TRANSPORT_RETRANS=0"]))
    job = Job("echo", "127.0.0.1", 80)
    if times[0] > times[-1]:
        with pytest.raises(NettaxError, match="cannot read what"):
            TOOLS["netperf"].parse(job, output)
        return
    latency = TOOLS["netperf"].parse(job, output).latency
    assert latency is not None and latency.total == done
    middle = latency.quantile(0.5)
    assert middle is None or 0.98 * times[0] * 1000 <= middle <= 1.02 * times[-1] * 1000 + 1


def test_sum_received_of_iperf3_is_not_asked_for_its_bytes() -> None:
    """3.12 marks it as the sender's; the streams' receivers are what counts."""
    name = "iperf3-3.12-tcp"
    told = json.loads(said(name).out)
    told["end"]["sum_received"]["bytes"] = 1
    assert TOOLS["iperf3"].parse(job_of(name), Said(json.dumps(told))) == parsed(name)


def test_sockperf_gives_round_trips() -> None:
    name = next(n for n in FINE if n.startswith("sockperf") and n.endswith("tcp"))
    result = parsed(name)
    assert result.latency is not None
    half = next(
        float(line.split("=")[1])
        for line in said(name).out.splitlines()
        if "percentile 50.000" in line
    )
    median = result.latency.quantile(0.5)
    assert median is not None and median / 2000 == pytest.approx(half, rel=0.03)


def test_what_wrk_made_up_is_taken_out() -> None:
    """As stats_correct of wrk does it: for a latency, others that are an interval shorter each."""
    requests, elapsed, connections = 1000, 1_000_000, 10
    expected = elapsed // (requests // connections)
    seen = {expected // 2: 900, 3 * expected + 7: 60, 9 * expected + 1: 40}
    corrected = dict(seen)
    for value in range(2 * expected, max(seen) + 1):
        count, made = corrected.get(value, 0), value - expected
        while count and made > expected:
            corrected[made] = corrected.get(made, 0) + count
            made -= expected
    found, note = uncorrected(corrected, requests, elapsed, connections)
    assert found == seen and "without" in note
    # Should another version do it otherwise, nothing is taken out.
    corrected[3 * expected] = corrected.get(3 * expected, 0) + 1
    found, note = uncorrected(corrected, requests, elapsed, connections)
    assert found == corrected and "as wrk corrected" in note


@given(
    st.lists(st.integers(0, 10**12), min_size=2, max_size=120).map(sorted), st.integers(0, 10**6)
)
def test_quantiles_are_spread_without_losing_any(quantiles: list[int], count: int) -> None:
    times = spread(quantiles, count)
    assert sum(times.values()) == count
    assert not times or (quantiles[0] <= min(times) and max(times) <= quantiles[-1])


def test_an_unknown_line_is_told() -> None:
    name = next(n for n in FINE if n.startswith("h2load") and n.endswith("plain"))
    good = said(name)
    bad = Said(good.out, good.err, {"requests.log": "1\t200\t5\n2 two hundred\n"})
    with pytest.raises(NettaxError, match="'2 two hundred'"):
        TOOLS["h2load"].parse(job_of(name), bad)


def test_unknown_and_absent_tools() -> None:
    with pytest.raises(UsageError, match="has no tool 'iperf3'"):
        tools("http", "iperf3")
    absent = Tool("x", "no-such-program", None, (), (), TOOLS["ab"].version, lambda *_: [], parsed2)
    with pytest.raises(UsageError, match="not in Debian"):
        absent.find()
    with pytest.raises(UsageError, match=r"apt install netperf, .* non-free"):
        replace(TOOLS["netperf"], program="no-such-program").find()
    with pytest.raises(UsageError, match="oha is not supported: it has no Debian package"):
        tools("http", "oha")


def test_a_tool_that_was_killed_says_nothing() -> None:
    for name in TOOLS:
        with pytest.raises(NettaxError, match="cannot read what"):
            TOOLS[name].parse(Job(TOOLS[name].kinds[0], "127.0.0.1", 80), Said(""))


def parsed2(job: Job, told: Said) -> Result:
    raise AssertionError


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_broken_output_is_an_error_and_no_traceback(data: st.DataObject) -> None:
    """Any captured text, cut, doubled, or with characters changed."""
    name = data.draw(st.sampled_from(CAPTURED))
    texts = said(name)
    broken = {"": texts.out, **texts.files}
    which = data.draw(st.sampled_from(sorted(broken)))
    text = broken[which][:4000]
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 60)))
    broken[which] = text[:start] + data.draw(st.text(max_size=8)) + text[end:]
    out = broken.pop("")
    try:
        result = tool_of(name).parse(job_of(name), Said(out, texts.err, broken))
    except NettaxError as error:
        assert str(error).startswith("cannot read what")
        return
    assert result.done >= 0 and result.elapsed_ns >= 0
    assert all(count > 0 for count in result.errors.values())
