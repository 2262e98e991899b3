"""What a symbol is, by made-up headers and a made-up kernel in which every kind occurs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nettax.errors import UsageError
from nettax.functions.explain import Explanation, Kernel, explain
from nettax.functions.headers import Headers
from nettax.kernel.kallsyms import Kallsyms

KALLSYMS = """\
ffffffff81000010 T make_thing
ffffffff81000020 T wake_thing
ffffffff81000030 t quick_copy
ffffffff81000040 T forbidden
ffffffff81000050 D a_number
ffffffff81000060 t renamed.isra.0
ffffffff81000070 t twice
ffffffff81000080 t twice
ffffffff81000090 T quiet
ffffffffc0000010 t in_loaded\t[loaded]
"""
THINGS_H = """\
#ifndef _THINGS_H
#define _THINGS_H
/* make_thing(not, this) */
#define run_thing(fn, ...) \\
\t({ struct thing *t = start_thing(fn, ## __VA_ARGS__); \\
\t   wake_thing(t); t; })
#ifdef CONFIG_QUICK
static inline struct thing *
start_thing(int (*fn)(void))
{
\tif (WARN_ON(!fn))
\t\treturn NULL;
\treturn make_thing(fn, "x(y)");
}
#else
static inline struct thing *start_thing(int (*fn)(void)) { return slow_thing(fn); }
#endif
#if IS_ENABLED(CONFIG_QUICK) && !defined(CONFIG_ODD)
#define choose(x) make_thing(x)
#else
#define choose(x) wake_thing(x)
#endif
static __always_inline __alloc_size(1) void *quick_copy(void) { return make_thing(0); }
#define alias run_thing
extern int elsewhere(int x);
#endif
"""
SOURCE_C = """\
static noinline int swallowed(int x)
{
\treturn x + 1;
}

int wake_thing(int x)
{
\treturn swallowed(x);
}
"""


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    generated = tmp_path / "headers/include/generated"
    generated.mkdir(parents=True)
    (generated / "autoconf.h").write_text("#define CONFIG_QUICK 1\n")
    (tmp_path / "headers/include/things.h").write_text(THINGS_H)
    (tmp_path / "module").mkdir()
    (tmp_path / "module/source.c").write_text(SOURCE_C)
    none: frozenset[str] = frozenset({""})
    known = ("make_thing", "wake_thing", "renamed.isra.0", "twice", "in_loaded")
    return Kernel(
        Kallsyms.parse(KALLSYMS),
        {name: frozenset({"loaded"}) if name == "in_loaded" else none for name in known},
        frozenset({"forbidden"}),
        Headers([tmp_path / "headers", tmp_path / "module"]),
        frozenset({"loaded"}),
        lambda name: [("asleep", True)] if name == "in_asleep" else [],
    )


@pytest.mark.parametrize(
    ("symbol", "kind"),
    [
        ("make_thing", "function"),
        ("in_loaded", "function"),
        ("twice", "function"),
        ("run_thing", "macro"),
        ("alias", "macro"),
        ("choose", "macro"),
        ("start_thing", "static inline"),
        ("quick_copy", "static inline"),
        ("renamed", "renamed"),
        ("forbidden", "blacklisted"),
        ("quiet", "notrace"),
        ("a_number", "data"),
        ("in_asleep", "module"),
        ("elsewhere", "absent"),
        ("swallowed", "inlined"),
        ("nothing", "unknown"),
    ],
)
def test_kinds(symbol: str, kind: str, kernel: Kernel) -> None:
    found = explain(symbol, kernel)
    assert found.kind == kind
    assert bool(found.kprobe) == (kind == "function")
    assert found.evidence


def ways(found: Explanation) -> list[list[str]]:
    return [[step.name for step in way] for way in found.instead]


def test_ways_lead_through_macros_and_inlines_of_this_configuration(kernel: Kernel) -> None:
    assert ways(explain("run_thing", kernel)) == [
        ["run_thing", "wake_thing"],
        ["run_thing", "start_thing", "make_thing"],
    ]
    assert ways(explain("alias", kernel))[0] == ["alias", "run_thing", "wake_thing"]
    assert ways(explain("choose", kernel)) == [["choose", "make_thing"]]
    assert ways(explain("renamed", kernel)) == [["renamed.isra.0"]]
    assert ways(explain("swallowed", kernel)) == [["wake_thing"]]


def test_each_step_tells_its_place(kernel: Kernel) -> None:
    (first, *_), _ = explain("run_thing", kernel).instead
    assert (first.kind, first.where) == ("macro", "include/things.h:4")


def test_a_name_that_several_have_is_told(kernel: Kernel) -> None:
    assert any("2 functions" in evidence for evidence in explain("twice", kernel).evidence)


@pytest.mark.parametrize("name", ["tcp_*", "a b", "", "^x", "x;y", "../x"])
def test_patterns_are_refused(name: str, kernel: Kernel) -> None:
    with pytest.raises(UsageError, match="no symbol's name"):
        explain(name, kernel)


def test_without_headers_it_is_said_what_was_not_looked_at(kernel: Kernel) -> None:
    """A macro then looks as a name does that is nowhere."""
    without = replace(kernel, headers=Headers([]), unread=("there are none", "take some"))
    found = explain("run_thing", without)
    assert found.kind == "unknown"
    assert "only headers tell" in found.evidence[1]
    assert found.evidence[2:] == without.unread
    assert explain("nowhere", kernel).evidence[0] == "neither kallsyms nor the headers have it"
    assert explain("make_thing", without).evidence == explain("make_thing", kernel).evidence
