"""What two settings of the server in the kernel cost, in instructions that are the same again.

Each is booted anew for each repetition, alternating, in a guest that counts. What is counted is
all that the one CPU executes from a connection's beginning to its end: the client, and both sides
in the kernel.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nettax.errors import NettaxError, UsageError
from nettax.lab import kmod
from nettax.lab.vm import Module, Vm

__all__ = ["Compared", "Setting", "compare", "setting"]

FLOOR = 0.005
"""Less than this share is no difference: two boots of one setting can be so far apart."""

_CLIENT = Path(__file__).with_name("exact_client.py")


@dataclass(frozen=True)
class Setting:
    """A kernel, and the server's parameters."""

    parameters: tuple[str, ...]
    kernel: str = "6.1"


@dataclass(frozen=True)
class Compared:
    """One operation's instructions, under both settings, for each repetition."""

    operation: str
    a: tuple[float, ...]
    b: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The mean of A's over that of B's."""
        return (sum(self.a) / len(self.a)) / (sum(self.b) / len(self.b))

    @property
    def spread(self) -> float:
        """How far repetitions of one setting are apart: the worse one's range over its least."""
        return max((max(one) - min(one)) / min(one) for one in (self.a, self.b))

    @property
    def differs(self) -> bool:
        """No repetition of one is among the other's, and the gap is above `FLOOR`."""
        low, high = sorted((self.a, self.b), key=min)
        return min(high) > max(low) * (1 + FLOOR)


def setting(text: str, kernel: str = "6.1") -> Setting:
    """From ``mode=kthread,nodelay=0``; ``kernel=6.12`` among these is the guest's kernel.

    :raises UsageError: a word is no NAME=VALUE, or the client could not follow it.
    """
    parameters = []
    for word in filter(None, text.split(",")):
        name, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"{word!r} is no parameter: give it as NAME=VALUE.")
        if name in ("port", "address", "protocol"):
            raise UsageError(f"{name} is the same in what is compared: leave it out.")
        if name == "kernel":
            kernel = value
        else:
            parameters.append(word)
    return Setting(tuple(parameters), kernel)


def compare(
    a: Setting,
    b: Setting,
    *,
    count: int = 500,
    repeat: int = 2,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Compared]:
    """Count so many operations under both, `repeat` times each.

    :raises NettaxError: a guest does not start, or the client fails in it.
    """
    found: list[tuple[dict[str, float], dict[str, float]]] = []
    for number in range(repeat):
        progress(f"counting, {number + 1} of {repeat}")
        found.append((_counted(a, count, progress), _counted(b, count, progress)))
    return [
        Compared(
            name.replace("_", " ").removesuffix("s"),
            tuple(one[name] for one, _ in found),
            tuple(other[name] for _, other in found),
        )
        for name in found[0][0]
    ]


def _counted(one: Setting, count: int, progress: Callable[[str], None]) -> dict[str, float]:
    module = Module(kmod.source(), one.parameters)
    with Vm(one.kernel, exact=True, modules=[module], progress=progress) as vm:
        done = vm.run(["python3", "-IS", _CLIENT, str(count)])
    if done.code:
        raise NettaxError(f"the client failed in the guest:\n{done.stderr.decode().strip()}")
    counts: dict[str, float] = json.loads(done.stdout)
    return counts
