"""The worked examples of these pages, run for real: ``python docs/tables/examples.py [--write]``.

Each scene sets a stage of its own, all of it journalled and gone afterwards, and runs the commands;
``--write`` puts their outputs into the pages. Needs root and two CPUs, and takes four minutes.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "_ext"))

import recorded  # noqa: E402  (found by the line above)

from nettax.canary import Canary  # noqa: E402
from nettax.host import Host  # noqa: E402
from nettax.kernel import cpus  # noqa: E402
from nettax.lab import Testbed  # noqa: E402

SENDER, VICTIM = cpus.online()[-2:]


@contextmanager
def flow(pps: int, burst: int = 1, filter_instructions: int = 0) -> Iterator[None]:
    """Packets for the victim's CPU."""
    with (
        Host() as host,
        Testbed(host, steer=VICTIM) as bed,
        bed.udp(
            pps, cpu=SENDER, burst=burst, filter_instructions=filter_instructions, limit=60
        ) as traffic,
    ):
        recorded.wait_for(traffic.sent)
        yield


def interrupted() -> Iterator[tuple[str, str]]:
    with Canary(VICTIM, "gap"), flow(300_000, burst=2):
        yield "interrupted", recorded.nettax("stat", "-d", 2, "-n", 4)
        hist = f"nettax stat -C {VICTIM} -d 1 --hist"
        pick = """awk -v RS= -v ORS='\\n\\n' '/^(hardirq|net_rx|poll) run/'"""
        words = f"{sys.executable} -m {hist} | {pick}"
        yield "hist", recorded.command(["sh", "-c", words], f"{hist} | {pick}")


def displaced() -> Iterator[tuple[str, str]]:
    with Canary(VICTIM, "gap"), flow(100_000, filter_instructions=2000):
        yield "displaced", recorded.nettax("stat", "-d", 2, "-n", 3)


def top() -> Iterator[tuple[str, str]]:
    with Canary(VICTIM, "gap"), flow(300_000, burst=2):
        yield "top-tasks", recorded.nettax("top", "--once", "--rows", 4)
        yield "top-cpus", recorded.nettax("top", "--once", "-v", "cpus")


def calibrate() -> Iterator[tuple[str, str]]:
    yield "calibrate", recorded.nettax("canary", "--calibrate")


def canary() -> Iterator[tuple[str, str]]:
    recorded.nettax("canary", "-C", VICTIM, "-d", 3, "--idle")
    with flow(50_000):
        yield "canary", recorded.nettax("canary", "-C", VICTIM, "-d", 3)


def openssl() -> Iterator[tuple[str, str]]:
    words = ("canary", "-C", VICTIM, "--engine", "openssl", "-d", 1)
    recorded.nettax(*words, "--idle")
    with flow(200_000, burst=2):
        yield "openssl", recorded.nettax(*words)


def working_set() -> Iterator[tuple[str, str]]:
    yield "working-set", recorded.nettax("canary", "--working-set", "0,256M", "--load", "-r", 8)


def watch() -> Iterator[tuple[str, str]]:
    with flow(50_000):
        yield "watch", recorded.nettax("canary", "--watch", "-C", VICTIM, "-d", 4)


def demo() -> Iterator[tuple[str, str]]:
    yield "demo", recorded.nettax("demo")


def doctor() -> Iterator[tuple[str, str]]:
    yield "doctor", recorded.nettax("doctor")


SCENES: tuple[Callable[[], Iterator[tuple[str, str]]], ...] = (
    calibrate,
    canary,
    interrupted,
    displaced,
    top,
    openssl,
    working_set,
    watch,
    demo,
    doctor,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put the outputs into the pages")
    parser.add_argument("scenes", nargs="*", metavar="SCENE", help="these only")
    options = parser.parse_args()
    scenes = [scene for scene in SCENES if scene.__name__ in options.scenes or not options.scenes]
    os.sched_setaffinity(0, set(cpus.online()) - {VICTIM})
    for scene in scenes:
        if scene is not doctor:  # which measures nothing
            recorded.wait_for_quiet()
        for name, output in scene():
            print(output, end="\n\n", flush=True)
            if options.write:
                for page in HERE.glob("*.md"):
                    recorded.write(page, {name: output})


if __name__ == "__main__":
    main()
