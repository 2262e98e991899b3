"""nettax's own requester among the tools: an open loop at a rate, or a closed one without.

It runs in a bare interpreter that calls the engine at once, so that what its cgroup is billed is
what the load cost.
"""

from __future__ import annotations

import base64
import re
import sys
import zlib
from pathlib import Path

from nettax.errors import UsageError
from nettax.load.open_loop import ENGINE, http_request, prepare, reading
from nettax.load.tool import Job, Result, Said, Tool, not_understood
from nettax.native import PATH

__all__ = ["TOOL"]

PAGE = "page"
MESSAGE_BYTES = 14  # as sockperf's
_RUNNER = """\
import base64, ctypes, mmap, sys, zlib
library, engine, path = sys.argv[1:]
with open(path, "r+b") as file:
    error = getattr(ctypes.CDLL(library), engine)(file.fileno())
    page = file.read()
print(base64.b64encode(zlib.compress(page, 1)).decode())
sys.exit(error)
"""


def command(job: Job, directory: Path) -> list[str]:
    if job.threads > 1:
        raise UsageError("nettax's own requester has one thread: -t takes 1 with it.")
    if job.kind == "http":
        host = f"[{job.host}]" if ":" in job.host else job.host
        request = http_request(job.path, f"{host}:{job.port}")
    elif job.protocol == "udp":
        raise UsageError("nettax's own requester speaks TCP: --udp is not for it.")
    else:
        request = b"n" * (job.message_bytes or MESSAGE_BYTES)
    page = prepare(
        job.host,
        job.port,
        request,
        protocol="http" if job.kind == "http" else "echo",
        rate=job.rate or 0,
        duration_s=job.duration_s,
        connections=job.connections,
        lone=not job.keep_alive,
    )
    (directory / PAGE).write_bytes(page)
    return ["-I", "-S", "-c", _RUNNER, PATH, ENGINE, str(directory / PAGE)]


def parse(job: Job, said: Said) -> Result:
    try:
        read = reading(zlib.decompress(base64.b64decode(said.out, validate=False)))
    except (ValueError, zlib.error):
        not_understood("nettax", said.out or said.err)
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


TOOL = Tool(
    name="nettax",
    program=sys.executable,
    package=None,
    kinds=("http", "echo"),
    asks_version=("-c", "import nettax; print('nettax', nettax.__version__)"),
    version=re.compile(r"^nettax (\S+)"),
    command=command,
    parse=parse,
    one_thread=True,
)
