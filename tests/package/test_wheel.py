"""The wheel: what it says it runs on, what is in it, and that it runs."""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.package.running import Installed, run

from nettax.cli import VERBS
from nettax.kernel import cpus
from nettax.version import __version__

OBJECTS = {
    f"nettax/bpf/{name}{twin}.bpf.o"
    for name in ("errors", "ledger", "record")
    for twin in ("", ".raw")
}
LIBRARY = "nettax/native/libnettax.so"
PLUGIN = "nettax/native/qemu/count.so"
SERVER = "nettax/servers/nettax-server"
DATA = f"nettax-{__version__}.data/data/share"
PAGES = {"nettax", *(f"nettax-{verb}" for verb in VERBS)}


def test_any_python_and_the_oldest_glibc_that_will_do(
    wheel: Path, contents: dict[str, bytes], tmp_path: Path
) -> None:
    needed = []
    for name in (LIBRARY, PLUGIN, SERVER):
        binary = tmp_path / Path(name).name
        binary.write_bytes(contents[name])
        # By another tool than the build's, and from the symbols themselves.
        needed += re.findall(r"GLIBC_2\.(\d+)", run("objdump", "-T", binary))
    tag = f"py3-none-manylinux_2_{max(map(int, needed))}_{platform.machine()}"
    assert wheel.stem == f"nettax-{__version__}-{tag}"
    assert f"Tag: {tag}\n".encode() in contents[f"nettax-{__version__}.dist-info/WHEEL"]


def test_contents(contents: dict[str, bytes]) -> None:
    names = set(contents)
    assert OBJECTS | {LIBRARY, PLUGIN, SERVER} <= names
    assert {"nettax/build.json", "nettax/cli/completion.json"} <= names
    assert {n for n in names if n.endswith(".1")} == {f"{DATA}/man/man1/{p}.1" for p in PAGES}
    assert {
        f"{DATA}/bash-completion/completions/nettax",
        f"{DATA}/zsh/site-functions/_nettax",
        f"{DATA}/fish/vendor_completions.d/nettax.fish",
    } <= names
    kinds = {Path(name).suffix for name in names if name.startswith("nettax/")}
    assert kinds == {".py", ".o", ".so", ".json", ".sh", ".typed", ""}
    assert [name for name in names if name.startswith("nettax/") and "." not in name] == [SERVER]
    assert {name.split("/")[0] for name in names} == {
        "nettax",
        f"nettax-{__version__}.data",
        f"nettax-{__version__}.dist-info",
    }


def test_nothing_tells_where_it_was_built(contents: dict[str, bytes]) -> None:
    built = {*OBJECTS, LIBRARY, PLUGIN, SERVER, "nettax/build.json"}
    assert [name for name in built if b"/tmp/" in contents[name]] == []
    assert [name for name in built if str(Path.cwd()).encode() in contents[name]] == []


def test_objects_carry_btf_and_no_dwarf(contents: dict[str, bytes], tmp_path: Path) -> None:
    for name in OBJECTS:
        path = tmp_path / Path(name).name
        path.write_bytes(contents[name])
        shown = run("readelf", "-W", "-h", "-S", path)
        assert "Linux BPF" in shown
        assert " .BTF " in shown
        assert " .BTF.ext " in shown
        assert ".debug_" not in shown


def test_version_in_a_clean_environment(installed: Installed, contents: dict[str, bytes]) -> None:
    done = installed.run("--version")
    assert (done.returncode, done.stderr) == (0, "")
    first, *facts = done.stdout.splitlines()
    assert first == f"nettax {__version__}"
    told = dict(re.split(r":\s+", line.strip(), maxsplit=1) for line in facts)
    built = json.loads(contents["nettax/build.json"])
    assert told["BPF objects"] == built["bpf"]
    assert told["commit"] == (built["commit"] or "unknown")
    assert str(installed.directory) in told["Python"]


def test_a_reference_server_runs(installed: Installed) -> None:
    done = installed.run("serve", "epoll", "--bind", "192.0.2.1")
    assert done.stderr == "192.0.2.1: Cannot assign requested address\n"
    assert done.returncode == 1


def test_doctor_in_a_clean_environment(installed: Installed) -> None:
    done = installed.run("doctor", "--json")
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert done.returncode == (0 if found["ledger_works"] else 77)


def test_tab_imports_no_instrument(installed: Installed) -> None:
    done = installed.run(
        COMP_WORDS="nettax export --",
        COMP_CWORD="2",
        _NETTAX_COMPLETE="bash_complete",
        PYTHONPROFILEIMPORTTIME="1",
    )
    assert "plain,--listen" in done.stdout.splitlines()
    imported = set(re.findall(r"\| +(nettax[\w.]*)$", done.stderr, re.MULTILINE))
    assert "nettax.cli.completion" in imported
    assert not {"nettax.ledger", "nettax.host", "nettax.cli.export"} & imported


def test_tab_in_bash(installed: Installed) -> None:
    script = """
        source "$1/share/bash-completion/completions/nettax"
        COMP_WORDS=(nettax stat -C 0,) COMP_CWORD=3 COMPREPLY=()
        _nettax_completion "$1/bin/nettax"
        printf '%s\n' "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", script, "-", installed.directory], capture_output=True, text=True
    )
    assert done.stdout.split() == [f"0,{cpu}" for cpu in cpus.online() if cpu != 0]
    assert done.stderr == ""


@pytest.mark.skipif(not shutil.which("fish"), reason="needs fish")
def test_tab_in_fish(installed: Installed) -> None:
    script = installed.directory / "share/fish/vendor_completions.d/nettax.fish"
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"source {script}; complete -C 'nettax stat --cp'"],
        env={"PATH": f"{installed.directory}/bin:/usr/bin:/bin", "HOME": str(installed.home)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "--cpu\tThese CPUs only: 0,2-5.\n"


@pytest.mark.skipif(not shutil.which("man"), reason="needs man")
def test_man_pages_render(installed: Installed) -> None:
    pages = sorted((installed.directory / "share/man/man1").iterdir())
    assert {page.stem for page in pages} == PAGES
    for page in pages:
        done = subprocess.run(
            ["man", "--warnings", "-l", page],
            env={
                "PATH": "/usr/bin:/bin",
                "LANG": "C.UTF-8",
                "MANWIDTH": "80",
                "MAN_KEEP_STDERR": "1",
            },
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert f"{page.stem}(1)" in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 80
