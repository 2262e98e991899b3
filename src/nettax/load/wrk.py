"""wrk: threads with an event loop each, closed loop, HTTP/1.1.

Its report rounds; so it is given a Lua `done()` that prints every latency with its count, in µs.
That takes wrk a scan of all its latencies for each, so `done()` first says that the load is over,
and waits until the measuring has stopped; where it would take too long it prints quantiles.

wrk "corrects" latencies for coordinated omission before `done()` sees them (src/stats.c,
stats_correct): for a latency of at least twice the expected interval it adds made-up ones, an
interval shorter each. Which ones is known, so they are taken out again; what is left must be as
many as there were requests.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from nettax.load.tool import Job, Result, Said, Tool, histogram, not_understood, spread

__all__ = ["TOOL", "uncorrected"]

MARK = "nettax-wrk "
OVER = "nettax-wrk-over"
CORRECTED = "latencies as wrk corrected them for coordinated omission"
SCRIPT = """\
done = function(summary, latency, requests)
  io.write('nettax-wrk-over\\n')
  io.flush()
  io.read()
  local e = summary.errors
  io.write(string.format('nettax-wrk {"requests":%d,"duration_us":%d,"bytes":%d,', summary.requests,
    summary.duration, summary.bytes))
  io.write(string.format('"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d},',
    e.connect, e.read, e.write, e.status, e.timeout))
  local comma = ''
  if #latency * latency.max < 4e9 then
    io.write('"latency_us":[')
    for i = 1, #latency do
      local value, count = latency(i)
      io.write(string.format('%s[%d,%d]', comma, value, count))
      comma = ','
    end
  else
    io.write('"quantiles_us":[')
    for i = 0, 999 do
      io.write(string.format('%s%d', comma, latency:percentile(i / 10)))
      comma = ','
    end
    io.write(string.format(',%d', latency.max))
  end
  io.write(']}\\n')
end
"""


def command(job: Job, directory: Path) -> list[str]:
    script = directory / "done.lua"
    script.write_text(SCRIPT)
    threads = min(job.threads, job.connections)  # it refuses more threads than connections
    sizes = [f"-t{threads}", f"-c{job.connections}", f"-d{job.duration_s}"]
    close = [] if job.keep_alive else ["-H", "Connection: close"]
    return [*sizes, *close, "-s", str(script), job.url]


def parse(job: Job, said: Said) -> Result:
    line = next((line for line in said.out.splitlines() if line.startswith(MARK)), None)
    if line is None:
        words = said.out.splitlines() or said.err.splitlines() or [""]
        not_understood("wrk", words[-1])
    try:
        told = json.loads(line.removeprefix(MARK))
        exact = "latency_us" in told
        quantiles = [] if exact else [int(value) for value in told["quantiles_us"]]
        times = {int(value): int(count) for value, count in told["latency_us"]} if exact else {}
        errors = {str(kind): int(count) for kind, count in told["errors"].items()}
        requests, elapsed_us = int(told["requests"]), int(told["duration_us"])
        received = int(told["bytes"])
        least = min(requests, elapsed_us, received, *times, *times.values(), *errors.values())
        if least < 0 or min(quantiles, default=0) < 0 or quantiles != sorted(quantiles):
            raise ValueError(line)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        not_understood("wrk", line)
    if exact:
        found, note = uncorrected(times, requests, elapsed_us, job.connections)
    else:
        found, note = spread(quantiles, requests), f"a thousand quantiles of {CORRECTED}"
    return Result(
        unit="request",
        done=requests,
        elapsed_ns=elapsed_us * 1000,
        errors={kind: count for kind, count in errors.items() if count},
        latency=histogram({us * 1000: count for us, count in found.items()}),
        connections=None,
        bytes=received,
        note=note,
        made_up=CORRECTED in note,
    )


def uncorrected(
    times_us: dict[int, int], requests: int, elapsed_us: int, connections: int
) -> tuple[dict[int, int], str]:
    """Take out the latencies that wrk made up; return the others and what is to be said of them.

    From the longest down, as each made-up one comes from a longer one that did happen.
    """
    if sum(times_us.values()) == requests:
        return times_us, ""
    each = requests // connections if connections else 0
    expected = elapsed_us // each if each else 0
    if not expected:
        return times_us, CORRECTED
    left = dict(times_us)
    for time in sorted(times_us, reverse=True):
        if time < 2 * expected:
            break
        made = time - expected
        while made > expected:
            left[made] = left.get(made, 0) - left[time]
            made -= expected
    if min(left.values(), default=0) < 0 or sum(left.values()) != requests:
        return times_us, CORRECTED
    return {time: count for time, count in left.items() if count}, (
        "latencies without those that wrk made up for coordinated omission"
    )


TOOL = Tool(
    name="wrk",
    program="wrk",
    package="wrk",
    kinds=("http",),
    asks_version=("-v",),
    version=re.compile(r"^wrk (\S+)", re.M),
    command=command,
    parse=parse,
    over=OVER,
)
