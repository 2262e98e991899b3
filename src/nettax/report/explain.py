"""Why a symbol can or cannot be probed, for people."""

from __future__ import annotations

from nettax.functions.explain import Explanation

__all__ = ["text"]

_MOST = 6
_MEANINGS = {
    "function": "a function",
    "macro": "a macro: the kernel has no such symbol",
    "static inline": "a static inline: its code is in its callers",
    "inlined": "a function that the compiler inlined",
    "renamed": "a function that the compiler renamed",
    "notrace": "code that is not traced: notrace, or assembly",
    "blacklisted": "on the kprobe blacklist",
    "data": "data, no code",
    "module": "in a module that is not loaded",
    "absent": "declared, but nowhere in this kernel",
    "unknown": "unknown",
}


def text(found: Explanation) -> str:
    """A verdict, its evidence, and each way to something that can be probed, step by step."""
    lines = [f"{found.symbol}: {_MEANINGS[found.kind]}. {_verdict(found)}"]
    lines += [f"  {evidence}" for evidence in found.evidence]
    if found.chain:
        lines.append(f"  by tracepoints: nettax trace latency {found.chain} covers it")
    if found.instead:
        lines.append("  instead:")
    for way in found.instead[:_MOST]:
        *steps, last = way
        through = " → ".join(f"{step.name} ({step.kind}, {step.where})" for step in steps)
        told = f"    {last.name}"
        lines.append(f"{told}  by {through}" if steps else f"{told}  {last.kind} ({last.where})")
    if len(found.instead) > _MOST:
        lines.append(f"    and {len(found.instead) - _MOST} more: --json")
    return "\n".join(lines)


def _verdict(found: Explanation) -> str:
    if found.kprobe and found.graph:
        return "Can be probed: kprobe, fentry, function_graph"
    if found.graph:
        return "No kprobe; fentry and function_graph can"
    if found.kprobe is None and found.graph is None:
        return "Whether it can be probed, this kernel does not tell"
    return "Cannot be probed"
