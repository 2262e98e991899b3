"""The journal's format, which must survive being cut off anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettax.errors import NettaxError
from nettax.host import Host, journal, recover
from nettax.host.changes import Cgroup, Change, Child, FileValue, Link, Namespace
from nettax.host.journal import decode, encode

TEXT = st.text(st.characters(codec="utf-8"))
CHANGES: st.SearchStrategy[Change] = st.one_of(
    st.builds(Namespace, TEXT),
    st.builds(Link, TEXT, st.none() | TEXT),
    st.builds(FileValue, TEXT, TEXT, st.none() | TEXT),
    st.builds(Cgroup, TEXT),
    st.builds(Child, st.integers(1), st.integers(0)),
)
RECORDS = st.lists(st.tuples(st.integers(0, 9), st.none() | CHANGES))


def pending(records: list[tuple[int, Change | None]]) -> dict[int, Change]:
    """What a journal with these records leaves to be undone."""
    last = dict(records)
    return {number: change for number, change in last.items() if change is not None}


@given(RECORDS)
def test_what_is_written_is_read(records: list[tuple[int, Change | None]]) -> None:
    text = b"".join(encode(number, change) for number, change in records)
    assert decode(text).pending == pending(records)
    assert not decode(text).senseless


@given(RECORDS, st.data())
def test_a_journal_cut_off_anywhere_tells_of_a_prefix(
    records: list[tuple[int, Change | None]], data: st.DataObject
) -> None:
    lines = [encode(number, change) for number, change in records]
    cut = data.draw(st.integers(0, sum(map(len, lines))))
    whole, length = 0, 0
    while whole < len(lines) and length + len(lines[whole]) <= cut:
        length += len(lines[whole])
        whole += 1
    contents = decode(b"".join(lines)[:cut])
    assert contents.pending == pending(records[:whole])
    assert not contents.senseless


@given(CHANGES, CHANGES, st.data())
def test_a_line_that_was_cut_off_does_not_spoil_the_next(
    first: Change, second: Change, data: st.DataObject
) -> None:
    line = encode(0, first)
    cut = data.draw(st.integers(0, len(line) - 2))
    assert decode(line[:cut] + encode(1, second)).pending == {1: second}


@given(st.binary())
def test_any_bytes_are_read(text: bytes) -> None:
    decode(text)


def test_a_whole_line_that_makes_no_sense_is_reported() -> None:
    line = b'{"n": 1, "kind": "Teapot", "short": true}'
    assert decode(line + b"\n").senseless == (line.decode(),)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A journal directory of the test's own."""
    directory = tmp_path / "journal"
    directory.mkdir()
    monkeypatch.setattr(journal, "directory", lambda: directory)
    return directory


@pytest.fixture
def value(tmp_path: Path) -> Path:
    """Something like a file of the kernel's."""
    path = tmp_path / "value"
    path.write_text("old\n")
    return path


def leave(home: Path, *changes: Change, boot: str | None = None) -> Path:
    """Leave a journal as an owner would that died: no process has started at boot plus 1 ns."""
    path = home / "1-1-0.jsonl"
    text = f'{{"boot": "{boot or journal.boot_id()}"}}\n'.encode()
    path.write_bytes(text + b"".join(encode(*item) for item in enumerate(changes)))
    return path


def test_nothing_is_left_when_all_is_undone(home: Path, value: Path) -> None:
    with Host() as host:
        host.write(value, "new\n")
        assert value.read_text() == "new\n"
        assert list(home.iterdir())
    assert value.read_text() == "old\n"
    assert not list(home.iterdir())


def test_changes_are_undone_latest_first(home: Path, value: Path) -> None:
    with Host() as host:
        for new in ("a", "b", "old\n", "c"):
            host.write(value, new)
    assert value.read_text() == "old\n"


def test_an_inner_block_undoes_its_own(home: Path, value: Path) -> None:
    with Host() as host:
        host.write(value, "outer")
        with host.temporarily():
            host.write(value, "inner")
        assert value.read_text() == "outer"
    assert value.read_text() == "old\n"


def test_a_child_that_ended_by_itself_can_be_stopped(home: Path, value: Path) -> None:
    with Host() as host:
        child = host.spawn(["true"])
        child.wait()
        with host.temporarily():
            host.write(value, "inner")
        host.stop(child)


def test_an_exception_undoes_too(home: Path, value: Path) -> None:
    with pytest.raises(ZeroDivisionError), Host() as host:
        host.write(value, "new")
        raise ZeroDivisionError
    assert value.read_text() == "old\n"


def test_a_file_that_somebody_changed_is_left_alone(home: Path, value: Path) -> None:
    with pytest.raises(NettaxError, match="left at 'theirs'"), Host() as host:
        host.write(value, "new")
        value.write_text("theirs")
    assert value.read_text() == "theirs"
    assert not list(home.iterdir())


def test_an_exception_on_its_way_takes_the_problems_along(home: Path, value: Path) -> None:
    with pytest.raises(ZeroDivisionError) as raised, Host() as host:
        host.write(value, "new")
        value.write_text("theirs")
        raise ZeroDivisionError
    assert "left at 'theirs'" in raised.value.__notes__[0]


def test_two_owners_cannot_change_one_file(home: Path, value: Path) -> None:
    with Host() as host:
        leave(home, FileValue(str(value), "older\n"))
        with pytest.raises(NettaxError, match="another nettax"):
            host.write(value, "new")


def test_a_dead_owners_change_is_undone(home: Path, value: Path) -> None:
    leave(home, FileValue(str(value), "older\n", "old\n"))
    assert len(recover().changes) == 1
    assert value.read_text() == "older\n"
    assert not list(home.iterdir())


def test_a_write_cut_short_is_undone_whatever_the_file_holds(home: Path, value: Path) -> None:
    value.write_text("")
    leave(home, FileValue(str(value), "older\n"))
    recover()
    assert value.read_text() == "older\n"


def test_what_cannot_be_undone_stays_for_the_next_time(home: Path, value: Path) -> None:
    obstacle = value.with_name("obstacle")
    obstacle.mkdir()
    path = leave(home, FileValue(str(obstacle), "older\n"), FileValue(str(value), "older\n"))
    undone = recover()
    assert len(undone.changes) == len(undone.problems) == 1
    assert value.read_text() == "older\n"
    assert path.exists()
    obstacle.rmdir()
    assert not recover().problems
    assert not path.exists()


def test_a_journal_of_an_earlier_boot_is_dropped(home: Path, value: Path) -> None:
    path = leave(home, FileValue(str(value), "older\n"), boot="another")
    assert recover() == ((), ())
    assert value.read_text() == "old\n"
    assert not path.exists()


def test_other_files_are_no_journals(home: Path) -> None:
    stray = home / "notes-1-2-3.txt"
    stray.touch()
    assert recover() == ((), ())
    assert stray.exists()
