"""Workqueues, bound to a CPU or not: who waits for long work items, and where items run.

A work item of the server is a connection. Of a bound queue the items of a CPU begin one after the
other, and the next only when none of those begun is running; of an unbound one each gets a
worker that the scheduler shares the CPUs out to. (Documentation/core-api/workqueue.rst)
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from nettax.errors import NettaxError
from nettax.experiment.runs.guests import asked, counting, serving
from nettax.experiment.runs.outcome import Bars, Outcome, Table, Value
from nettax.lab.vm import backports, qemu
from nettax.load.histogram import Histogram

__all__ = ["jain", "run"]

WORK_US = 2000
BUSY = 4
LATE = 20
MODES = {"bound": "workqueue", "unbound": "workqueue-unbound"}
KERNELS = ("6.1", "6.12")
CPUS = 2
UNTOLD = (
    "Times are the guest's: its clock goes on by 2 ns with each instruction, of whichever CPU, and "
    "the work of a message takes its time by that clock. So who waits for whom is as it would be, "
    "and the same again; what locality gains, the caches' part, is not in it, nor what one design "
    "can do at most on several CPUs."
)
Say = Callable[[str], None]


def run(smoke: bool, progress: Say) -> Outcome:
    """Both kinds of queues, on two kernels; two CPUs where the emulator can count on two.

    :raises NettaxError: as the lab's guests do
    """
    cpus, why = _cpus(progress)
    found: dict[tuple[str, str], Any] = {}
    for kernel in KERNELS[:1] if smoke else KERNELS:
        with counting(kernel, cpus, progress) as vm:
            for name, mode in MODES.items():
                progress(f"long work items, {name}, Linux {kernel}")
                with serving(vm, f"mode={mode}", f"work_us={WORK_US}"):
                    found[kernel, name] = asked(
                        vm, "in_guest_fairness", BUSY, LATE, 400 if smoke else 1000, alone=True
                    )
    return Outcome(
        tables=(_delays(found), _placement(found)),
        plots=(
            Bars(
                "virtual ms that a late connection waits to be begun, median",
                tuple((_name(*key), _late(seen)[0]) for key, seen in found.items()),
            ),
        ),
        meaning=_meaning(found),
        untold=UNTOLD + (f" {why}" if why else ""),
        raw={"cpus": cpus, "work_us": WORK_US, "runs": {_name(*k): v for k, v in found.items()}},
    )


def _cpus(progress: Say) -> tuple[int, str]:
    """How many CPUs a guest that counts can have, and why not two."""
    try:
        if qemu.installed().version() < qemu.COUNTS_ON_SEVERAL:
            with ExitStack() as stack:
                backports.emulator(stack, progress)
    except NettaxError as error:
        return 1, f"It ran on one CPU, so placement is not told: {str(error).splitlines()[0]}"
    return CPUS, ""


def jain(shares: list[int]) -> float:
    """Fairness: 1 if all have as much, 1/n if one has all.

    R. Jain, D. Chiu, W. Hawe, "A Quantitative Measure of Fairness and Discrimination for Resource
    Allocation in Shared Computer Systems", DEC-TR-301, 1984.
    """
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 0.0


def _name(kernel: str, queue: str) -> str:
    return f"{queue}, Linux {kernel}"


def _late(seen: Any) -> tuple[float, float, int]:
    """Of the late items: median and longest wait in ms, and how many had not begun at the end.

    Those count as long as they had waited then.
    """
    late = seen["items"][BUSY:]
    waits = sorted(item["waited_ns"] for item in late)
    never = sum(item["delay_ns"] is None for item in late)
    return waits[(len(waits) - 1) // 2] / 1e6, waits[-1] / 1e6, never


def _delays(found: dict[tuple[str, str], Any]) -> Table:
    rows: list[tuple[Value, ...]] = []
    for key, seen in found.items():
        answered = Histogram.of(seen["answered_ns"])
        middle = answered.quantile(0.5)
        rows.append(
            (
                _name(*key),
                *_late(seen),
                None if middle is None else middle / 1e6,
                len(seen["answered_ns"]),
                sum(seen["echoes"]),
                jain(seen["echoes"]),
            )
        )
    return Table(
        f"{LATE} connections come late to {BUSY} that always have work, {WORK_US} µs a message; "
        "virtual ms",
        ("queue", "wait p50", "most", "never", "answer p50", "answered", "busy did", "fair"),
        tuple(rows),
    )


def _placement(found: dict[tuple[str, str], Any]) -> Table:
    rows: list[tuple[Value, ...]] = []
    for key, seen in found.items():
        begun = [item for item in seen["items"] if item["delay_ns"] is not None]
        home = sum(item["began_on"] == item["queued_on"] for item in begun)
        rows.append(
            (
                _name(*key),
                *(sum(item["began_on"] == cpu for item in begun) for cpu in range(CPUS)),
                100 * home / len(begun) if begun else None,
                len({item["worker"] for item in begun}),
            )
        )
    return Table(
        "where items began",
        ("queue", "CPU 0", "CPU 1", "% where queued", "workers"),
        tuple(rows),
    )


def _meaning(found: dict[tuple[str, str], Any]) -> str:
    said, longer = [], []
    for kernel in dict.fromkeys(kernel for kernel, _ in found):
        bound, unbound = (_late(found[kernel, name]) for name in MODES)
        longer.append(bound[0] > 2 * unbound[0])
        never = f" ({bound[2]} of {LATE} were not begun at all)" if bound[2] else ""
        said.append(
            f"On Linux {kernel} the late ones waited {bound[0]:.3g} ms to be begun by the bound "
            f"queue, in the median{never}, and {unbound[0]:.3g} by the unbound one."
        )
    why = (
        "A bound queue begins no item on a CPU while one that it began there runs, so whoever "
        "comes late waits until that sleeps, which with its next message there already it does "
        "not; since Linux 6.5 an item that ran for 10 ms or more without sleeping no longer "
        "counts. An unbound queue leaves all to the scheduler, on all CPUs."
        if any(longer)
        else "So nobody waited much longer on the bound queue."
    )
    return (
        f"{BUSY} connections always have a message for the server, of {WORK_US} µs of work, and "
        f"{LATE} others one each. {' '.join(said)} {why}"
    )
