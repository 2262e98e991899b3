"""All load tools that nettax knows, by name."""

from __future__ import annotations

from collections.abc import Mapping

from nettax.errors import UsageError
from nettax.load import ab, h2load, htstress, iperf3, netperf, own, sockperf, wrk
from nettax.load.tool import Kind, Tool

__all__ = ["TOOLS", "tools"]

TOOLS: Mapping[str, Tool] = {
    module.TOOL.name: module.TOOL
    for module in (wrk, ab, h2load, htstress, sockperf, iperf3, netperf, own)
}
UNKNOWN: Mapping[str, str] = {
    "oha": "it has no Debian package, and nettax cannot read what it prints",
}
"""Tools that are asked for, and why they are not there."""


def tools(kind: Kind, names: str) -> tuple[Tool, ...]:
    """Tools by name, with commas between them.

    :raises UsageError: there is no such tool for this kind of load, or it is not installed.
    """
    known = {name: tool for name, tool in TOOLS.items() if kind in tool.kinds}
    found = []
    for name in names.split(","):
        if name in UNKNOWN:
            raise UsageError(f"{name} is not supported: {UNKNOWN[name]}.")
        if name not in known:
            raise UsageError(f"load {kind} has no tool {name!r}: it has {', '.join(known)}.")
        known[name].find()
        found.append(known[name])
    if len(set(names.split(","))) < len(found):
        raise UsageError(f"--tool names a tool twice: {names}.")
    return tuple(found)
