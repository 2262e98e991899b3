"""The live terminal: textual draws the frames, passes on the keys, and tells when to read.

One widget is the whole screen. Of a new frame, only the lines that differ are drawn again.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import time
from typing import ClassVar, Final, cast

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.app import App, ComposeResult
from textual.drivers.linux_driver import LinuxDriver
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from nettax.errors import NettaxError
from nettax.tui.colours import COLOURS, PLAIN
from nettax.tui.frame import Frame, draw
from nettax.tui.keys import press
from nettax.tui.model import Model
from nettax.tui.moment import Moments
from nettax.tui.paint import Line
from nettax.tui.reader import Reader

__all__ = ["Top"]

FIRST_S: Final = 0.1  # the first interval: as long as it takes to see something
REAP_S: Final = 1.0
WHEEL: Final = 3  # rows


class Canvas(Widget):
    """The lines of a frame."""

    can_focus = True

    def __init__(self, colours: bool) -> None:
        super().__init__(id="top")
        self._colours = colours
        self._styles: dict[str, Style] = {}
        self.frame = Frame()

    def show(self, frame: Frame) -> None:
        """Draw what differs from the last frame."""
        old, self.frame = self.frame, frame
        width, (new, before) = self.size.width, (frame.lines, old.lines)
        changed = [y for y, line in enumerate(new) if y >= len(before) or before[y] != line]
        if changed:
            self.refresh(*(Region(0, y, width, 1) for y in changed))

    def render_line(self, y: int) -> Strip:
        """One line, in the terminal's own colours."""
        lines = self.frame.lines
        line: Line = lines[y] if y < len(lines) else ()
        segments = [Segment(span.text, self._style(span.style)) for span in line]
        return Strip(segments).adjust_cell_length(self.size.width, self._style(""))

    def on_key(self, event: events.Key) -> None:
        """Every key is ours: none moves the focus, none opens textual's own menus."""
        event.stop()
        event.prevent_default()
        self._top.press(event)

    def on_resize(self) -> None:
        self.frame = Frame()  # all of it is to be drawn
        self._top.redraw()

    def on_click(self, event: events.Click) -> None:
        self.frame.click(event.y, event.x)
        self._top.redraw()

    def on_mouse_scroll_down(self) -> None:
        self._top.model.scroll(WHEEL)
        self._top.redraw()

    def on_mouse_scroll_up(self) -> None:
        self._top.model.scroll(-WHEEL)
        self._top.redraw()

    @property
    def _top(self) -> Top:
        return cast(Top, self.app)

    def _style(self, names: str) -> Style:
        style = self._styles.get(names)
        if style is None:
            table = COLOURS if self._colours else PLAIN
            parts = (table.get(name, "") for name in names.split())
            style = self._styles[names] = Style.combine([Style.null(), *map(Style.parse, parts)])
        return style


class Terminal(LinuxDriver):
    """Textual's driver, on standard output, and told of the mouse's buttons but not its moves."""

    def __init__(
        self,
        app: App[None],
        *,
        debug: bool = False,
        mouse: bool = True,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._file = sys.__stdout__  # standard error may be a file, for messages

    def _enable_mouse_support(self) -> None:
        if self._mouse:
            self.write("\x1b[?1000h\x1b[?1006h")  # buttons and the wheel, in SGR's encoding


class Top(App[int]):
    """`nettax top`; its result is the exit code."""

    CSS = "Screen { overflow: hidden; } #top { width: 100%; height: 100%; }"
    ENABLE_COMMAND_PALETTE = False
    ALLOW_SELECT = False
    BINDINGS: ClassVar = []

    def __init__(
        self,
        model: Model,
        moments: Moments,
        reader: Reader,
        interval_s: float,
        duration_s: float | None = None,
        colours: bool = True,
    ) -> None:
        """`duration_s`: end after so long; never, if None."""
        super().__init__(driver_class=Terminal, ansi_color=True)
        self.animation_level = "none"
        self.model = model
        self.error: Exception | None = None
        """What ended it, if something went wrong."""
        self._moments = moments
        self._reader = reader
        self._interval_s = interval_s
        self._duration_s = duration_s
        self._colours = colours
        self._due = 0.0

    def compose(self) -> ComposeResult:
        """One widget."""
        self._canvas = Canvas(self._colours)
        yield self._canvas

    def on_mount(self) -> None:
        """Begin: with an interval at once, if the ledger has counted for long enough."""
        self._canvas.focus()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self.exit, 128 + number)
        if self._duration_s:
            self.set_timer(self._duration_s, self.exit)
        if self._interval_s > REAP_S:
            self.set_interval(REAP_S, self._reap)
        age_s = (time.monotonic_ns() - self._reader.last_ns) / 1e9
        self._due = time.monotonic() + max(FIRST_S - age_s, 0.0)
        if age_s >= FIRST_S:
            self._read()
        else:
            self.set_timer(FIRST_S - age_s, self._read)
        gc.freeze()  # what is here now stays: no need to look at it again and again

    def _read(self) -> None:
        """Read the ledger, show it, and do so again when it is time."""
        try:
            interval = self._reader.read()
        except (NettaxError, OSError) as error:
            self._fail(error)
            return
        self.model.feed(self._moments.of(interval))
        self.redraw()
        now = time.monotonic()
        while self._due <= now:  # after a suspension, the next whole step
            self._due += self._interval_s
        self.set_timer(self._due - now, self._read)

    def _reap(self) -> None:
        try:
            self._reader.reap()
        except (NettaxError, OSError) as error:
            self._fail(error)

    def _handle_exception(self, error: Exception) -> None:
        """Textual's own way with a bug is to render it for seconds; this is a plain traceback."""
        if self.is_headless:  # a test
            super()._handle_exception(error)
        else:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.error = error
        self.exit(1)

    def redraw(self) -> None:
        """Bring the screen up to date with the model."""
        width, height = self._canvas.size
        if width and height:
            self._canvas.show(draw(self.model, width, height, letters=not self._colours))

    def press(self, event: events.Key) -> None:
        """A key: most are for the model."""
        if event.key == "ctrl+z":
            self.action_suspend_process()
        elif event.key == "ctrl+l":
            self.refresh()
        elif press(self.model, event.key, event.character):
            self.redraw()
        else:
            self.exit(0)
