"""The app in textual's own harness, over intervals that are there already."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.unit.tui import VICTIM, WEB, Recorded, interval, task
from textual.geometry import Region
from textual.pilot import Pilot

from nettax.errors import NettaxError
from nettax.ledger import Interval
from nettax.tui.app import Top
from nettax.tui.model import Model
from nettax.tui.moment import Moments
from nettax.tui.paint import line_text

SIZES = [(80, 24), (120, 36), (200, 60), (20, 5)]


def run(
    script: Callable[[Top, Pilot[int]], Awaitable[None]],
    *intervals: Interval,
    size: tuple[int, int] = (80, 24),
    reader: Recorded | None = None,
    colours: bool = True,
    interval_s: float = 60.0,
) -> Top:
    """Run the app, and the script with it; the first of the intervals is there at once."""

    async def go() -> Top:
        made = reader or Recorded(*intervals)
        top = Top(Model(), Moments(), made, interval_s=interval_s, colours=colours)
        async with top.run_test(size=size) as pilot:
            await script(top, pilot)
        return top

    return asyncio.run(go())


def screen(top: Top) -> list[str]:
    """What is really on the terminal: the compositor's lines."""
    width, height = top.size
    strips = top.screen._compositor.render_strips()
    return [strip.text.rstrip() for strip in strips[:height] if strip.cell_length <= width]


@pytest.mark.parametrize("size", SIZES)
def test_the_first_frame_is_there_at_once(size: tuple[int, int]) -> None:
    async def script(top: Top, pilot: Pilot[int]) -> None:
        await pilot.pause()
        lines = screen(top)
        assert len(lines) == size[1]
        assert any(line.startswith("victim") and "49.0" in line for line in lines)
        assert any(line.startswith("res") and "0.000%" in line for line in lines)

    run(script, size=size)


def test_keys_reach_the_model_and_the_screen() -> None:
    async def script(top: Top, pilot: Pilot[int]) -> None:
        await pilot.press("down", "enter")
        assert any("task 101 of process 101" in line for line in screen(top))
        await pilot.press("escape", "slash", *"web", "enter")
        assert not any(line.startswith("victim") for line in screen(top))
        await pilot.press("question_mark")
        assert any(line.startswith("Keys") for line in screen(top))
        await pilot.press("escape", "6")
        assert any(line.lstrip().startswith("all ") for line in screen(top))
        await pilot.press("tab", "space")
        assert any("PAUSED" in line for line in screen(top))

    run(script)


def test_quitting_and_its_exit_code() -> None:
    async def script(top: Top, pilot: Pilot[int]) -> None:
        await pilot.press("q")

    assert run(script).return_value == 0


def test_resizing() -> None:
    async def script(top: Top, pilot: Pilot[int]) -> None:
        for width, height in ((200, 60), (20, 5), (1, 1), (132, 43)):
            await pilot.resize_terminal(width, height)
            await pilot.pause()
            assert len(top._canvas.frame.lines) == height
        assert any(line.endswith("  time") for line in screen(top))

    run(script)


def test_a_name_is_text_and_no_markup() -> None:
    async def script(top: Top, pilot: Pilot[int]) -> None:
        await pilot.pause()
        assert any(line.startswith("[red]漢[/] ") for line in screen(top))

    run(script, interval([task(1, "[red]漢[/]", net=10)]))


def test_only_lines_that_differ_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(top: Top, pilot: Pilot[int]) -> None:
        await pilot.pause()
        drawn: list[Region] = []
        monkeypatch.setattr(top._canvas, "refresh", lambda *regions: drawn.extend(regions))
        top.model.paused = True
        top.redraw()
        changed = {line_text(top._canvas.frame.lines[region.y]) for region in drawn}
        assert len(drawn) == 1
        assert "PAUSED" in changed.pop()

    run(script)


def test_an_error_of_the_ledger_ends_it() -> None:
    class Broken(Recorded):
        def read(self) -> Interval:
            raise NettaxError("the ledger broke")

    async def script(top: Top, pilot: Pilot[int]) -> None:
        await pilot.pause()

    top = run(script, reader=Broken())
    assert str(top.error) == "the ledger broke"
    assert top.return_value == 1


def test_new_intervals_are_shown_as_they_come() -> None:
    async def script(top: Top, pilot: Pilot[int]) -> None:
        while not any(line.startswith("late") for line in screen(top)):
            await pilot.pause(0.01)

    late = interval([task(5, "late", own=9)])
    run(script, interval([VICTIM]), interval([WEB]), late, interval_s=0.02)


def test_without_colours_nothing_has_a_colour() -> None:
    async def script(top: Top, pilot: Pilot[int]) -> None:
        await pilot.pause()
        styles = [
            segment.style
            for y in range(24)
            for segment in top._canvas.render_line(y)
            if segment.style
        ]
        assert not any(style.color or style.bgcolor for style in styles)
        assert any("nnn" in line for line in screen(top))

    run(script, colours=False)
