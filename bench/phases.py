"""Time the phases of a ledger's life, once: ``python -m bench.phases`` prints ms by phase as JSON.

In a process of its own, as only the first start pays for imports and for parsing the kernel's BTF.
A phase is what it takes less the phases inside it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

spent_ms: dict[str, float] = {}
_inside: list[float] = []


def timed(phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, with its time added to a phase and taken out of the one around it."""

    def call(*args: Any, **kwargs: Any) -> Any:
        _inside.append(0.0)
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            took = 1000 * (time.perf_counter() - start)
            spent_ms[phase] = spent_ms.get(phase, 0.0) + took - _inside.pop()
            if _inside:
                _inside[-1] += took

    return call


def main() -> None:
    """Live through a ledger's life."""
    modules: dict[str, Any] = {}

    def load() -> None:
        from nettax.kernel import bpf, vmlinux
        from nettax.ledger import Ledger

        modules.update(bpf=bpf, vmlinux=vmlinux, ledger=Ledger)

    timed("import", load)()
    bpf, ledger_type = modules["bpf"], modules["ledger"]
    timed("kernel's BTF", modules["vmlinux"].percpu_offsets)()
    for owner, method, phase in (
        (bpf.Object, "__init__", "open"),
        (bpf.Object, "_load", "load"),
        (bpf.Object, "attach", "attach"),
        (ledger_type, "_reading", "first read"),
        (ledger_type, "close", "close"),
        (ledger_type, "__enter__", "the rest"),
    ):
        setattr(owner, method, timed(phase, getattr(owner, method)))
    with ledger_type():
        pass
    print(json.dumps(spent_ms))


if __name__ == "__main__":
    main()
