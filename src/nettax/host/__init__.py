"""What nettax changes on the host, journalled before it is made and undone afterwards."""

from __future__ import annotations

from nettax.host.host import Host
from nettax.host.process import spawn
from nettax.host.recovery import Undone, recover

__all__ = ["Host", "Undone", "recover", "spawn"]
