"""Whether this host can be measured: the kernel's probes, and the ledger tried for a moment."""

from __future__ import annotations

from dataclasses import dataclass

from nettax.errors import NettaxError
from nettax.kernel.probes import Probe, all_probes
from nettax.ledger import Ledger, Toll

__all__ = ["Health", "health"]


@dataclass(frozen=True, slots=True)
class Health:
    """What was found."""

    probes: tuple[Probe, ...]
    ledger_works: bool
    verdict: str
    """One sentence."""


def health() -> Health:
    """Probe everything, load the ledger and read it once."""
    probes = all_probes()
    try:
        with Ledger() as ledger:
            probes += [*_ledger(ledger), _toll()]
    except NettaxError as error:
        probes.append(Probe("ledger", False, str(error).replace("\n", " "), None))
        return Health(tuple(probes), False, "The ledger does not work here.")
    return Health(tuple(probes), True, "The ledger works here.")


def _ledger(ledger: Ledger) -> list[Probe]:
    how = "raw tracepoints" if ledger.raw_tracepoints else "BTF-typed tracepoints (tp_btf)"
    sources = ledger.tracepoints
    vectors = sorted(
        name.removesuffix("_exit")
        for name in sources
        if name.endswith("_exit") and name != "softirq_exit"
    )
    triggers = ledger.tells_triggers
    return [
        Probe("ledger", True, f"loads and attaches as {how}, {len(ledger.cpus)} CPUs", None),
        Probe("interrupts seen", True, ", ".join(vectors), None),
        Probe(
            "softirq triggers",
            triggers,
            "told by what irq_exit found pending (per-CPU variables located by BTF)"
            if triggers
            else "unknown: this kernel keeps no per-CPU preempt count and pending mask",
            None,
        ),
    ]


def _toll() -> Probe:
    toll = Toll.load()
    if toll is None:
        return Probe(
            "toll", False, "not calibrated for this host and kernel", "nettax canary --calibrate"
        )
    detail = ", ".join(
        f"{p.ns / 1e3:.2f} µs [{p.low / 1e3:.2f}, {p.high / 1e3:.2f}] at {p.rate:.0f}/s"
        for p in toll.points
    )
    return Probe("toll", True, detail, None)
