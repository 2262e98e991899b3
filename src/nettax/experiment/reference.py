"""What a canary does undisturbed, kept for later: the speed against which a loss is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nettax.canary.openssl import BlockSpeed, OpensslSpeed
from nettax.host.state import keep, kept

__all__ = ["keep_openssl", "keep_rate", "kept_openssl", "kept_rate"]


def keep_rate(engine: str, cpu: int, rate: float) -> Path:
    """Keep a rate, in iterations per second of wall time; return where."""
    return keep(_name(engine, cpu), {"rate": rate})


def kept_rate(engine: str, cpu: int) -> float | None:
    """The kept rate; None if there is none."""
    found = kept(_name(engine, cpu))
    return None if found is None else float(found["rate"])


def keep_openssl(cpu: int, speed: OpensslSpeed) -> Path:
    """Keep a run of openssl speed; return where."""
    return keep(_name("openssl", cpu), asdict(speed))


def kept_openssl(cpu: int) -> OpensslSpeed | None:
    """The kept run; None if there is none."""
    found: Mapping[str, Any] | None = kept(_name("openssl", cpu))
    if found is None:
        return None
    return OpensslSpeed(**{**found, "blocks": tuple(BlockSpeed(**b) for b in found["blocks"])})


def _name(engine: str, cpu: int) -> str:
    return f"canary-{engine}-cpu{cpu}"
