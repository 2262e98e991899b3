"""Many connections at once, in a guest that counts: who is answered, when, and who is not.

The kernel's server in its three modes, and epoll outside it, each with a backlog of 128. Then
connections that stay open: a work item runs until its connection ends, and of those only so many
may run at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nettax.experiment.runs.guests import INSTRUCTION_NS, MODES, asked, counting, serving
from nettax.experiment.runs.outcome import Bars, Outcome, Table, Value

__all__ = ["run"]

COUNTS = (1, 10, 100, 1000)
HELD = 400
PROCESS = "epoll, a process"
HOLDING = {
    "kthread": ("kthread",),
    "workqueue": ("workqueue",),
    "workqueue, max_active=512": ("workqueue", "max_active=512"),
    "workqueue-unbound": ("workqueue-unbound",),
}
UNTOLD = (
    "Latencies are instructions of the one emulated CPU that the client and both sides of the "
    "kernel share, not time; several CPUs, caches and a network are not in them. A SYN that is "
    "sent again waits for a second of the guest's clock, not for instructions, so connections that "
    "did are counted, and left out of the latencies. On your own host: nettax load echo --burst."
)
Say = Callable[[str], None]


def run(smoke: bool, progress: Say) -> Outcome:
    """Bursts on four servers, and connections that are held.

    :raises NettaxError: as the lab's guests do
    """
    counts = (1, 100) if smoke else COUNTS
    bursts: dict[str, Any] = {}
    held: dict[str, int] = {}
    with counting(progress=progress) as vm:
        for mode in MODES:
            progress(f"bursts, {mode}")
            with serving(vm, f"mode={mode}"):
                bursts[mode] = asked(vm, "in_guest", "burst", "kernel", *counts)
        progress(f"bursts, {PROCESS}")
        bursts[PROCESS] = asked(vm, "in_guest", "burst", "epoll", *counts)
        for name, (mode, *parameters) in list(HOLDING.items())[: 2 if smoke else None]:
            progress(f"connections held, {name}")
            with serving(vm, f"mode={mode}", *parameters, f"backlog={HELD}"):
                held[name] = asked(vm, "in_guest", "held", HELD, alone=True)
    return Outcome(
        tables=(_latencies(bursts), _held(held)),
        plots=(
            Bars(
                f"instructions until an echo is back, median of {counts[-1]} at once",
                tuple(
                    (name, _quantile(found[-1]["echo_ns"], 0.5)) for name, found in bursts.items()
                ),
            ),
            Bars(f"answered of {HELD} held open", tuple((n, float(v)) for n, v in held.items())),
        ),
        meaning=_meaning(bursts, held),
        untold=UNTOLD,
        raw={"bursts": bursts, "held": held},
    )


def _quantile(times_ns: list[int], share: float) -> int:
    """In instructions; 0 of none. `times_ns` are sorted."""
    if not times_ns:
        return 0
    return times_ns[round(share * (len(times_ns) - 1))] // INSTRUCTION_NS


def _latencies(bursts: dict[str, Any]) -> Table:
    rows: list[tuple[Value, ...]] = [
        (
            f"{name}, {seen['connections']}",
            *(float(_quantile(seen["connect_ns"], share)) for share in (0.5, 0.99)),
            *(float(_quantile(seen["echo_ns"], share)) for share in (0.5, 0.99)),
            seen["answered"],
            seen["overflows"],
            seen["retried"],
        )
        for name, found in bursts.items()
        for seen in found
    ]
    return Table(
        "so many connections at once, latencies in instructions; full: how often the listen queue "
        "was; again: whose SYN was sent again",
        (
            *("server, at once", "connect", "p99", "echo p50", "p99"),
            *("answered", "full", "again"),
        ),
        tuple(rows),
    )


def _held(held: dict[str, int]) -> Table:
    rows = tuple((name, count, HELD - count) for name, count in held.items())
    return Table(f"{HELD} connections that stay open", ("server", "answered", "waiting"), rows)


def _meaning(bursts: dict[str, Any], held: dict[str, int]) -> str:
    most = bursts[MODES[0]][-1]["connections"]
    late = {name: found[-1]["retried"] for name, found in bursts.items()}
    kthread, work = (_quantile(bursts[m][-1]["echo_ns"], 0.5) for m in ("kthread", "workqueue"))
    turned = ", ".join(f"{count} ({name})" for name, count in late.items() if count)
    queue = (
        f"Of {most} at once some found the listen queue full, so that their SYN was sent again a "
        f"second later: {turned}. "
        if turned
        else f"Of {most} at once none found the listen queue full. "
    )
    return (
        queue
        + f"The median echo of those that did not took {kthread / max(1, work):.2f} times as many "
        "instructions with a thread for each connection as with a work item, which is the work of "
        f"the others before it in line as much as its own. {_limit(held)}"
    )


def _limit(held: dict[str, int]) -> str:
    """Why not all of those held open were answered, and what moved that limit."""
    short = ", ".join(f"{count} ({name})" for name, count in held.items() if count < HELD)
    if not short:
        return f"All of {HELD} connections held open were answered."
    moved = (
        f" With {name[name.index('max_active') :]} {count} of {HELD} were."
        for name, count in held.items()
        if "max_active" in name
    )
    return (
        f"Of {HELD} connections held open not all were answered: {short}. That is max_active: an "
        "item that waits for its peer is active, and a queue has no more than so many at a time, "
        "256 unless it is told otherwise (WQ_DFL_ACTIVE, of a bound queue on each CPU); the next "
        f"begins when one of those ends.{''.join(moved)}"
    )
