"""What a guest is asked for, told and given, without one."""

from __future__ import annotations

import io
import lzma
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.unit.test_vm_cpio import entries

from nettax.errors import MissingFeature, NettaxError, UsageError
from nettax.host import Host, spawn
from nettax.lab.vm import Module, Vm, backports, build, cache, command, initramfs, qemu, vm
from nettax.lab.vm.guest import Guest, Wires
from nettax.lab.vm.kernels import Kernel
from nettax.lab.vm.qemu import Emulator

HERE = Path(vm.__file__).parent


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"cpus": 0}, "cannot have 0 CPUs"),
        ({"cpus": 65}, "cannot have 65 CPUs"),
        ({"memory_mib": 64}, "too little"),
        ({"share": [Path("/nowhere")]}, "no directory /nowhere"),
        ({"queues": 2}, "say which"),
        ({"nic": "virtio"}, "takes a Host"),
        ({"nic": "virtio", "host": Host(), "queues": 3}, "1 to 2 queues with 2 CPUs"),
        ({"nic": "e1000", "host": Host()}, "virtio or igb"),
        ({"nic": "igb", "host": Host(), "queues": 1}, "for each CPU"),
    ],
)
def test_senseless_requests(arguments: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        Vm(**arguments)


@pytest.mark.parametrize(
    ("arguments", "least"),
    [
        ({"cpus": 1}, (0, 0)),
        ({"exact": True}, (0, 0)),
        ({"nic": "virtio", "cpus": 1}, (0, 0)),
        ({"nic": "igb", "cpus": 1}, (8, 0)),
        ({}, (8, 1)),
        ({"nic": "igb"}, (8, 1)),
        ({"exact": True, "cpus": 2}, (10, 0)),
    ],
)
def test_what_takes_a_newer_qemu(
    arguments: dict[str, Any], least: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an older one here, the backports are asked."""
    fetched = Emulator(("fetched",))
    monkeypatch.setattr(backports, "emulator", lambda stack, progress: fetched)
    with ExitStack() as stack:
        for version in ((7, 2), (8, 0), (8, 1), (8, 2), (10, 0), (10, 1)):
            monkeypatch.setattr(Emulator, "version", lambda _, version=version: version)
            took = Vm(**arguments, host=Host())._emulator(stack)
            assert took == (qemu.installed() if version >= least else fetched), version


def test_missing_tools_name_their_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingFeature, match="apt-get install qemu-system-x86"):
        qemu.installed()
    for program in (b"#!/bin/sh\n", b""):
        monkeypatch.setattr(initramfs, "BUSYBOX", tmp_path / "busybox")
        if program:
            (tmp_path / "busybox").write_bytes(program)
        with pytest.raises(MissingFeature, match="apt-get install busybox-static"):
            initramfs.write(io.BytesIO(), initramfs.Parts("6.1", [], {}, {}))


def machine(monkeypatch: pytest.MonkeyPatch, exact: bool) -> list[str]:
    made = qemu.Machine(
        emulator=Emulator(("qemu",)),
        kernel=Path("/k/vmlinux"),
        initramfs=9,
        serial=3,
        ports={name: 4 + number for number, name in enumerate(qemu.PORTS)},
        cpus=1 if exact else 4,
        memory_mib=512,
        exact=exact,
        shares=[Path("/a,b")],
        append="threadirqs",
    )
    return made.command(counter_khz=2_445_420)


def test_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Emulator, "version", lambda _: (8, 0))
    words = machine(monkeypatch, exact=False)
    pairs = set(pairwise(words))
    assert {("-accel", "tcg,thread=multi"), ("-smp", "4"), ("-m", "512M")} <= pairs
    assert ("-initrd", "/dev/fd/9") in pairs
    assert "-icount" not in words
    assert not any("kvm" in word for word in words)
    line = words[words.index("-append") + 1].split()
    assert line[-2:] == ["tsc_early_khz=2445420", "threadirqs"]
    monkeypatch.setattr(Emulator, "version", lambda _: (7, 2))
    assert machine(monkeypatch, exact=False) == [
        word.replace("threadirqs", "clearcpuid=141 threadirqs") for word in words
    ]
    assert any(word.startswith("local,id=root,path=/,") and "readonly=on" in word for word in words)
    assert any(word.startswith("local,id=share0,path=/a,,b,") for word in words)
    for name in qemu.PORTS:
        assert f"virtserialport,chardev={name},name={name}" in words


def test_exact_counts_on_one_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    words = machine(monkeypatch, exact=True)
    pairs = set(pairwise(words))
    assert {("-accel", "tcg,thread=single"), ("-icount", "shift=1,sleep=off")} <= pairs
    assert "tsc_early_khz=1000000" in words[words.index("-append") + 1]


ODD = "a 'b' \"c\" $d `e` \\f\ng\t#h ü"


def test_a_command_is_what_the_guests_shell_makes_of_it(tmp_path: Path) -> None:
    script = command.script(
        ["printf", "%s|", ODD, "", "-n", "*"], {"ODD": ODD, "PWD": "/", "a-b": "c"}, tmp_path
    )
    # In a guest it also leaves its pid, where none is here.
    lines = script.split("\n", 1)[1]
    out = subprocess.run(["sh", "-c", lines], capture_output=True, text=True, check=True)
    assert out.stdout == f"{ODD}||-n|*|"


def test_paths_survive_a_list() -> None:
    paths = [Path("/plain/path-1.2+b"), Path("/with blank\tand\nmore"), Path("/ü/\\0/%s/'\"$x")]
    words = " ".join(map(command.word, paths))
    script = 'for each in $LIST; do printf "%b\\n--\\n" "$each"; done'
    for shell in ("sh", "busybox sh"):
        if shutil.which(shell.split()[0]):
            run = subprocess.run(
                [*shell.split(), "-c", script], env={"LIST": words}, capture_output=True, check=True
            )
            assert run.stdout == b"".join(os.fsencode(path) + b"\n--\n" for path in paths)


@pytest.mark.parametrize("script", ["init.sh", "agent.sh"])
def test_scripts_of_the_guest_are_shell(script: str) -> None:
    subprocess.run(["sh", "-n", HERE / script], check=True)


@pytest.mark.parametrize(
    ("data", "held"), [(b"x", 0), (b"xab", 2), (b"aba", 1), (b"ab", 2), (b"", 0)]
)
def test_what_may_be_the_beginning_of_the_end_is_held(data: bytes, held: int) -> None:
    assert command._overlap(data, b"abc") == held


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("kill -SEGV $$", r"QEMU was ended by SIGSEGV\."),
        ("echo no more. >&2; kill -9 $$", r"QEMU was ended by SIGKILL: no more\."),
        ("echo bad option; exit 1", r"QEMU failed: bad option\."),
        ("exit 3", r"QEMU failed: it ended with 3, and said nothing\."),
        ("exit 0", r"the guest was shut down before"),
    ],
)
def test_why_qemu_ended(script: str, said: str) -> None:
    """A shell in its place: what is told is how a process ended, whichever it was."""
    with ExitStack() as stack:
        guest = Guest(["sh", "-c", script], Wires(["serial"], stack), [], 60, lambda _: None)
        stack.callback(guest.close)
        with pytest.raises(NettaxError, match=said):
            guest.until(lambda: False)


def test_one_module_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many want it at the same time; and what a killed build left goes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    headers, source = tmp_path / "lib/build", tmp_path / "source"
    headers.mkdir(parents=True)
    source.mkdir()
    log = tmp_path / "log"
    (headers / "Makefile").write_text(
        f"modules:\n\techo $(M) >>{log}; sleep 0.2\n"
        "\techo x.o >$(M)/modules.order; touch $(M)/x.ko\n"
    )
    (source / "Kbuild").write_text("obj-m := x.o\n")
    left = tmp_path / "cache/nettax/modules/6.1/.partial-1"
    left.mkdir(parents=True)
    kernel = Kernel("6.1", tmp_path / "vmlinux", tmp_path / "lib")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: build.built(kernel, Module(source)), range(4)))
    assert len(set(found)) == 1
    assert all(path.exists() for path in found[0].files)
    assert len(log.read_text().splitlines()) == 1
    assert [path.name for path in left.parent.iterdir()] == [found[0].files[0].parent.name]


def test_module_without_a_makefile(tmp_path: Path) -> None:
    kernel = Kernel("6.1", tmp_path / "vmlinux", None)
    with pytest.raises(UsageError, match="no Kbuild and no Makefile"):
        build.built(kernel, Module(tmp_path))


def test_module_of_a_kernel_without_headers(tmp_path: Path) -> None:
    (tmp_path / "Kbuild").write_text("obj-m := x.o\n")
    kernel = Kernel("6.1", tmp_path / "vmlinux", tmp_path)
    with pytest.raises(MissingFeature, match="no headers"):
        build.built(kernel, Module(tmp_path))


def test_nowhere_to_keep_kernels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.root() == tmp_path / "nettax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert cache.root() == Path("/home/me/.cache/nettax")


def test_what_a_killed_run_left_is_still_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By a child of its, which unpacks: nobody is stopped by that, and the rest goes later."""
    script = "while i=$((i+1)); do true >.partial-1/$i || mkdir .partial-1; done 2>/dev/null"
    writer = spawn(["sh", "-c", script], cwd=tmp_path)
    try:
        for _ in range(400):
            with cache.locked(tmp_path), cache.partial(tmp_path) as tree:
                (tree / "whole").touch()
    finally:
        writer.kill()
        writer.wait()
    with cache.locked(tmp_path):
        assert not list(tmp_path.iterdir())


STATIC = b"\x7fELF\x02" + bytes(27) + (64).to_bytes(8, "little") + bytes(14) + b"\x38\0\0\0"


def test_initramfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that the scripts open is there; an odd path is written as fstab(5) has it."""
    monkeypatch.setattr(initramfs, "BUSYBOX", tmp_path / "busybox")
    (tmp_path / "busybox").write_bytes(STATIC)
    drivers = [tmp_path / "9pnet.ko", tmp_path / "9p-x.ko.xz"]
    drivers[0].write_bytes(b"first")
    drivers[1].write_bytes(lzma.compress(b"second"))
    out = io.BytesIO()
    binds = {"/lib/modules/6.1": Path("/odd dir\\x")}
    initramfs.write(out, initramfs.Parts("6.1", drivers, binds, {"SHARES": "a'b"}))
    found = {name: data for name, _, data in entries(out.getvalue())}
    assert found["drivers"] == b"9pnet 9p_x\n"
    assert found["lib/modules/6.1/9p_x.ko"] == b"second"
    assert found["lib/modules/6.1/modules.dep"] == b"9pnet.ko:\n9p_x.ko:\n"
    assert found["directories"] == b"/new/lib/modules/6.1\n"
    assert b"/odd\\040dir\\134x /lib/modules/6.1 none bind 0 0\n" in found["nettax-lab/fstab"]
    assert found["nettax-lab/settings"] == b"SHARES='a'\"'\"'b'\n"
    assert found["bin/busybox"] == b"/nettax-lab/busybox"
    for opened in ("init", "fstab", "nettax-lab/busybox", "nettax-lab/agent.sh", "links/stdin"):
        assert opened in found
