"""What is compared, which functions instructions were, and when two counts differ."""

from __future__ import annotations

import json
import math
import random
import subprocess
from pathlib import Path

import pytest

from nettax.errors import UsageError
from nettax.experiment import exact
from nettax.experiment.exact_difference import CONFIDENCE, Difference, differences, student
from nettax.experiment.exact_functions import (
    CLIENT,
    Used,
    kernel_symbols,
    module_symbols,
    of_strings,
    used,
)
from nettax.experiment.exact_setting import Setting, setting
from nettax.lab.vm import modules
from nettax.lab.vm.blocks import Block
from nettax.report import exact as report

TEXT = """\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81000010 t copy_process.constprop.0
ffffffff81000040 t copy_process.cold
ffffffff81000080 D data
"""


def test_settings(tmp_path: Path) -> None:
    words = f"mode=kthread,kernel=6.12,module={tmp_path},net/ipv4/tcp_rmem=4096 8192 9000,port=99"
    made = setting(words)
    assert made == Setting(
        "6.12", tmp_path, ("mode=kthread", "port=99"), (("net.ipv4.tcp_rmem", "4096 8192 9000"),)
    )
    assert made.port == 99
    assert setting("default") == setting("") == Setting()
    assert Setting().port == 8081


def test_the_last_word_counts() -> None:
    both = setting("mode=kthread,net.ipv4.tcp_sack=1,cork=1")
    assert setting("mode=workqueue,net.ipv4.tcp_sack=0", both) == Setting(
        parameters=("cork=1", "mode=workqueue"), sysctls=(("net.ipv4.tcp_sack", "0"),)
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kthread", "says nothing to compare"),
        ("mode=", "lacks its value"),
        ("module=/nowhere/at/all", "no directory"),
        ("port=0", "1 to 65535"),
        ("mode=kthread,protocol=http", "for each operation"),
        ("address=0.0.0.0", "leave it out"),
        ("=x", "says nothing"),
    ],
)
def test_what_is_no_setting(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        setting(text)


def test_parameters_of_a_module() -> None:
    section = b"\0license=GPL\0parmtype=mode:charp\0parm=mode:who\0parmtype=port:ushort\0depends=\0"
    assert modules.parameters_of(b"ELF" + section) == ["mode", "port"]


def test_functions_of_a_module(tmp_path: Path) -> None:
    """By their sections, as readelf has them."""
    source = tmp_path / "a.c"
    source.write_text(
        'int __attribute__((section(".text.unlikely"))) rare(void) { return 1; }\n'
        "int first(void) { return 2; }\nint data = 3;\nint second(void) { return rare(); }\n"
    )
    subprocess.run(["cc", "-c", "-O2", "a.c"], check=True, cwd=tmp_path)
    found = modules.functions_of((tmp_path / "a.o").read_bytes())
    assert {(one.section, one.name) for one in found} == {
        (".text.unlikely", "rare"),
        (".text", "first"),
        (".text", "second"),
    }
    offsets = {one.name: one.offset for one in found}
    assert offsets["rare"] == offsets["first"] == 0 < offsets["second"]


def test_functions() -> None:
    """By address; parts under one name; a call is the first instruction's; elsewhere loaded."""
    functions = [modules.Function(".text", 16, "run"), modules.Function(".init.text", 0, "gone")]
    own = module_symbols(functions, {".text": 0xFFFFFFFFD0000000 - 16})
    table = [*own, *kernel_symbols(TEXT)]
    blocks = [
        Block(0xFFFFFFFF81000010, 4, (9, 20, 0)),
        Block(0xFFFFFFFF81000018, 3, (0, 10, 0)),
        Block(0xFFFFFFFF81000044, 2, (0, 1, 0)),
        Block(0xFFFFFFFFD0000000, 5, (0, 10, 0)),
        Block(0x401000, 7, (0, 10, 0)),
        Block(0xFFFFFFFF81000000, 7, (0, 0, 10)),
    ]
    assert used(blocks, 1, table, 10) == {
        "copy_process": Used(11.2, 2.0),
        "run": Used(5.0, 1.0),
        CLIENT: Used(7.0, 0.0),
    }
    assert used(blocks, 2, table, 10) == {"_stext": Used(7.0, 1.0)}


def test_what_wipes_and_copies() -> None:
    names = ("clear_page_erms", "__memset", "memcpy_erms", "rep_movs_alternative")
    others = ("clear_page", "memchr_inv", "copy_process", "memset64", "clear_buddies")
    found = of_strings({name: Used(1, 1) for name in (*names, *others[1:])})
    assert found == len(names)


@pytest.mark.parametrize(
    ("degrees", "t"),
    [(1, 636.619), (2, 31.599), (3, 12.924), (4, 8.610), (5, 6.869), (9, 4.781), (60, 3.460)],
)
def test_student(degrees: int, t: float) -> None:
    """The printed tables' values for 99.9 % on both sides."""
    assert student(0.999, degrees) == pytest.approx(t, abs=0.001)


@pytest.mark.parametrize("together", [False, True])
def test_student_by_chance(together: bool) -> None:
    """Of comparisons of two alike, with three boots each, one in a thousand claims a difference."""
    chance = random.Random(1)
    claimed = sum(
        Difference(
            "",
            tuple(chance.gauss(1000, 3) for _ in range(3)),
            tuple(chance.gauss(1000, 3) for _ in range(3)),
            CONFIDENCE,
            0,
            together,
        ).differs
        for _ in range(20_000)
    )
    assert 8 <= claimed <= 36, "20, within 3.6 standard deviations"


def test_differences() -> None:
    """What a function takes more is named; what is noise, or too little, is not."""
    a = [{"same": Used(990 + i, 1), "tick": Used(90 * i, 0), "new": Used(20, 1)} for i in range(3)]
    b = [{"same": Used(991 - i, 1), "tick": Used(80 * i, 0), "less": Used(1, 1)} for i in range(3)]
    totals = [1010.0, 1011.0, 1012.0], [1000.0, 1000.0, 1001.0]
    total, found = differences(totals, (a, b), count=500, together=False)
    assert total.differs
    assert total.difference == pytest.approx(10.667, abs=0.001)
    assert 0 < total.low < total.difference < total.high
    assert [(one.name, one.difference, one.ratio) for one in found] == [("new", 20, math.inf)]


@pytest.mark.parametrize("guests", [3, 4])
def test_order_is_taken_out(guests: int) -> None:
    """Who comes first takes 5 more, each time: that is no difference, nor a lack of certainty."""
    first = [n % 2 == 0 for n in range(guests)]
    a = tuple(1000.0 + 5 * it for it in first)
    b = tuple(990.0 + 5 * (not it) for it in first)
    one = Difference("", a, b, CONFIDENCE, 2.0, together=True)
    assert one.difference == pytest.approx(10)
    assert one.margin == pytest.approx(0, abs=1e-6)
    assert (one.mean_a, one.mean_b) == pytest.approx((1002.5, 992.5))
    assert Difference("", a, b, CONFIDENCE, 2.0, together=False).margin > 10


def test_no_difference_below_one_operation() -> None:
    one = Difference("", (1000.0,) * 3, (1001.9,) * 3, CONFIDENCE, 2.0, False)
    assert not one.differs
    assert Difference("", (1000.0,) * 3, (1002.1,) * 3, CONFIDENCE, 2.0, False).differs


def test_the_text_and_the_document() -> None:
    """Both say the same of what differs, and what could have been missed where nothing does."""
    boots = tuple(
        exact.Counted(
            {"connection": 3000.0 + n, "request": 500.0},
            {
                "connection": {"fork": Used(1000.0, 1), "memset_erms": Used(2000.0, 9)},
                "request": {"other": Used(500.0, 2)},
            },
        )
        for n in range(3)
    )
    others = tuple(
        exact.Counted(
            {**one.instructions, "connection": 2000.0}, {**one.functions, "connection": {}}
        )
        for one in boots
    )
    a = exact.Guests(setting("mode=kthread"), "6.1.0-56-amd64", boots)
    b = exact.Guests(setting("net.ipv4.tcp_sack=0"), "6.1.0-56-amd64", others)
    found = [
        exact._compared(name, 500, boots, others, together=False)
        for name in ("connection", "request")
    ]
    text = report.text(a, b, found)
    assert "A  Linux 6.1.0-56-amd64  mode=kthread\n" in text
    assert "B  Linux 6.1.0-56-amd64  net.ipv4.tcp_sack=0\n" in text
    assert "A 50.05% ±0.25% above B" in text
    assert "no difference above 0.20%" in text
    assert "an instruction a byte: A 2,000, B 0" in text
    document = report.document(a, b, 500, found)
    connection, request = document["operations"]
    assert connection["instructions"]["differs"] and not request["instructions"]["differs"]
    assert [each["function"] for each in connection["functions"]] == ["memset_erms", "fork"]
    assert connection["functions"][0]["calls_a"] == 9
    json.dumps(document, allow_nan=False)
