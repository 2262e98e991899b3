"""Symbols of a module's file, compiled here; as it is and compressed."""

from __future__ import annotations

import gzip
import lzma
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from nettax.kernel.module_file import module_files, symbols

SOURCE = """
int a_variable = 3;
extern int not_here(void);
static int __attribute__((noinline)) hidden(void) { return not_here(); }
int shown(void) { return hidden() + a_variable; }
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize(
    ("suffix", "pack"), [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)]
)
def test_functions_and_variables(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    (tmp_path / "m.c").write_text(SOURCE)
    subprocess.run(["cc", "-O1", "-c", "m.c", "-o", "m.o"], cwd=tmp_path, check=True)
    path = tmp_path / f"a-module.ko{suffix}"
    path.write_bytes(pack((tmp_path / "m.o").read_bytes()))
    assert dict(symbols(path)) == {"a_variable": False, "hidden": True, "shown": True}
    (tmp_path / "modules.dep").write_text(f"a-module.ko{suffix}: other.ko\n")
    assert module_files(tmp_path) == {"a_module": path}


def test_what_is_no_module(tmp_path: Path) -> None:
    (tmp_path / "text.ko").write_text("no ELF")
    assert not list(symbols(tmp_path / "text.ko"))
    assert not list(symbols(tmp_path / "missing.ko"))
    assert module_files(tmp_path) == {}
