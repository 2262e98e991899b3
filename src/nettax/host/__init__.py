"""What nettax changes on the host, and how each change is undone."""

from __future__ import annotations

from nettax.host.process import spawn

__all__ = ["spawn"]
