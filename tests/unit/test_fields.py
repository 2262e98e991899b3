"""Whatever a table prints has a meaning, and the README gives the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.unit.test_report import INTERVAL

from nettax.report.fields import TABLES, VERB_TABLES
from nettax.report.interval import text

ROOT = Path(__file__).parents[2]


def _names(table: str) -> list[str]:
    return [field.name for field in TABLES[table].fields]


def _heads() -> dict[str, list[str]]:
    """The header of each table that stat prints, by its first column and its last."""
    blocks = [
        block.splitlines()[0].split() for block in text(INTERVAL, INTERVAL.tasks, 9).split("\n\n")
    ]
    return {f"{head[0]} {head[-1]}": head for head in blocks}


@pytest.mark.parametrize(
    ("head", "table"),
    [("task ≈toll", "tasks"), ("CPU steal", "cpus"), ("CPU squeezed/s", "work")],
)
def test_every_column_of_stat_has_its_meaning(head: str, table: str) -> None:
    assert _heads()[head] == _names(table)


def test_every_figure_of_the_footer_has_its_meaning() -> None:
    footer = text(INTERVAL, INTERVAL.tasks, 9).split("\n\n")[-1]
    first, *others = footer.splitlines()
    told = [part.split()[0] for part in first.split(" · ")]
    told += [line.split(":")[0] for line in others if ":" in line.split(" of CPU")[0]]
    assert told == _names("doubt")


def test_readme_says_the_same() -> None:
    """Its table is a choice of these, with several names in a row where they go together."""
    rows = re.findall(r"^\| ([^|`]+) \| ([^|]+) \|$", (ROOT / "README.md").read_text(), re.M)
    known = {
        f.name: {g.meaning for t in TABLES.values() for g in t.fields if g.name == f.name}
        for t in TABLES.values()
        for f in t.fields
    }
    rows = [
        (names.split(", "), meaning.replace("`", ""))
        for names, meaning in rows
        if names != "column"
    ]
    assert len(rows) >= 8
    for names, meaning in rows:
        assert set(names) <= set(known)
        if len(names) == 1:
            assert meaning.removeprefix("of a CPU: ") in known[names[0]]


def test_names_are_told_once() -> None:
    for name, table in TABLES.items():
        names = _names(name)
        assert len(set(names)) == len(names)
        assert all(field.meaning and "\n" not in field.meaning for field in table.fields)


def test_verbs_name_tables_that_exist() -> None:
    assert {name for names in VERB_TABLES.values() for name in names} == set(TABLES)
