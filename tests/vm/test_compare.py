"""`nettax lab vm compare`: costs, a difference that was planted, and none where there is none."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nettax.errors import NettaxError, UsageError
from nettax.experiment import exact
from nettax.experiment.exact_setting import Setting, setting

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]
SOURCE = Path(__file__).parents[2] / "kmod"
RUN = "static void run(struct connection *conn)\n{\n"
PLANTED = """\
static noinline void planted_delay(void)
{
	unsigned int i;

	for (i = 0; i < TURNS; i++)
		asm volatile("" ::: "memory");
}

"""


TURNS = 750


def planted(where: Path) -> Path:
    """The server, with a loop in each connection: 1 % of what one takes."""
    shutil.copytree(SOURCE, where)
    path = where / "connection.c"
    text = path.read_text()
    assert text.count(RUN) == 1
    code = PLANTED.replace("TURNS", str(TURNS))
    path.write_text(text.replace(RUN, code + RUN + "\tplanted_delay();\n"))
    return where


def test_what_each_mode_costs(series: str) -> None:
    """A thread for each connection is dearer to begin with, and no dearer to talk to."""
    one, other, found = exact.compare(
        setting("mode=kthread", Setting(series)), setting("mode=workqueue", Setting(series))
    )
    for each in found:
        print(one.release, each.operation, each.total, each.closure)
        assert each.total.spread < 0.005
        assert each.closure < 0.01
    connection, talk, request = found
    assert connection.total.differs
    assert connection.total.ratio > 1.3
    assert talk.total.ratio == pytest.approx(1, abs=0.05)
    assert request.total.ratio == pytest.approx(1, abs=0.05)
    named = {each.name: each for each in connection.functions}
    assert named["copy_process"].difference > 0
    assert connection.calls["copy_process"] == pytest.approx((1, 0), abs=0.01)
    assert other.release == one.release


def test_a_planted_percent_is_named(tmp_path: Path) -> None:
    """One path is 1 % slower: it is seen, and named; its figure is that of the code."""
    base = Setting(parameters=("mode=workqueue",))
    module = planted(tmp_path / "planted")
    _, _, (found,) = exact.compare(
        setting(f"module={module}", base), base, operations=["connection"]
    )
    print(found.total, found.functions[:5])
    (named, *others) = found.functions
    assert named.name == "planted_delay"
    assert named.difference == pytest.approx(2 * TURNS + 3, abs=2), "sub, jne; call, mov, jmp"
    assert others == []
    assert found.calls["planted_delay"] == pytest.approx((1, 0), abs=0.01)
    assert found.total.differs
    assert found.total.ratio == pytest.approx(1.01, abs=0.003)


def test_two_alike() -> None:
    """No difference is claimed of any operation, and no function is named."""
    both = setting("mode=workqueue")
    for each in exact.compare(both, both)[2]:
        print(each.operation, each.total)
        assert not each.total.differs
        assert each.functions == ()


def test_smoke() -> None:
    """`make lab-smoke`: the whole way, in two guests, to a known answer."""
    command = ("nettax", "lab", "vm", "compare", "--smoke", "--json")
    program = str(Path(sys.executable).with_name(command[0]))
    done = subprocess.run(
        [program, *command[1:], "mode=kthread", "mode=workqueue"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["operations"]
    assert found["instructions"]["differs"]
    assert found["instructions"]["ratio"] > 1.3
    calls = {each["function"]: each["calls_a"] for each in found["functions"]}
    assert calls["copy_process"] == pytest.approx(1, abs=0.05)


def test_sysctls_and_refusals() -> None:
    with pytest.raises(UsageError, match="no parameter modes"):
        exact.compare(setting("modes=kthread"), setting("default"))
    with pytest.raises(NettaxError, match=r"no sysctl net\.ipv4\.tcp_sock"):
        exact.compare(setting("net.ipv4.tcp_sock=0"), setting("default"), count=50)
    with pytest.raises(NettaxError, match="mode=thread is none of kthread"):
        exact.compare(setting("mode=thread"), setting("default"), count=50)
