"""The toll: what an interrupt costs outside every tracepoint.

Tracepoints sit inside the handlers; entering and leaving an interrupt (the mode switch, saving
registers, the handler's cold caches, mitigations) happens outside them. `experiment.calibration`
measures that cost per interrupt on this host; it is kept here, per host, kernel and version of
nettax, and charged as interrupts × cost. Nothing is ever fitted to the run that it explains.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import nettax
from nettax.errors import NettaxError
from nettax.ledger.rows import TollShare

__all__ = ["Toll"]


@dataclass(frozen=True, slots=True)
class Toll:
    """Cost of one interrupt outside the tracepoints, ns, with the ledger attached."""

    ns: float
    low: float
    high: float
    """Bounds of the confidence interval."""
    own_ns: float
    """How much of `ns` and of the traced time the ledger's own programs add per interrupt."""
    windows: int
    """How many pairs of windows it was measured in."""
    host: str
    kernel: str
    version: str

    def charge(self, interrupts: int) -> TollShare:
        """The toll of a number of interrupts."""
        return TollShare(
            round(interrupts * self.ns), round(interrupts * self.low), round(interrupts * self.high)
        )

    def save(self) -> Path:
        """Keep it for later runs on this host.

        :raises NettaxError: the file cannot be written
        """
        path = _path()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".new")
            partial.write_text(json.dumps(asdict(self), indent=1))
            partial.replace(path)
        except OSError as error:
            raise NettaxError(f"cannot keep the calibration in {path}: {error.strerror}") from error
        return path

    @classmethod
    def load(cls) -> Self | None:
        """The calibration of this host, kernel and version; None if there is none."""
        try:
            found = cls(**json.loads(_path().read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return found if (found.host, found.kernel, found.version) == identity() else None


def identity() -> tuple[str, str, str]:
    """What a calibration holds for: machine id, kernel release, version of nettax."""
    try:
        host = Path("/etc/machine-id").read_text().strip()
    except OSError:
        host = os.uname().nodename
    return host, os.uname().release, nettax.__version__


def _path() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/nettax/toll.json")
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(state) / "nettax/toll.json"
