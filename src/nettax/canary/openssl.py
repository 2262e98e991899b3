"""``openssl speed`` as a canary: the victim of the experiment that founded nettax.

David Ahern ran ``taskset -c 5 openssl speed -seconds 10 aes-256-cbc`` beside network traffic ("The
CPU cost of networking on a host", people.kernel.org/dsahern): of every ten seconds it got two.

What "in N s" means depends on ``-elapsed`` (openssl, apps/speed.c and apps/lib/apps.c,
app_tminterval). With it, N is wall time. Without, N is the tms_utime of times(2): user time alone,
so time that a tick bills as system time to the process is left out of N. And as openssl divides the
operations by N, its printed rate then hides the theft entirely.
"""

from __future__ import annotations

import os
import re
import resource
import time
from dataclasses import dataclass
from itertools import zip_longest
from subprocess import DEVNULL, STDOUT

from nettax.errors import NettaxError, UsageError
from nettax.host import spawn

CIPHER = "aes-256-cbc"

# `openssl speed -mr`: "+DT:name:seconds:bytes" as a block size starts, "+R:operations:name:seconds"
# as it ends (apps/speed.c, print_message and print_result).
_STARTED = re.compile(r"\+DT:[^:]+:([1-9][0-9]{0,8}):([1-9][0-9]{0,8})")
_ENDED = re.compile(r"\+R:([0-9]{1,18}):[^:]+:([0-9]{1,9}\.[0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class BlockSpeed:
    """One row: what was done with blocks of one size."""

    block_bytes: int
    operations: int
    window_s: int
    """The wall time that was asked for; an alarm ends it, to within a scheduling delay."""
    seconds: float
    """The "in N s" column: wall time with ``-elapsed``, else the user CPU time that it got."""

    @property
    def rate(self) -> float:
        """Operations per second of wall time, in either mode."""
        return self.operations / self.window_s


@dataclass(frozen=True, slots=True)
class OpensslSpeed:
    """One run: a row for each block size, and what the kernel billed for all of it."""

    blocks: tuple[BlockSpeed, ...]
    user_ns: int
    system_ns: int
    """As wait4(2) and times(2) tell it; a pure user-space loop has system time only by theft."""
    elapsed_ns: int


@dataclass(frozen=True, slots=True)
class BlockLoss:
    """One block size, undisturbed and now."""

    idle: BlockSpeed
    now: BlockSpeed

    @property
    def value(self) -> float:
        """1 − operations now / operations idle, in equal windows."""
        return 1 - self.now.rate / self.idle.rate


def speed(
    cpu: int,
    seconds: int,
    *,
    elapsed: bool = True,
    cipher: str = CIPHER,
    block_bytes: int | None = None,
) -> OpensslSpeed:
    """Run ``openssl speed`` on one CPU, ``seconds`` for each block size; return what it did.

    Without ``block_bytes`` it takes openssl's six sizes, 16 bytes to 16 KiB. ``elapsed=False`` is
    the founding experiment's mode.

    :raises UsageError: no such CPU; less than a second.
    :raises NettaxError: openssl is missing or failed.
    """
    if seconds < 1:
        raise UsageError(f"openssl measures whole seconds: {seconds} is too short.")
    options = ["-mr", "-seconds", str(seconds)]
    if elapsed:
        options.append("-elapsed")
    if block_bytes is not None:
        options += ["-bytes", str(block_bytes)]
    start_ns = time.monotonic_ns()
    output, usage = _run(["openssl", "speed", *options, cipher], cpu)
    return OpensslSpeed(
        blocks=parse(output),
        user_ns=round(usage.ru_utime * 1e9),
        system_ns=round(usage.ru_stime * 1e9),
        elapsed_ns=time.monotonic_ns() - start_ns,
    )


def compare(idle: OpensslSpeed, now: OpensslSpeed) -> tuple[BlockLoss, ...]:
    """Pair the rows of two runs by block size, in the order of ``idle``.

    :raises UsageError: the runs are of different block sizes, or the idle one did nothing.
    """
    rows = {block.block_bytes: block for block in now.blocks}
    if rows.keys() != {block.block_bytes for block in idle.blocks}:
        raise UsageError("two runs of openssl speed compare only with the same block sizes.")
    if not all(block.operations for block in idle.blocks):
        raise UsageError("openssl speed did nothing in the idle run: nothing can be lost.")
    return tuple(BlockLoss(block, rows[block.block_bytes]) for block in idle.blocks)


def parse(output: str) -> tuple[BlockSpeed, ...]:
    """Parse what ``openssl speed -mr`` prints, its two streams together.

    :raises NettaxError: it is something else, or a block size has no result.
    """
    lines = [line for line in output.splitlines() if line.startswith(("+DT:", "+R:"))]
    if not lines:
        raise NettaxError("openssl speed -mr printed no results.")
    # A block size that started is the next line's result; an odd line out fails to match.
    pairs = zip_longest(lines[::2], lines[1::2], fillvalue="")
    return tuple(_parse_block(started, ended) for started, ended in pairs)


def _parse_block(started: str, ended: str) -> BlockSpeed:
    asked, got = _STARTED.fullmatch(started), _ENDED.fullmatch(ended)
    if not asked or not got:
        raise NettaxError(f"cannot read what openssl speed -mr printed: {started!r}, {ended!r}.")
    return BlockSpeed(
        block_bytes=int(asked[2]),
        operations=int(got[1]),
        window_s=int(asked[1]),
        seconds=float(got[2]),
    )


def _run(command: list[str], cpu: int) -> tuple[str, resource.struct_rusage]:
    """Run a command on one CPU; return its output and what the kernel billed it."""
    reader, writer = os.pipe()
    with os.fdopen(reader, encoding="utf-8", errors="replace") as pipe:
        try:
            process = spawn(command, cpus=[cpu], stdin=DEVNULL, stdout=writer, stderr=STDOUT)
        except FileNotFoundError:
            raise NettaxError(f"{command[0]} is not installed: apt install {command[0]}.") from None
        finally:
            os.close(writer)
        try:
            output = pipe.read()
        except BaseException:
            process.kill()
            process.wait()
            raise
    # Popen would reap it and forget the usage.
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        reason = output.strip().splitlines() or [f"exit status {process.returncode}"]
        raise NettaxError(f"`{' '.join(command)}` failed: {reason[-1]}.")
    return output, usage
