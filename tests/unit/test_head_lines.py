"""Looking through gathered lines finds what looking through the files does."""

from __future__ import annotations

from pathlib import Path

import pytest

from nettax.errors import NettaxError
from nettax.functions.headers import Headers
from nettax.kernel import head_lines

HEADER = b"""/* not asked in a comment: asked( */
#define asked(x) \\
\tdone(x)
#\tdefine\ttabbed(x) done(x)
static inline int
inlined(int x)
{
\treturn done(x);
}
static __always_inline int inlined_too(int x) { return done(x); }
int done(int x); /* \xe9 in no known encoding */
"""
NAMES = ("asked", "tabbed", "inlined", "inlined_too", "done", "absent")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for place in ("include/linux", "include/generated", "arch/x86/include/asm", "arch/arm/include"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "some.h").write_bytes(HEADER)
    (tmp_path / "arch/arm/include/some.c").write_bytes(HEADER)
    return tmp_path


def test_the_same_is_found(root: Path) -> None:
    before = {name: Headers([root]).definitions(name) for name in NAMES}
    head_lines.gather(root)
    assert head_lines.gathered(root)
    for at in root.rglob("some.h"):
        (at.parent / "other.h").write_bytes(HEADER)  # what is not gathered is not looked through
    assert {name: Headers([root]).definitions(name) for name in NAMES} == before
    kinds = {name: {each.kind for each in found} for name, found in before.items()}
    assert kinds == {
        "asked": {"macro"},
        "tabbed": {"macro"},
        "inlined": {"static inline"},
        "inlined_too": {"static inline"},
        "done": {"prototype"},
        "absent": set(),
    }


def test_a_tree_that_has_none(tmp_path: Path) -> None:
    head_lines.gather(tmp_path)
    assert head_lines.files_with(tmp_path, "x") == set()
    assert Headers([tmp_path]).definitions("x") == []


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NettaxError, match="No such file"):
        head_lines.grep("x", tmp_path / "none")
