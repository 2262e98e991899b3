"""What a canary does undisturbed, kept for later: the speed against which a loss is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nettax.canary.openssl import BlockSpeed, OpensslSpeed
from nettax.canary.working_set import Speed
from nettax.host.state import keep, kept

__all__ = [
    "keep_openssl",
    "keep_speed",
    "keep_working_set",
    "kept_openssl",
    "kept_speed",
    "kept_working_set",
]


def keep_speed(engine: str, cpu: int, speed: float) -> Path:
    """Keep an undisturbed speed, in the engine's own unit (see `report.canary.speed`)."""
    return keep(_name(engine, cpu), {"speed": speed})


def kept_speed(engine: str, cpu: int) -> float | None:
    """The kept speed; None if there is none."""
    found = kept(_name(engine, cpu))
    return None if found is None else float(found["speed"])


def keep_openssl(cpu: int, speed: OpensslSpeed) -> Path:
    """Keep a run of openssl speed; return where."""
    return keep(_name("openssl", cpu), asdict(speed))


def kept_openssl(cpu: int) -> OpensslSpeed | None:
    """The kept run; None if there is none."""
    found: Mapping[str, Any] | None = kept(_name("openssl", cpu))
    if found is None:
        return None
    return OpensslSpeed(**{**found, "blocks": tuple(BlockSpeed(**b) for b in found["blocks"])})


def keep_working_set(cpu: int, size: int, huge_pages: bool, speed: Speed) -> Path:
    """Keep the undisturbed speed of a working set of `size` bytes; return where."""
    return keep(_name(_pages(size, huge_pages), cpu), asdict(speed))


def kept_working_set(cpu: int, size: int, huge_pages: bool) -> Speed | None:
    """The kept speed; None if there is none."""
    found = kept(_name(_pages(size, huge_pages), cpu))
    return None if found is None else Speed(**found)


def _pages(size: int, huge_pages: bool) -> str:
    return f"working-set-{size}{'-huge' if huge_pages else ''}"


def _name(engine: str, cpu: int) -> str:
    return f"canary-{engine}-cpu{cpu}"
