"""Experiments by name: their arithmetic on known answers, and how they are told."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from click.testing import CliRunner

from nettax.cli.run import command
from nettax.errors import MissingFeature, NettaxError, UsageError
from nettax.experiment.estimate import median
from nettax.experiment.load_kmod import found_in_kernel, functions, parts
from nettax.experiment.runs import EXPERIMENTS, Bars, Outcome, Table, run
from nettax.experiment.runs.bound_vs_unbound import _late, jain
from nettax.experiment.runs.echo_burst import _quantile
from nettax.experiment.runs.in_guest_fairness import items
from nettax.kernel.kallsyms import Kallsyms, Symbol
from nettax.ledger import Charges, Interval
from nettax.ledger.charges import LENGTH
from nettax.report.run import document, text

# As Linux 6.1 and 6.12 print them.
TRACE = Path(__file__).parents[1] / "fixtures/functions/workqueue.txt"


def test_items_of_a_trace() -> None:
    """Each begun once, where and after how long; an address that comes again is another item."""
    first, second, third = items(TRACE.read_text())
    assert (first["delay_ns"], first["queued_on"], first["began_on"]) == (50_000, 1, 1)
    assert first["worker"] == "kworker/1:2"
    assert (second["delay_ns"], second["queued_on"], second["began_on"]) == (50_000_000, 0, 1)
    assert third["delay_ns"] is None
    assert "began_on" not in third


def test_fairness() -> None:
    assert jain([5, 5, 5, 5]) == 1
    assert jain([9, 0, 0, 0]) == pytest.approx(0.25)
    assert jain([0, 0]) == 0


def test_late_ones() -> None:
    """The busy ones come first, and do not count."""
    waits = [10, 20, 30, 40, 3_000_000, None, 1_000_000, 9_000_000]
    items = [{"delay_ns": ns, "waited_ns": ns or 20_000_000} for ns in waits]
    assert _late({"items": items}) == (3.0, 20.0, 1)


def test_instructions() -> None:
    assert [_quantile([100, 200, 300], share) for share in (0, 0.5, 1)] == [50, 100, 150]
    assert _quantile([], 0.5) == 0


def test_catalogue() -> None:
    """Each name has its module; another has a message."""
    for name in EXPERIMENTS:
        assert callable(import_module(f"nettax.experiment.runs.{name.replace('-', '_')}").run)
    with pytest.raises(UsageError, match="thread-vs-pool"):
        run("pool-vs-thread")


def test_a_modules_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was charged to addresses inside, by name; cgroups and others' functions are left out."""
    symbols = [
        Symbol("alien", "t", "other", 0x1000),
        Symbol("begin", "t", "mine", 0x2000),
        Symbol("data", "d", "mine", 0x9000),
        Symbol("last", "t", "mine", 0x3000),
    ]
    monkeypatch.setattr(Kallsyms, "read", lambda: Kallsyms(symbols))
    inside = functions("mine")
    assert (inside.start, inside.stop) == (0x2000, 0x3001)
    one, other = Charges((7,) * LENGTH), Charges((9,) * LENGTH)
    interval = SimpleNamespace(cgroups={1: other, 0x3000: one, 0x1000: other, 0x2000: other})
    assert parts(cast(Interval, interval), inside) == {"begin": other, "last": one}
    with pytest.raises(NettaxError, match="no addresses of absent"):
        functions("absent")


OUTCOME = Outcome(
    tables=(
        Table(
            "what it took",
            ("who", "n", "each", "rate"),
            (
                ("a", 1234567, 0.51234, median([1.0, 2.0, 3.0])),
                ("b", None, 12345.6, median([4.0])),
            ),
        ),
    ),
    plots=(Bars("each", (("a", 1.0), ("bb", 2.0), ("c", 0.0))),),
    meaning="It means much. " * 20,
    untold="More than that.",
    raw={"all": [1]},
)


def test_text() -> None:
    said = text("echo-burst", OUTCOME)
    assert max(map(len, said.splitlines())) <= 80
    assert "a    1,234,567  0.512  2 [1, 3]" in said
    assert "b            ·  12.3k         4" in said
    assert f"a   1  {'█' * 20}\nbb  2  {'█' * 40}\nc   0\n" in said
    assert said.endswith("Not told: More than that.")


def test_document() -> None:
    told = json.loads(json.dumps(document("echo-burst", OUTCOME, smoke=True)))
    assert told["schema"] == "nettax.run/1"
    assert told["smoke"] is True
    assert told["tables"][0]["rows"][0][:3] == ["a", 1234567, 0.51234]
    assert told["tables"][0]["rows"][0][3]["median"] == 2
    assert told["raw"] == {"all": [1]}


def test_command() -> None:
    listed = CliRunner().invoke(command, ["--list"])
    assert listed.exit_code == 0
    assert all(name in listed.stdout for name in EXPERIMENTS)
    for words in ([], ["--list", "echo-burst"]):
        assert isinstance(CliRunner().invoke(command, words).exception, UsageError)
    assert CliRunner().invoke(command, ["nothing"]).exit_code == 2


@pytest.mark.skipif(Path("/sys/module/nettax_server").exists(), reason="it is loaded")
def test_no_server_in_this_kernel() -> None:
    """Where it is not loaded, or cannot be, what to do is told."""
    with pytest.raises((MissingFeature, UsageError), match="nettax lab vm run --module"):
        found_in_kernel("http", 8081)
    with pytest.raises(UsageError, match="http or echo"):
        found_in_kernel("stream", 8081)
