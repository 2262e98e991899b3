"""The server in the kernel, loaded in a guest, and programs of ours run beside it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nettax.errors import NettaxError
from nettax.lab import kmod
from nettax.lab.vm import Module, Vm, build

__all__ = ["INSTRUCTION_NS", "MODES", "asked", "counting", "serving"]

MODES = ("kthread", "workqueue", "workqueue-unbound")
INSTRUCTION_NS = 2
"""Of a counting guest's time."""


@contextmanager
def counting(
    kernel: str = "6.1", cpus: int = 1, progress: Callable[[str], None] = lambda _: None
) -> Iterator[Vm]:
    """A guest that counts instructions.

    :raises NettaxError: as `Vm` does
    """
    with Vm(kernel, exact=True, cpus=cpus, progress=progress) as vm:
        yield vm


@contextmanager
def serving(vm: Vm, *parameters: str) -> Iterator[None]:
    """The server in the guest's kernel, with these parameters, until the context is left.

    :raises NettaxError: the kernel refuses it; as `build.built` does
    """
    module = build.built(vm.kernel, Module(kmod.source())).files[0]
    _run(vm, ["insmod", str(module), *parameters])
    yield
    _run(vm, ["rmmod", kmod.NAME])


def _run(vm: Vm, argv: Sequence[str]) -> bytes:
    done = vm.run(argv)
    if done.code:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise NettaxError(f"{Path(argv[0]).name} failed in the guest: {said[-1]}")
    return done.stdout


def asked(vm: Vm, program: str, *words: str | int, alone: bool = False) -> Any:
    """Run a program of this package in the guest; what it prints is JSON.

    :param alone: it imports nothing of nettax, whose files take a while to come from the host.
    :raises NettaxError: it failed.
    """
    path = str(Path(__file__).with_name(f"{program}.py"))
    argv: Sequence[str] = ("python3", "-IS", path) if alone else (sys.executable, path)
    return json.loads(_run(vm, [*argv, *map(str, words)]))
