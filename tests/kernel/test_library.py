"""docs/library.md, executed: each section is a program, and its results are checked here."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nettax.kernel import cpus

pytestmark = pytest.mark.needs_root

PAGE = Path(__file__).parents[2] / "docs/library.md"
SECTION = re.compile(r"^## (?P<title>.+?)\n(?P<body>.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)

Names = dict[str, Any]


def one_second(names: Names) -> None:
    assert names["interval"].wall_ns == pytest.approx(1e9, rel=0.3)
    assert len(names["interval"].cpus) == len(cpus.online())


def intervals(names: Names) -> None:
    assert len(names["intervals"]) == 3
    for earlier, later in zip(names["intervals"], names["intervals"][1:], strict=False):
        assert later.start_ns == earlier.start_ns + earlier.wall_ns


def my_program(names: Names) -> None:
    mine, wall = names["mine"], names["interval"].wall_ns
    assert 0 < mine.own_ns <= mine.oncpu_ns <= wall * 1.01
    assert mine.oncpu_ns == pytest.approx(mine.own_ns + sum(mine.stolen_ns.values()), abs=300e3)
    assert sum(mine.displaced_ns.values()) <= mine.wait_ns + 1000


def many_tasks(names: Names) -> None:
    whole = sum(task.charges.taken_ns for task in names["interval"].charges)
    assert sum(total.taken_ns for total in names["totals"].values()) == whole
    rows = {task.pid: task.taken_ns for task in names["interval"].tasks}
    assert rows == {task.pid: task.charges.taken_ns for task in names["interval"].charges}


def cgroups(names: Names) -> None:
    assert sum(charges.own_ns for charges in names["interval"].cgroups.values()) > 0
    assert any(path and path.startswith("/") for path in names["paths"].values())
    assert not names["interval"].tasks


def belief(names: Names) -> None:
    assert names["events"].lost == 0
    assert names["cost"].bpf_runs > 0
    assert 20 < names["cost"].bpf_ns / names["cost"].bpf_runs < 100e3


def run_times(names: Names) -> None:
    assert sum(names["slots"]) > 0


def witness(names: Names) -> None:
    assert names["lost"].value < 1
    assert names["task"].kept_off_ns <= 1.01 * names["interval"].cpus[0].wall_ns


def experiment(names: Names) -> None:
    task, cpu = names["task"], names["cpu"]
    assert task.stolen_ns["net_rx"] > 0.02 * cpu.wall_ns
    assert task.own_ns < task.billed_ns
    assert cpu.softirq_packets > 1000


def impossible(names: Names) -> None:
    assert names["caught"].exit_code == 2
    assert "4096" in str(names["caught"])


CHECKS: dict[str, Callable[[Names], None]] = {
    "The bill of one second": one_second,
    "Interval after interval": intervals,
    "One program of yours": my_program,
    "Many tasks": many_tasks,
    "Containers and services": cgroups,
    "Whether to believe it": belief,
    "How long they run": run_times,
    "A witness of your own": witness,
    "An experiment": experiment,
    "When it cannot be done": impossible,
}


def programs() -> dict[str, str]:
    """The code of each section that has some, its blocks one after the other."""
    sections = ((found["title"], found["body"]) for found in SECTION.finditer(PAGE.read_text()))
    code = {title: "\n".join(BLOCK.findall(body)) for title, body in sections}
    return {title: source for title, source in code.items() if source}


def test_every_section_is_checked() -> None:
    assert programs().keys() == CHECKS.keys()


@pytest.mark.parametrize("title", CHECKS)
def test_example(title: str, capsys: pytest.CaptureFixture[str]) -> None:
    if title == "An experiment" and not {0, 1} <= set(cpus.online()):
        pytest.skip("takes CPUs 0 and 1")
    names: Names = {"__name__": "example"}
    exec(compile(programs()[title], f"docs/library.md: {title}", "exec"), names)  # noqa: S102
    CHECKS[title](names)
    assert capsys.readouterr().out
