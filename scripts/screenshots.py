"""Regenerate docs/screenshots: `nettax top` on this host, under a flow of packets. Needs root.

    sudo .venv/bin/python scripts/screenshots.py [DIRECTORY]

A canary has CPU 1, and a flow of packets takes it from it, as in `nettax demo`. Frames are those
of the app itself, at the sizes given; nothing is drawn by hand.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from nettax.canary import Canary
from nettax.host import Host
from nettax.kernel import cpus
from nettax.lab import Testbed
from nettax.ledger import Ledger, Toll
from nettax.tui.app import Top
from nettax.tui.model import Model
from nettax.tui.moment import Moments
from nettax.tui.reader import Reader

WARM_UP = 40  # intervals, so that there is history to show
INTERVAL_S = 0.5
SHOTS: dict[str, tuple[tuple[int, int], Sequence[str]]] = {
    "tasks": ((80, 24), ()),
    "zoom": ((100, 32), ("enter",)),  # the canary is selected
    "cpus": ((120, 20), ("6",)),
    "processes": ((120, 30), ("2",)),
    "help": ((80, 24), ("question_mark",)),
}


def main() -> None:
    """Make the pictures."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    here, there = cpus.online()[:2]
    with (
        Host() as host,
        Testbed(host, steer=there) as bed,
        Canary(there, "gap") as canary,
        Ledger(toll=Toll.load()) as ledger,
    ):
        model, moments, reader = Model(), Moments(), Reader(ledger)
        for number in range(WARM_UP):  # theft that comes and goes
            pps = (60_000, 150_000, 300_000, 100_000)[number // 5 % 4]
            with bed.udp(pps, cpu=here, burst=4):
                time.sleep(INTERVAL_S)
                model.feed(moments.of(reader.read()))
        with bed.udp(200_000, cpu=here, burst=4):
            reader.read()
            time.sleep(INTERVAL_S)
            for name, (size, keys) in SHOTS.items():
                if name == "zoom":
                    model.cursor = next(t.key for t in model.rows if t.pid == canary.pid)
                asyncio.run(_shoot(Top(model, moments, reader, 60.0), size, keys, folder / name))
                model.go("tasks")
                model.cursor = None


async def _shoot(top: Top, size: tuple[int, int], keys: Sequence[str], path: Path) -> None:
    await asyncio.sleep(INTERVAL_S)  # an interval to show
    async with top.run_test(size=size) as pilot:
        await pilot.press(*keys)
        await pilot.pause()
        drawn = top.export_screenshot(title="nettax top")
        # Some renderers drop blanks that begin a text, unless told not to.
        drawn = drawn.replace("<svg ", '<svg xml:space="preserve" ', 1)
        path.with_suffix(".svg").write_text(drawn)


main()
