"""Where one is on the screen: sorting, filtering, pausing, zooming; rows that come and go."""

from __future__ import annotations

from tests.unit.tui import CPU, TASKS, VICTIM, WEB, interval, model, moment, task

from nettax.ledger.groups import Group
from nettax.tui.keys import press
from nettax.tui.model import Model
from nettax.tui.moment import VIEWS


def type_in(shown: Model, text: str) -> None:
    """Keys as textual tells them: special ones by name, in `<…>`."""
    for word in text.replace("<", "\0<").replace(">", ">\0").split("\0"):
        if word.startswith("<"):
            assert press(shown, word[1:-1], None)
        else:
            for character in word:
                assert press(shown, "", character)


def names(shown: Model) -> list[str]:
    return [row.name if isinstance(row, Group) else row.comm for row in shown.rows]


def test_sorting() -> None:
    shown = model()
    assert names(shown)[:2] == ["victim", "web"]
    type_in(shown, "r")
    assert names(shown)[-1] == "victim"
    shown.sort_by("task")
    assert names(shown) == sorted(names(shown))
    shown.sort_by("task")
    assert names(shown) == sorted(names(shown), reverse=True)
    shown.sort_by("billed")
    type_in(shown, "<right>")
    assert shown.sorting["tasks"].column == "own"
    type_in(shown, "<left><left>")
    assert shown.sorting["tasks"].column == "CPU"


def test_sorting_by_what_is_not_shown() -> None:
    """A toll that was not calibrated has no column."""
    shown = model(sort="≈toll")
    type_in(shown, ">")
    assert shown.sorting["tasks"].column == "pid"


def test_each_view_has_its_own_order() -> None:
    shown = model()
    type_in(shown, "r2")
    assert not shown.sorting["processes"].reverse
    type_in(shown, "6")
    assert shown.sorting["cpus"].column == "CPU"
    assert [cpu.cpu for cpu in shown.rows] == [0, 1]
    type_in(shown, "r")
    assert [cpu.cpu for cpu in shown.rows] == [1, 0]


def test_filtering_while_one_types() -> None:
    shown = model()
    type_in(shown, "/WEB")
    assert names(shown) == ["web", "web-io"]
    type_in(shown, "-<enter>")
    assert (names(shown), shown.pattern, shown.typing) == (["web-io"], "WEB-", None)
    type_in(shown, "/x<escape>")  # as it was
    assert shown.pattern == "WEB-"
    type_in(shown, "<escape>")
    assert len(names(shown)) == 5
    type_in(shown, "/101<enter>")
    assert names(shown) == ["victim"]
    type_in(shown, "/<ctrl+u>docker-ab<enter>")  # in the cgroup
    assert names(shown) == ["box"]
    type_in(shown, "/q?2<backspace><backspace><backspace>")
    assert shown.typing == "docker-ab"  # what was there can be edited
    assert shown.view == "tasks"


def test_pausing_stops_the_screen_but_neither_reading_nor_history() -> None:
    first, second = moment(), moment(WEB)
    shown = model(first)
    type_in(shown, " ")
    shown.feed(second)
    assert shown.now is first
    assert len(shown.history.taken()) == 2
    type_in(shown, " ")
    assert shown.now is second


def test_the_cursor_stays_on_its_row() -> None:
    shown = model()
    assert shown.cursor is None
    type_in(shown, "<down><down>")
    assert shown.rows[shown.selected()] is WEB
    shown.feed(moment(*reversed(TASKS), task(9, "first", displaced=900)))
    assert shown.rows[shown.selected()].pid == WEB.pid
    assert shown.selected() == 2
    shown.feed(moment(VICTIM))  # it has gone: what is in its place, or the last
    assert shown.rows[shown.selected()] is VICTIM
    type_in(shown, "<escape>")
    assert shown.cursor is None


def test_moving() -> None:
    many = [task(1000 + n, f"t{n}", net=900 - n) for n in range(100)]
    shown = model(moment(*many))
    assert shown.in_sight(10) == 0
    type_in(shown, "<end>")
    assert (shown.selected(), shown.in_sight(10)) == (99, 90)
    type_in(shown, "<pageup>")
    assert (shown.selected(), shown.in_sight(10)) == (89, 89)
    type_in(shown, "kk")
    assert (shown.selected(), shown.in_sight(10)) == (87, 87)
    type_in(shown, "g")
    assert (shown.selected(), shown.in_sight(10)) == (0, 0)
    shown.feed(moment(*many[:3]))
    assert shown.in_sight(10) == 0


def test_an_empty_table() -> None:
    shown = model(view="machines")
    type_in(shown, "<down><enter><end><pagedown>")
    assert (shown.rows, shown.task, shown.scope) == ([], None, None)


def test_into_a_group_and_its_task_and_out_again() -> None:
    shown = model(view="workloads")
    shown.sort_by("workload")
    type_in(shown, "<end><enter>")
    assert (shown.view, names(shown)) == ("tasks", ["web", "web-io"])
    type_in(shown, "<down><enter>")
    assert shown.task == WEB.key
    type_in(shown, "<escape>")
    assert shown.task_row is None
    assert names(shown) == ["web", "web-io"]
    shown.feed(moment(VICTIM))
    assert names(shown) == []  # the group has gone
    type_in(shown, "<backspace>")
    assert shown.view == "workloads"


def test_into_a_cpu() -> None:
    shown = model(view="cpus")
    type_in(shown, "<down><down><enter>")
    assert names(shown) == ["web", "box", "ksoftirqd/1"]


def test_views_in_turn() -> None:
    shown = model()
    seen = []
    for _ in VIEWS:
        seen.append(shown.view)
        type_in(shown, "<tab>")
    assert (tuple(seen), shown.view) == (VIEWS, "tasks")
    type_in(shown, "<shift+tab>")
    assert shown.view == "cpus"


def test_help_and_out_again() -> None:
    shown = model()
    type_in(shown, "?<down><down>")
    assert (shown.help, shown.top) == (True, 2)
    type_in(shown, "<escape>")
    assert (shown.help, shown.top) == (False, 0)


def test_quitting() -> None:
    for key, character in (("q", "q"), ("ctrl+c", None), ("ctrl+d", None)):
        assert not press(model(), key, character)
    typing = model()
    type_in(typing, "/")
    assert press(typing, "q", "q")
    assert typing.typing == "q"


# --- history -------------------------------------------------------------------------------------


def test_history_keeps_what_mattered_and_what_is_watched() -> None:
    many = [task(1000 + n, own=100 + n) for n in range(150)]
    small = task(7, "small")
    shown = model(moment(*many, small))
    assert shown.history.task(many[-1].key) != [None]
    assert shown.history.task(many[0].key) == [None]
    shown.history.watched = small.key
    shown.feed(moment(*many, small))
    before, after = shown.history.task(small.key)
    assert (before, after) == (None, (0.0,) * 7)


def test_history_is_of_the_whole_host() -> None:
    shown = model()
    assert shown.history.taken() == [0.4]
    for _ in range(300):
        shown.feed(moment())
    assert len(shown.history.taken()) == 240


def test_taken_is_of_time_not_of_rows() -> None:
    """Kernel threads' time, not the sum over those who waited for them: two waited for the same."""
    two = [task(n, displaced=180) for n in (1, 2)]
    assert moment(*two, cpus=(CPU,)).taken_ns == 400_000_000
    assert interval(two).wall_ns == 1_000_000_000
