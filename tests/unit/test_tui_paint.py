"""Text for a terminal: every cell counted, bars that are true, names that cannot do harm."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from nettax.tui.paint import ACCOUNTS, bar, cells, fit, line_text, sparkline

names = st.one_of(
    st.text(max_size=30),
    st.text(st.sampled_from("aé漢字👩‍💻\u0301[]\\/\x1b\n\t\u202e"), max_size=20),
)


@given(names, st.integers(0, 30), st.booleans())
def test_a_name_takes_the_cells_that_it_is_given(name: str, width: int, right: bool) -> None:
    fitted = fit(name, width, right)
    assert cells(fitted) == width
    assert fitted.isprintable()


# Latin, kana, ideographs and Hangul: of what Unicode added last, tables of widths differ.
LETTERS = "".join(map(chr, (*range(33, 127), *range(0xC0, 0x100), *range(0x3042, 0x3094))))


@given(st.text(st.sampled_from(LETTERS + "漢字한글"), max_size=15))
def test_cells_are_those_that_the_screen_counts(name: str) -> None:
    assert cells(name) == cell_len(name)


def test_names_are_cut_with_a_mark_and_never_in_the_middle_of_a_character() -> None:
    assert fit("nettax-canary", 8) == "nettax-…"
    assert fit("漢字漢字", 6) == "漢字… "
    assert fit("[red]x[/]", 12) == "[red]x[/]   "
    assert fit("a\x1b[2Jb", 8) == "a?[2Jb  "
    assert fit("12", 4, right=True) == "  12"


PARTS = st.fixed_dictionaries({name: st.integers(0, 10**9) for name in ACCOUNTS})


@given(PARTS, st.integers(0, 120), st.booleans())
def test_a_bar_fills_its_cells_and_each_part_is_right_to_a_cell(
    parts: dict[str, int], width: int, letters: bool
) -> None:
    whole = sum(parts.values()) or 1
    spans = bar(parts, whole, width, letters)
    assert sum(len(span.text) for span in spans) == width
    for name, ns in parts.items():
        shown = sum(len(span.text) for span in spans if span.style == name)
        assert abs(shown - width * ns / whole) <= 1


def test_a_bar_with_letters_says_the_same_without_colours() -> None:
    parts = {"own": 50, "net": 30, "idle": 10}
    assert line_text(bar(parts, 100, 10, letters=True)) == "█████nnn·"
    assert line_text(bar(parts, 100, 10)) == "████████·"
    assert line_text(bar({}, 0, 10)) == ""


def test_more_than_the_whole_is_a_full_bar() -> None:
    assert line_text(bar({"own": 300}, 100, 10)) == "█" * 10


@given(st.lists(st.one_of(st.none(), st.floats(0, 5)), max_size=50), st.integers(0, 40))
def test_a_sparkline_has_its_width(values: list[float | None], width: int) -> None:
    assert len(sparkline(values, width, 1.0)) == width


def test_a_sparkline() -> None:
    assert sparkline([0.0, 0.125, 0.5, 1.0, 9.0, None], 8, 1.0) == "  ▁▁▄██ "
    assert sparkline([1.0, 2.0, 3.0], 2, 4.0) == "▄▆"
    assert sparkline([0.0], 1, 0.0) == "▁"
