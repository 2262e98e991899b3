"""What a network namespace counts: /proc/PID/net/snmp, netstat and sockstat.

Sources: net/ipv4/proc.c (snmp_seq_show, netstat_seq_show, sockstat_seq_show); what the counters
mean is in Documentation/networking/snmp_counter.rst. They belong to the namespace of the process
through whose directory they are read.
"""

from __future__ import annotations

from collections.abc import Mapping

from nettax.kernel.files import StrPath, read_text

__all__ = ["counters", "difference", "sockstat"]


def counters(pid: int | str = "self", proc: StrPath = "/proc") -> dict[str, int]:
    """Counts since the namespace was made, by ``group.name``: ``TcpExt.ListenOverflows``.

    :raises OSError: the process has ended.
    """
    found: dict[str, int] = {}
    for name in ("snmp", "netstat"):
        lines = read_text(f"{proc}/{pid}/net/{name}").splitlines()
        # Pairs of lines: names, then values; both begin with the group.
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            group, _, rest = names.partition(":")
            for key, value in zip(rest.split(), values.partition(":")[2].split(), strict=True):
                found[f"{group}.{key}"] = int(value)
    return found


def difference(now: Mapping[str, int], then: Mapping[str, int]) -> dict[str, int]:
    """What was counted in between, of what both have; nothing is left out."""
    return {name: count - then[name] for name, count in now.items() if name in then}


def sockstat(pid: int | str = "self", proc: StrPath = "/proc") -> dict[str, int]:
    """Sockets that there are, by ``group.name``: ``TCP.inuse``, ``TCP.tw`` (in TIME-WAIT).

    :raises OSError: the process has ended.
    """
    found: dict[str, int] = {}
    for line in read_text(f"{proc}/{pid}/net/sockstat").splitlines():
        group, _, rest = line.partition(":")
        words = rest.split()
        for name, value in zip(words[::2], words[1::2], strict=True):
            found[f"{group}.{name}"] = int(value)
    return found
