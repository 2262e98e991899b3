"""`nettax lab`: kernels to try things in, under emulation."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from nettax.cli.lab_compare import compare
from nettax.cli.record import Amount
from nettax.errors import NettaxError
from nettax.host import Host
from nettax.host.privilege import require
from nettax.lab.vm import Module, Vm, backports, cache, kernels
from nettax.report.table import table

EXAMPLES = """
\b
Examples:
  nettax lab vm run -- uname -r
  nettax lab vm run -- bash
  nettax lab vm run --kernel 6.12 -- nettax stat -d 5
  nettax lab vm run --exact -- python3 count.py
  nettax lab vm run --nic virtio --queues 2 -- cat /proc/interrupts
  nettax lab vm run --module ./hello --share out -- sh -c 'dmesg > out/log'
  nettax lab vm compare mode=kthread mode=workqueue
  nettax lab vm list
  nettax lab vm clean 6.12
"""
QEMU = "qemu"  # what `clean` calls the one that was fetched
_PASSED_ON = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP),
    *(signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2),
)


@click.group(epilog=EXAMPLES)
def command() -> None:
    """Try things on another kernel than this host's.

    `nettax lab vm` boots one of Debian's, or one of yours, in an emulated machine.
    """


@command.group(epilog=EXAMPLES)
def vm() -> None:
    """Kernels in an emulated machine, with this host's files."""


vm.add_command(compare)


@vm.command(epilog=EXAMPLES)
@click.option(
    "--kernel",
    metavar="KERNEL",
    default="6.1",
    show_default=True,
    help="A series of Debian's (6.1, 6.12), fetched when first used; or a file.",
)
@click.option(
    "--cpus", metavar="N", type=click.IntRange(1, 64), help="CPUs of the guest (2; --exact: 1)."
)
@click.option(
    "--memory",
    type=Amount("B"),
    default="1G",
    metavar="SIZE",
    show_default=True,
    help="Memory of the guest, as 512M or 2G.",
)
@click.option(
    "--exact",
    is_flag=True,
    help="Count: each instruction takes 2 ns of the guest's time; one CPU unless --cpus says more.",
)
@click.option(
    "--nic",
    type=click.Choice(["virtio", "igb"]),
    help="A NIC, eth0, whose other end is in a namespace of this host. Needs root.",
)
@click.option(
    "--queues",
    metavar="N",
    type=click.IntRange(1, 64),
    help="Queues of the NIC, each with interrupts of its own (one for each CPU).",
)
@click.option(
    "--module",
    "modules",
    metavar="DIR[,NAME=VALUE…]",
    multiple=True,
    help="Build the module in this directory and load it, with parameters.",
)
@click.option(
    "--share",
    metavar="DIR",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="What is written below this directory is written here.",
)
@click.option(
    "--limit",
    metavar="TIME",
    type=Amount("s"),
    default="10min",
    show_default=True,
    help="End the guest after so long.",
)
@click.option("--append", metavar="WORDS", default="", help="More words for the kernel.")
@click.option("-v", "--verbose", is_flag=True, help="Show what the kernel prints.")
@click.argument("words", nargs=-1, required=True, metavar="-- COMMAND …", type=click.UNPROCESSED)
def run(
    kernel: str,
    cpus: int | None,
    memory: float,
    exact: bool,
    nic: str | None,
    queues: int | None,
    modules: Sequence[str],
    share: Sequence[Path],
    limit: float,
    append: str,
    verbose: bool,
    words: tuple[str, ...],
) -> None:
    """Boot a kernel, run a command in it, and end as the command did.

    The guest has this host's files and this environment; what it writes is forgotten, but for
    what is below a --share. The command's input, output, signals and exit code are its own; from
    a terminal it has one there, too, which gets all keys. With
    --nic the guest is 198.18.0.2; this host's end of the wire is 198.18.0.1, in the namespace
    that is told.
    """
    if nic:
        require("CAP_NET_ADMIN", "make a tap")  # before there is a journal for it
    with ExitStack() as stack:
        guest = Vm(
            kernel,
            cpus=cpus,
            memory_mib=int(memory) >> 20,
            exact=exact,
            host=stack.enter_context(Host()) if nic else None,
            nic=nic,
            queues=queues,
            modules=[_module(each) for each in modules],
            share=share,
            limit=limit,
            append=append,
            progress=_say,
            on_serial=_write_error if verbose else lambda _: None,
        )
        stack.enter_context(guest)
        if nic:
            _say(f"the guest's eth0 is 198.18.0.2; 198.18.0.1 is in the namespace {guest.netns}")
        terminal = _terminal()
        with _signals(resized=terminal is not None) as signals, _raw(terminal):
            result = guest.run(
                words,
                stdin=sys.stdin.fileno() if sys.stdin else None,  # it may have been closed
                stdout=_write_output,
                stderr=_write_error,
                signals=signals,
                terminal=None if terminal is None else lambda: os.get_terminal_size(terminal),
            )
    sys.exit(result.code)


