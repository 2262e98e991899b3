"""Frames: at any size, of anything, exactly as large as the screen; and the figures in them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.test_report import TOLL
from tests.unit.tui import CPU, TASKS, VICTIM, model, moment, task

from nettax.ledger import Events
from nettax.tui.batch import frame_text
from nettax.tui.columns import COLUMNS
from nettax.tui.frame import draw
from nettax.tui.keys import press
from nettax.tui.model import Model
from nettax.tui.moment import VIEWS
from nettax.tui.paint import cells, line_text

SIZES = [(80, 24), (100, 30), (120, 36), (200, 60), (60, 12), (20, 5), (1, 1), (80, 1), (3, 40)]
KEYS = [
    *(("", c) for c in "123456jkrgG<>/ ?hxw0"),
    *((key, None) for key in ("up", "down", "pageup", "pagedown", "home", "end")),
    *((key, None) for key in ("enter", "escape", "backspace", "tab", "shift+tab", "f1", "ctrl+u")),
]


def screen(shown: Model, width: int = 80, height: int = 24) -> list[str]:
    return [line_text(line) for line in draw(shown, width, height).lines]


def cell(lines: list[str], row: str, column: str) -> str:
    """What stands in a table in the row that begins so, under a heading flush right."""
    at = next(i for i, line in enumerate(lines) if column in line.split() and "CPUs" not in line)
    end = lines[at].index(column) + len(column)
    line = next(line for line in lines[at + 1 :] if line.split()[:1] == [row])
    return line[:end].split()[-1]


# --- any size, any state -------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(KEYS), max_size=12),
    st.integers(1, 210),
    st.integers(1, 64),
    st.booleans(),
)
def test_whatever_is_pressed_fits_the_screen(
    keys: list[tuple[str, str | None]], width: int, height: int, letters: bool
) -> None:
    odd = task(9, "漢字[red]\x1b[2J\n]", cgroup=99, exited=True, displaced=3)
    shown = model(moment(*TASKS, odd), moment(*TASKS[:3]))
    for i, (key, character) in enumerate(keys):
        press(shown, key, character)
        if i == len(keys) // 2:
            shown.feed(moment(*TASKS[i % 4 :]))
        frame = draw(shown, width, height, letters)
        assert len(frame.lines) == height
        for line in frame.lines:
            assert sum(cells(span.text) for span in line) <= width
            assert all(span.text.isprintable() for span in line)
        for y, clicks in frame.clicks.items():
            assert 0 <= y < height + 40, clicks


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("view", VIEWS)
def test_before_the_first_interval(width: int, height: int, view: str) -> None:
    assert len(draw(Model(view), width, height).lines) == height


# --- what is on it -------------------------------------------------------------------------------


def test_the_tasks_at_80_columns() -> None:
    lines = screen(model())
    head = lines[3].split()
    assert head == [
        "task",
        "pid",
        "CPU",
        "billed",
        "own",
        "taken",
        "hardirq",
        "net",
        "softirq",
        "displaced",
    ]
    assert lines[4].split() == [
        "victim",
        "101",
        "0",
        "95.0",
        "50.0",
        "49.0",
        "2.0",
        "40.0",
        "·",
        "7.0",
    ]
    assert [line.split()[0] for line in lines[4:9]] == [
        "victim",  # by what was taken, then by what was billed
        "web",
        "web-io",
        "box",
        "ksoftirqd/1",
    ]
    # Of two seconds of CPU: 2 × (200 + 20 stolen + 180 by ksoftirqd).
    assert "taken 40.0 %" in lines[1]


def test_the_toll_where_it_is_calibrated() -> None:
    lines = screen(model(moment(VICTIM, toll=TOLL)))
    assert cell(lines, "victim", "≈toll") == "1.7"  # 5000 × 3456.7 ns


def test_the_footer_is_always_there() -> None:
    events = Events(lost=3, unmatched=12_345, inferred_ns=40_000_000, unkept_ns=20_000_000)
    for view in VIEWS:
        for width, height in ((80, 24), (200, 60), (80, 5)):
            lines = screen(model(moment(events=events), view=view), width, height)
            told = next(line for line in lines if line.startswith("residual"))
            for words in (
                "+0.000%",
                "lost 3",
                "unmatched 12.3k",
                "inferred 2.0%",
                "unkept 1.0%",
                "nettax 1.2%",
            ):
                assert words in told


def test_the_footer_fits_80_columns() -> None:
    events = Events(lost=999, unmatched=99_999, inferred_ns=2 * 10**8, unkept_ns=2 * 10**8)
    assert len(screen(model(moment(events=events)))[-2]) <= 80
    assert screen(model())[-1].endswith("q quit")
    assert len(screen(model())[-1]) <= 80


def test_cpus() -> None:
    odd = replace(CPU, cpu=1, squeezed=None, residual_ns=-20_000_000, softirq_packets=0)
    shown = model(moment(cpus=(CPU, odd)), view="cpus")
    lines = screen(shown, 140)
    assert cell(lines, "0", "net") == "20.0"
    assert cell(lines, "0", "kthread") == "18.0"
    assert cell(lines, "0", "ns/packet") == "833"
    assert cell(lines, "0", "squeezed/s") == "1.23k"
    assert (cell(lines, "1", "squeezed/s"), cell(lines, "1", "residual")) == ("?", "-2.000")
    assert cell(lines, "1", "ns/packet") == "·"
    assert cell(lines, "all", "net") == "20.0"


def test_a_bar_for_each_cpu_at_any_width() -> None:
    for width in (80, 140):
        shown = model(moment(cpus=[replace(CPU, cpu=n) for n in range(4)]), view="cpus")
        lines = [line_text(line) for line in draw(shown, width, 24, letters=True).lines]
        bars = [line for line in lines[3:] if "██nnn" in line.replace("h", "")]
        assert len(bars) == 5
        assert all("kkk" in line and "·" in line for line in bars)


def test_a_cpu_that_went_offline_says_so() -> None:
    gone = replace(CPU, cpu=1, online=False)
    for width in (80, 140):
        lines = screen(model(moment(cpus=(CPU, gone)), view="cpus"), width)
        assert any(line.split()[0] == "1" and "offline" in line for line in lines if line)


def test_workloads_are_named() -> None:
    lines = screen(model(view="workloads"))
    assert any(line.split()[:2] == ["ab" * 6, "docker"] for line in lines if line)
    assert any(line.split()[:2] == ["web.service", "service"] for line in lines if line)


def test_one_task_in_full() -> None:
    shown = model(moment(), moment(task(101, "victim", own=100, billed=100)), moment())
    press(shown, "down", None)
    press(shown, "enter", None)
    lines = screen(shown, 100, 40)
    assert lines[3].startswith("victim  task 101 of process 101, last on CPU 0")
    told = {line.split()[0]: line.split()[-3:] for line in lines[6:14]}
    assert told["own"] == ["50.0", "36.7", "50.0"]
    assert told["net"] == ["40.0", "26.7", "40.0"]
    assert told["displaced"] == ["7.0", "4.7", "7.0"]
    assert any("net_rx 40.0  hardirq 2.0" in line for line in lines)
    assert any("5k interrupts/s" in line for line in lines)


def test_a_task_that_ends_while_one_looks_at_it() -> None:
    shown = model()
    press(shown, "down", None)
    press(shown, "enter", None)
    shown.feed(moment(task(101, "victim", own=1, exited=True)))
    assert "has ended" in "".join(screen(shown))
    shown.feed(moment(*TASKS[2:]))
    lines = screen(shown)
    assert "has ended" in "".join(lines)
    assert cell(lines, "own", "now") == "·"


def test_names_are_shown_as_they_are() -> None:
    """No markup, no escape sequences; wide characters keep the columns where they are."""
    plain, odd = task(1, "plain", own=500), task(2, "[b]漢\x1b[31m[/b]", own=500)
    lines = screen(model(moment(plain, odd)))
    row = next(line for line in lines if line.startswith("[b]漢?[31m"))
    other = next(line for line in lines if line.startswith("plain"))
    assert row.index(" 2 ") == other.index(" 1 ") - 1  # one character, two cells


def test_what_is_hidden_for_lack_of_room_goes_in_order() -> None:
    for height in range(1, 10):
        lines = screen(model(), 80, height)
        assert any(line.startswith("task ") for line in lines) or height < 2
        if height >= 3:
            assert any(line.startswith("victim") for line in lines)
    assert cell(screen(model(), 26, 10), "victim", "taken") == "49.0"


def test_clicks() -> None:
    shown = model()
    frame = draw(shown, 80, 24)
    heading = line_text(frame.lines[3])
    frame.click(3, heading.index("own"))
    assert shown.sorting["tasks"].column == "own"
    frame.click(4, 10)
    assert shown.cursor is not None
    frame.click(4, 10)
    assert shown.task is not None
    frame.click(0, line_text(frame.lines[0]).index("CPUs"))
    assert shown.view == "cpus"
    assert shown.task_row is None
    frame.click(22, 70)  # nothing there


# --- text frames ---------------------------------------------------------------------------------


def test_a_text_frame() -> None:
    lines = frame_text(model(), 80, 2).splitlines()
    assert "1.000 s on 2 CPUs, of which 40.0 % was taken; 5 tasks by taken" in lines[0]
    assert [line.split()[0] for line in lines[1:4]] == ["task", "victim", "web"]
    assert lines[4] == "(3 more; --rows sets how many are shown)"
    assert lines[5].startswith("residual +0.000%")
    assert len(frame_text(model(), 80, None).splitlines()) == 8
    assert all(len(line) <= 80 and line == line.rstrip() for line in lines)


def test_every_view_as_text() -> None:
    for view in VIEWS:
        text = frame_text(model(view=view), 80, None)
        assert COLUMNS[view][1 if view == "cpus" else 0].name in text.splitlines()[1]
