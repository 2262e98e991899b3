"""/proc/net/softnet_stat: what each CPU's packet backlog did.

Source: net/core/net-procfs.c (softnet_seq_show). One line for each online CPU, hexadecimal;
columns were only ever added at the end, and what was retired prints zero. The counters belong
to the machine, not to a network namespace, wherever the file is read, and have 32 bits: take
differences modulo 2³².
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nettax.kernel import cpus
from nettax.kernel.files import StrPath, read_text

__all__ = ["SoftnetStat", "parse_softnet_stat", "softnet_stat"]

# Columns, counted from 0. Three to seven are retired and read zero; eight was cpu_collision.
_RECEIVED_RPS = 9
_FLOW_LIMIT = 10
_BACKLOG = 11
_CPU = 12


@dataclass(frozen=True, slots=True)
class SoftnetStat:
    """One CPU's line; counts since boot. None is what this kernel does not tell."""

    cpu: int
    processed: int
    """Packets received on this CPU, after RPS, and once more for each VLAN or bond above."""
    dropped: int
    """Packets lost because the backlog was full (net.core.netdev_max_backlog)."""
    time_squeeze: int
    """Times that net_rx_action() stopped with work left: its budget or its time was used up."""
    received_rps: int | None
    """IPIs by which another CPU told this one of packets that RPS gave it."""
    flow_limit: int | None
    """Packets lost to net.core.flow_limit_cpu_bitmap."""
    backlog: int | None
    """Packets that wait in the backlog now."""


def softnet_stat(proc: StrPath = "/proc", sys: StrPath = "/sys") -> dict[int, SoftnetStat]:
    """Read /proc/net/softnet_stat, by CPU."""
    text = read_text(f"{proc}/net/softnet_stat")
    return {row.cpu: row for row in parse_softnet_stat(text, cpus.online(sys))}


def parse_softnet_stat(text: str, online: Sequence[int]) -> list[SoftnetStat]:
    """Parse the file's text, whatever kernel printed it.

    Lines of kernels that do not print the CPU (fewer than 13 columns) belong to the `online`
    CPUs in order.

    :raises ValueError: if such a file has not one line for each online CPU.
    """
    rows = [[int(column, 16) for column in line.split()] for line in text.splitlines()]
    if all(len(row) > _CPU for row in rows):
        online = [row[_CPU] for row in rows]
    return [_row(cpu, row) for cpu, row in zip(online, rows, strict=True)]


def _row(cpu: int, row: list[int]) -> SoftnetStat:
    def optional(column: int) -> int | None:
        return row[column] if len(row) > column else None

    return SoftnetStat(
        cpu=cpu,
        processed=row[0],
        dropped=row[1],
        time_squeeze=row[2],
        received_rps=optional(_RECEIVED_RPS),
        flow_limit=optional(_FLOW_LIMIT),
        backlog=optional(_BACKLOG),
    )