@vm.command("list")
@click.option("--json", "as_json", is_flag=True, help="One document.")
def list_(as_json: bool) -> None:
    """What is in the cache: kernels, and a QEMU if one was fetched."""
    there = [(kernel, cache.size_bytes(kernel.image.parent)) for kernel in kernels.cached()]
    emulators = [(tree, cache.size_bytes(tree)) for tree in backports.cached()]
    if as_json:
        found = [
            {
                "release": kernel.release,
                "size_bytes": size,
                "headers": kernel.headers is not None,
                "path": str(kernel.tree),
            }
            for kernel, size in there
        ]
        qemus = [{"version": t.name, "size_bytes": size, "path": str(t)} for t, size in emulators]
        document = {"schema": "nettax.lab.kernels/1", "kernels": found, "qemu": qemus}
        click.echo(json.dumps(document, indent=1))
    elif there or emulators:
        rows = [
            [kernel.release, _megabytes(size), "yes" if kernel.headers else "·"]
            for kernel, size in there
        ]
        rows += [[f"QEMU {tree.name}", _megabytes(size), ""] for tree, size in emulators]
        click.echo(table(["kernel", "size", "headers"], rows))
    else:
        click.echo("no kernel is in the cache: the first `nettax lab vm run` fetches one")


@vm.command()
@click.argument("names", nargs=-1, metavar="[KERNEL …|qemu]")
def clean(names: tuple[str, ...]) -> None:
    """Empty the cache.

    A KERNEL is a series or a release, and `qemu` is the QEMU that was fetched; by default all goes,
    but for what a guest runs.
    """
    kept: list[str] = []
    for name in names or (None, QEMU):
        gone, left = backports.remove() if name == QEMU else kernels.remove(name)
        kept += left
        for each in gone:
            click.echo(f"removed {each}")
    if kept:
        raise NettaxError(
            f"left {', '.join(kept)}: a guest runs it. Clean again when it has ended."
        )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


def _module(text: str) -> Module:
    directory, *parameters = text.split(",")
    return Module(Path(directory), tuple(parameters))


def _say(text: str) -> None:
    click.echo(f"nettax: {text}", err=True)


def _write_output(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _write_error(data: bytes) -> None:
    sys.stderr.buffer.write(data)
    sys.stderr.buffer.flush()


def _terminal() -> int | None:
    """The terminal that both input and output are, if they are one and the guest can have one."""
    if sys.stdin and sys.stdin.isatty() and sys.stdout.isatty() and shutil.which("script"):
        return sys.stdin.fileno()
    return None


@contextmanager
def _raw(terminal: int | None) -> Iterator[None]:
    """Take a terminal's keys as they come: what they mean is for the guest's own to say."""
    if terminal is None:
        yield
        return
    before = termios.tcgetattr(terminal)
    tty.setraw(terminal, termios.TCSADRAIN)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


@contextmanager
def _signals(resized: bool = False) -> Iterator[int]:
    """Signals that are to be passed on: a descriptor from which their numbers can be read.

    With `resized`, those of a terminal that gets another size are among them.
    """
    arrived, wake = os.pipe()
    os.set_blocking(wake, False)
    former = {
        number: signal.signal(number, lambda number, frame: None)
        for number in (*_PASSED_ON, *([signal.SIGWINCH] if resized else []))
        if signal.getsignal(number) is not signal.SIG_IGN  # as nohup(1) wants
    }
    before = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    try:
        yield arrived
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in former.items():
            signal.signal(number, handler)
        os.close(arrived)
        os.close(wake)
