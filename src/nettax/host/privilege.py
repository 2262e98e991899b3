"""Ask for a capability before using it, so that the user is told its name."""

from __future__ import annotations

from pathlib import Path

from nettax.errors import MissingPrivilege

# include/uapi/linux/capability.h
_NUMBER = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}


def require(capability: str, purpose: str) -> None:
    """Return if this process has ``capability``.

    :raises MissingPrivilege: it has not.
    """
    status = Path("/proc/thread-self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    if not effective >> _NUMBER[capability] & 1:
        raise MissingPrivilege(
            f"cannot {purpose}: this needs {capability}.\n"
            'Run it as root: sudo env "PATH=$PATH" nettax …'
        )
