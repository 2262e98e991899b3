"""nettax's own engines among the tools: requests, and datagrams to a sink (``nettax serve sink``).

Requests are an open loop at a rate, or a closed one without. Either runs in a bare interpreter that
calls the engine at once, so that what its cgroup is billed is what the load cost.
"""

from __future__ import annotations

import base64
import re
import sys
import zlib
from pathlib import Path

from nettax.errors import UsageError
from nettax.load import udp
from nettax.load.open_loop import ENGINE, http_request, prepare, reading
from nettax.load.tool import Job, Result, Said, Tool, not_understood
from nettax.native import PATH

__all__ = ["TOOL"]

PAGE = "page"
MESSAGE_BYTES = 14  # as sockperf's
DATAGRAM_BYTES = 64
_RUNNER = """\
import base64, ctypes, os, sys, zlib
library, engine, path, hint = sys.argv[1:]
with open(path, "r+b") as file:
    error = getattr(ctypes.CDLL(library), engine)(file.fileno())
    page = file.read()
if error:
    sys.exit(f"{os.strerror(error)}{hint}")
print(base64.b64encode(zlib.compress(page, 1)).decode())
"""


def command(job: Job, directory: Path) -> list[str]:
    if job.threads > 1:
        raise UsageError("nettax's own engines have one thread: -t takes 1 with it.")
    if job.kind == "stream":
        engine, hint = udp.SEND, ": is it `nettax serve sink` that listens there?"
        page = _datagrams(job)
    else:
        engine, hint = ENGINE, ""
        page = _requests(job)
    (directory / PAGE).write_bytes(page)
    return ["-I", "-S", "-c", _RUNNER, PATH, engine, str(directory / PAGE), hint]


def _requests(job: Job) -> bytes:
    if job.kind == "http":
        host = f"[{job.host}]" if ":" in job.host else job.host
        request = http_request(job.path, f"{host}:{job.port}")
    elif job.protocol == "udp":
        raise UsageError("nettax's own requester speaks TCP: --udp is not for load echo with it.")
    else:
        request = b"n" * (job.message_bytes or MESSAGE_BYTES)
    return prepare(
        job.host,
        job.port,
        request,
        protocol="http" if job.kind == "http" else "echo",
        rate=job.rate or 0,
        duration_s=job.duration_s,
        connections=job.connections,
        arrivals="poisson" if job.poisson else "even",
        lone=not job.keep_alive,
    )


def _datagrams(job: Job) -> bytes:
    if job.protocol != "udp":
        raise UsageError("nettax's own stream is of datagrams: add --udp.")
    if job.connections > 1:
        raise UsageError("nettax's own stream is one flow: -c takes 1 with it.")
    size = job.message_bytes or DATAGRAM_BYTES
    rate = (job.rate or 0) / 8 / size
    return udp.prepare(job.host, job.port, rate=rate, duration_s=job.duration_s, payload_bytes=size)


def parse(job: Job, said: Said) -> Result:
    try:
        page = zlib.decompress(base64.b64decode(said.out, validate=False))
        return _sent(job, udp.reading(page)) if job.kind == "stream" else _asked(job, page)
    except (ValueError, zlib.error):
        not_understood("nettax", said.out or said.err)


def _asked(job: Job, page: bytes) -> Result:
    read = reading(page)
    errors = {" ".join(key): count for key, count in read.errors.items()}
    errors |= {f"{n}xx": count for n, count in read.statuses.items() if n > 3}
    if read.unsent and job.rate:
        errors["due, not sent"] = read.unsent
    return Result(
        unit="request" if job.kind == "http" else "message",
        done=read.answered,
        elapsed_ns=read.wall_ns,
        errors=errors,
        latency=read.latency,
        connections=read.connects,
        bytes=read.received_bytes,
        note="from when each was due" if job.rate else "",
    )


def _sent(job: Job, run: udp.UdpRun) -> Result:
    seconds = run.wall_ns / 1e9
    errors = {f"send {name}": count for name, count in run.errors.items()}
    faults = (("lost", run.lost), ("duplicate", run.duplicates), ("out of order", run.reordered))
    errors |= {kind: count for kind, count in faults if count}
    note = f"{run.sent:,} sent, {run.sent / seconds:,.0f} a second" if seconds else ""
    if job.rate:
        late = run.late.quantile(0.99) or 0
        note += f" of {job.rate / 8 / run.bytes:,.0f} asked for, 99 % within {late / 1e6:.3g} ms"
    return Result(
        unit="datagram",
        done=run.received,
        elapsed_ns=run.wall_ns,
        errors=errors,
        latency=run.transit,
        connections=None,
        bytes=run.received * run.bytes,
        note=f"{note}; latency is from sending to reading: of one host's clock",
    )


TOOL = Tool(
    name="nettax",
    program=sys.executable,
    package=None,
    kinds=("http", "echo", "stream"),
    asks_version=("-c", "import nettax; print('nettax', nettax.__version__)"),
    version=re.compile(r"^nettax (\S+)"),
    command=command,
    parse=parse,
    one_thread=True,
)
