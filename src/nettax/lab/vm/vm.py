"""A stock kernel in an emulated machine with this host's files, and commands in it."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from nettax.errors import NettaxError, UsageError
from nettax.host import Host
from nettax.lab.vm import backports, build, cache, command, image, initramfs, kernels, qemu
from nettax.lab.vm.blocks import Blocks
from nettax.lab.vm.build import Module
from nettax.lab.vm.cycles import Counter
from nettax.lab.vm.guest import Guest, Wires
from nettax.lab.vm.kernels import Kernel
from nettax.lab.vm.modules import Modules
from nettax.lab.vm.nic import GUEST, Nic
from nettax.lab.vm.qemu import PORTS, Emulator, Machine

__all__ = ["Result", "Vm"]

_DRIVERS = ("virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay")
_ANSWER = 5.0  # seconds allowed for a guest to take a signal
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Result:
    """How a command in a guest went."""

    code: int
    """As a shell gives it: 128 + n if signal n ended the command, 126 and 127 if it cannot run."""
    stdout: bytes
    """What it wrote, where nothing else was to take it."""
    stderr: bytes
    guest_ns: int
    """From its start to its end by the guest's clock, waiting for the host's files included."""


class Vm:
    """A guest that runs while it is entered, and commands in it, one after another.

    It has this host's files, read-only, below an overlay that is forgotten with it; but for the
    directories ``share``, which both can write. A command gets the caller's environment and
    working directory. No root is needed, but for ``nic``.

    ``kernel`` is a series of Debian's (``6.1``, ``6.12``), which is fetched if it is not in the
    cache, or a path. ``exact`` counts: each instruction takes 2 ns of the guest's time, of
    whichever CPU, and idle time is skipped; with several CPUs that takes QEMU 10. ``nic``,
    ``virtio`` or ``igb``, is joined to a tap in a namespace of ``host``, and has ``queues`` queues,
    by default one for each CPU. ``modules`` are built for the kernel and loaded. ``blocks`` counts
    how often each piece of code is executed. After ``limit`` seconds the guest is ended.
    ``progress`` is told what takes long, and ``on_serial`` gets what the kernel prints.
    """

    def __init__(
        self,
        kernel: str = "6.1",
        *,
        cpus: int | None = None,
        memory_mib: int = 1024,
        exact: bool = False,
        host: Host | None = None,
        nic: str | None = None,
        queues: int | None = None,
        modules: Sequence[Module] = (),
        share: Sequence[Path] = (),
        limit: float = 600.0,
        append: str = "",
        blocks: Blocks | None = None,
        progress: Callable[[str], None] = lambda _: None,
        on_serial: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        """Start nothing yet.

        :raises UsageError: the arguments exclude each other, or one is out of its range.
        """
        self._cpus = cpus if cpus is not None else 1 if exact else 2
        if not 1 <= self._cpus <= 64:
            raise UsageError(f"a guest cannot have {cpus} CPUs: give it 1 to 64.")
        if memory_mib < 256:
            raise UsageError(f"{memory_mib} MiB are too little for a guest: give it 256M or more.")
        for directory in share:
            if not directory.is_dir():
                raise UsageError(f"there is no directory {directory} to share.")
        if queues is not None and nic is None:
            raise UsageError("queues are a NIC's: say which, virtio or igb.")
        if nic is not None and host is None:
            raise UsageError("a guest with a NIC takes a Host, for the namespace at its other end.")
        self._nic = Nic(nic, queues or self._cpus, self._cpus) if nic else None
        self._kernel = kernel
        self._memory_mib = memory_mib
        self._exact = exact
        self._host = host
        self._modules = modules
        self._share = [path.resolve() for path in share]
        self._limit = limit
        self._append = append
        self._blocks = blocks
        self._progress = progress
        self._on_serial = on_serial
        self._stack = ExitStack()
        self._lines: list[str] = []
        self._partial = b""
        self._stdin: int | None = None

    def __enter__(self) -> Self:
        """Boot, and return when commands can run.

        :raises UsageError, MissingFeature, NettaxError: there is no such kernel, or what booting
            it takes is missing; it did not start.
        """
        with ExitStack() as stack:
            self._boot(stack)
            self._stack = stack.pop_all()
        return self

    def _boot(self, stack: ExitStack) -> None:
        self.kernel = self._found(stack)
        """The kernel that runs."""
        emulator = self._emulator(stack)
        built = [build.built(self.kernel, module, self._progress) for module in self._modules]
        began = time.monotonic()
        counter = Counter()
        wires = Wires(("serial", *PORTS), stack)
        descriptors: list[int] = []
        machine = self._machine(stack, emulator, wires, descriptors, built)
        argv = machine.command(counter.khz())
        guest = Guest(argv, wires, descriptors, self._limit, self._on_serial)
        stack.callback(guest.close)
        self._wires, self._guest = wires, guest
        self._guest.handle(wires.near["control"].fileno(), self._read_control)
        self.ready_ns = int(self._expect("ready").split()[1])
        """The guest's clock when commands could run: ns since its kernel began."""
        self.boot_s = time.monotonic() - began
        """Seconds that it took until commands could run, fetching and building not included."""

    def _found(self, stack: ExitStack) -> Kernel:
        """The kernel; one of the cache is kept there as long as the guest runs."""
        while True:
            kernel = kernels.find(self._kernel, self._progress)
            if kernel.tree is None or stack.enter_context(cache.leased(kernel.tree)):
                return kernel

    def _emulator(self, stack: ExitStack) -> Emulator:
        """This host's QEMU; a newer one where the NIC, or several CPUs, take it."""
        here = qemu.installed()
        least = [self._nic.least_qemu] if self._nic else []
        if self._cpus > 1:
            least.append(qemu.COUNTS_ON_SEVERAL if self._exact else qemu.PATCHES_ON_SEVERAL)
        if not least or max(least) <= here.version():
            return here
        return backports.emulator(stack, self._progress)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the guest and take down its network."""
        self._stack.__exit__(kind, error, traceback)

    @property
    def netns(self) -> str:
        """The network namespace at the other end of the guest's NIC.

        :raises UsageError: it has none.
        """
        if self._nic is None:
            raise UsageError("this guest has no NIC.")
        return self._nic.netns

    def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        stdin: int | None = None,
        stdout: Callable[[bytes], object] | None = None,
        stderr: Callable[[bytes], object] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        signals: int | None = None,
        terminal: Callable[[], os.terminal_size] | None = None,
    ) -> Result:
        """Run a command and return when it has ended.

        It reads nothing, or ``stdin``, a descriptor, of which more may be taken than it reads.
        ``stdout`` and ``stderr`` get what it writes as it comes. What can be read from
        ``signals`` are numbers of signals, a byte each, to be passed on to it. Processes that it
        leaves behind live on, but can write nothing more.

        ``terminal`` tells how large a terminal it gets: asked now, and again at each SIGWINCH.
        What it writes then all comes to ``stdout``, and keys are bytes of ``stdin``: the caller's
        own terminal is to be raw.

        :raises UsageError: there is no command.
        :raises NettaxError: the guest panicked, ended, used up its time, or takes no signals.
        """
        if not argv:
            raise UsageError("there is no command to run in the guest.")
        size = terminal() if terminal else None
        script = command.script(argv, os.environ if env is None else env, cwd or Path.cwd(), size)
        job = os.fsencode(script)
        token = secrets.token_hex(16)
        outputs = [
            command.Output(self._guest, self._wires, name, token.encode(), sink)
            for name, sink in (("stdout", stdout), ("stderr", stderr))
        ]
        control = self._wires.near["control"]
        control.sendall(f"{len(job)} {token} {int(stdin is not None)}".ljust(64).encode() + job)
        self._stdin = stdin
        self._expect("started")
        if signals is not None:
            self._guest.handle(signals, lambda: self._pass_on(signals, terminal))
        try:
            _, code, took_ns = self._expect("exit").split()
        finally:
            if signals is not None:
                self._guest.handle(signals, None)
        if self._stdin is not None:
            self._feed(b"")
        self._guest.until(lambda: all(output.ended for output in outputs))
        return Result(int(code), outputs[0].text, outputs[1].text, int(took_ns))

    def _expect(self, word: str) -> str:
        """Wait for a line from the guest that begins so; what comes before it is dropped."""
        while True:
            self._guest.until(lambda: self._lines)
            line = self._lines.pop(0)
            if line.split()[0] == word:
                return line

    def _read_control(self) -> None:
        *lines, self._partial = (self._partial + self._guest.receive("control")).split(b"\n")
        for line in lines:
            if line != b"more":
                self._lines.append(line.decode())
            elif (fd := self._stdin) is not None:
                # No more is read here, nor waits there, than the command's pipe has room for.
                self._guest.handle(fd, partial(self._feed_from, fd))

    def _feed_from(self, fd: int) -> None:
        self._feed(os.read(fd, _CHUNK))

    def _feed(self, data: bytes) -> None:
        """Send a part of the input; nothing is its end."""
        if self._stdin is not None:
            self._guest.handle(self._stdin, None)
        if not data:
            self._stdin = None
        with suppress(ConnectionError):
            self._wires.near["stdin"].sendall(f"{len(data)}\n".encode() + data)

    def _pass_on(
        self, signals: int, terminal: Callable[[], os.terminal_size] | None = None
    ) -> None:
        """Pass on signals; a guest that does not take them hangs."""
        for number in os.read(signals, _CHUNK):
            line = f"{number}"
            if number == signal.SIGWINCH and terminal:
                size = terminal()
                line += f" {size.lines} {size.columns}"
            self._wires.near["signals"].sendall(f"{line}\n".encode())
            answered = self._guest.until(
                lambda: any(line.startswith(("signalled", "exit")) for line in self._lines), _ANSWER
            )
            if not answered:
                raise NettaxError(f"the guest did not take signal {number}, and was ended.")
            self._lines = [line for line in self._lines if line != "signalled"]

    def _machine(
        self,
        stack: ExitStack,
        emulator: Emulator,
        wires: Wires,
        descriptors: list[int],
        built: Sequence[build.Built],
    ) -> Machine:
        """What is to be emulated; what it takes is opened, until the stack unwinds."""
        ramdisk = stack.enter_context(_in_memory("initramfs"))
        initramfs.write(ramdisk, self._parts(built))
        ramdisk.flush()
        descriptors.append(ramdisk.fileno())
        words: tuple[str, ...] = ()
        if self._nic and self._host:
            stack.enter_context(self._host.temporarily())
            words = self._nic.attach(self._host, stack)
            descriptors += self._nic.descriptors
        if self._blocks:
            descriptors.append(self._blocks.fileno())
        return Machine(
            emulator=emulator,
            kernel=self._bootable(stack, descriptors),
            initramfs=ramdisk.fileno(),
            serial=wires.far["serial"].fileno(),
            ports={name: wires.far[name].fileno() for name in PORTS},
            cpus=self._cpus,
            memory_mib=self._memory_mib,
            exact=self._exact,
            shares=self._share,
            append=self._append,
            nic=words,
            plugin=self._blocks.plugin() if self._blocks else (),
        )

    def _parts(self, built: Sequence[build.Built]) -> initramfs.Parts:
        """What the guest starts from."""
        names = [*_DRIVERS, *([self._nic.driver] if self._nic else [])]
        modules, tree = self.kernel.modules, self.kernel.tree
        binds = {f"/lib/modules/{self.kernel.release}": modules.resolve()} if modules else {}
        if tree:
            binds["/boot"] = tree / "boot"  # its configuration, and System.map
            for source in tree.glob("usr/src/*"):  # where modules' build links lead
                binds[f"/usr/src/{source.name}"] = source
        return initramfs.Parts(
            release=self.kernel.release,
            # Of a kernel without modules all is built in, or the guest says what is missing.
            drivers=Modules(modules).in_order(names) if modules else [],
            binds=binds,
            settings={
                "SHARES": " ".join(map(command.word, self._share)),
                "NEEDS": " ".join(sorted({need for one in built for need in one.needs()})),
                "LOAD": "".join(
                    f"{command.word(path)} {' '.join(one.parameters)}\n"
                    for one in built
                    for path in one.files
                ),
                "ADDRESS": GUEST if self._nic else "",
            },
        )

    def _bootable(self, stack: ExitStack, descriptors: list[int]) -> Path:
        """A vmlinux for QEMU: the kernel's image, or what that carries, in memory."""
        if image.is_elf(self.kernel.image):
            return self.kernel.image
        memory = stack.enter_context(_in_memory("vmlinux"))
        memory.write(image.vmlinux(self.kernel.image))
        memory.flush()
        descriptors.append(memory.fileno())
        return Path(f"/dev/fd/{memory.fileno()}")


def _in_memory(name: str) -> BinaryIO:
    return os.fdopen(os.memfd_create(name), "wb")
