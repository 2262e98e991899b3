"""Ask for a capability before using it, so that the user is told its name."""

from __future__ import annotations

from nettax.errors import MissingPrivilege
from nettax.kernel.features import capabilities


def require(capability: str, purpose: str) -> None:
    """Return if this process has ``capability``.

    :raises MissingPrivilege: it has not.
    """
    if capability not in capabilities():
        raise MissingPrivilege(
            f"cannot {purpose}: this needs {capability}.\n"
            'Run it as root: sudo env "PATH=$PATH" nettax …'
        )
