"""Whether a symbol can be probed, why not, and what to probe instead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nettax.functions.backends import checked_name, covering
from nettax.functions.headers import Definition, Headers
from nettax.kernel.kallsyms import Kallsyms

__all__ = ["Explanation", "Kernel", "Step", "explain"]

_DEEPEST = 5  # calls from a macro to a function
_MOST_LOOKED_UP = 40


@dataclass(frozen=True)
class Kernel:
    """What a kernel says of its symbols; what it does not tell is None, with the reason."""

    symbols: Kallsyms
    traceable: Mapping[str, frozenset[str]] | None
    """The functions that ftrace can trace, with their modules ("": none)."""
    blacklist: frozenset[str] | None
    headers: Headers
    loaded: frozenset[str] = frozenset()
    in_modules: Callable[[str], Iterable[tuple[str, bool]]] = lambda name: ()
    """Modules that are not loaded and have a symbol of that name, and whether it is a function."""
    untold: tuple[str, ...] = ()
    """What the kernel does not tell, and why."""
    unread: tuple[str, ...] = ()
    """Why there are no headers, and how to have some; empty where there are."""


@dataclass(frozen=True, slots=True)
class Step:
    """One link: a name, what it is, and where that is said."""

    name: str
    kind: str
    where: str


@dataclass(frozen=True)
class Explanation:
    """The answer."""

    symbol: str
    kind: str
    """``function``, ``macro``, ``static inline``, ``inlined``, ``renamed``, ``notrace``,
    ``blacklisted``, ``data``, ``module`` (that is not loaded), ``absent`` (declared, but nowhere in
    this kernel), ``unknown``."""
    kprobe: bool | None
    """Whether a kprobe can be put on it; None: this kernel does not tell."""
    graph: bool | None
    """Whether ftrace can trace it: fentry, function_graph."""
    evidence: tuple[str, ...]
    instead: tuple[tuple[Step, ...], ...] = ()
    """Ways to something that can be probed, which is each one's last step."""
    chain: str | None = None
    """The chain of tracepoints that covers it."""


def explain(symbol: str, kernel: Kernel) -> Explanation:
    """Say what a symbol is to this kernel.

    In the order of what decides: what can be traced, kallsyms, the compiler's variants, modules
    that are not loaded, the headers.

    :raises UsageError: it is no symbol's name
    """
    checked_name(symbol)
    for look in (_known, _renamed, _unloaded, _defined):
        if found := look(symbol, kernel):
            return found
    return Explanation(
        symbol,
        "unknown",
        False,
        False,
        _nowhere(kernel),
    )


def _nowhere(kernel: Kernel) -> tuple[str, ...]:
    """Where a name is not, and where it was not looked for."""
    if not kernel.headers:
        return (
            "kallsyms does not have it, so there is no function of this name to probe",
            "whether it is a macro, an inline, or nothing at all, only headers tell",
            *kernel.unread,
        )
    return (
        "neither kallsyms nor the headers have it",
        "a static function that the compiler inlined leaves no trace in either; "
        "its sources would tell (--headers takes any directory)",
    )


def _known(symbol: str, kernel: Kernel) -> Explanation | None:
    found = kernel.symbols.get(symbol)
    modules = None if kernel.traceable is None else kernel.traceable.get(symbol)
    if not found and modules is None:
        return None
    evidence = [
        f"kallsyms: {s.kind} {s.name}{f' [{s.module}]' if s.module else ''}" for s in found[:3]
    ]
    code = [s for s in found if s.is_code]
    if found and not code:
        return Explanation(symbol, "data", False, False, (*evidence, f"{found[0].kind} is no code"))
    if len(code) > 1:
        evidence.append(
            f"{len(code)} functions have this name: since Linux 6.6 a probe by name is refused, "
            "before it takes the first"
        )
    forbidden = None if kernel.blacklist is None else symbol in kernel.blacklist
    if forbidden:
        evidence.append("on the kprobe blacklist: kprobes themselves, or entry code, run it")
    if kernel.traceable is None:
        kind = "blacklisted" if forbidden else "function"
        evidence += kernel.untold
        return _with_chain(
            Explanation(symbol, kind, False if forbidden else None, None, tuple(evidence))
        )
    if modules is None:
        evidence.append(
            "not in available_filter_functions: notrace, assembly, or __init; kprobes are refused "
            "there, too (CONFIG_KPROBE_EVENTS_ON_NOTRACE)"
        )
        kind = "blacklisted" if forbidden else "notrace"
        inlines = [d for d in _bodies(kernel.headers, symbol) if d.kind == "static inline"]
        if inlines and not forbidden and any(s.kind == "t" for s in code):
            kind = "static inline"
            evidence.append(
                f"static inline at {inlines[0].where}; what is in kallsyms is a copy that was not "
                "inlined, and inlines are notrace (include/linux/compiler_types.h)"
            )
        return Explanation(symbol, kind, False, False, tuple(evidence), _callees(symbol, kernel))
    evidence.append("available_filter_functions has it")
    kind = "blacklisted" if forbidden else "function"
    return _with_chain(Explanation(symbol, kind, not forbidden, True, tuple(evidence)))


def _with_chain(found: Explanation) -> Explanation:
    chain = covering(found.symbol)
    if chain is None or found.kprobe:
        return found
    return Explanation(
        found.symbol, found.kind, found.kprobe, found.graph, found.evidence, found.instead, chain
    )


def _renamed(symbol: str, kernel: Kernel) -> Explanation | None:
    variants = [s for s in kernel.symbols.variants(symbol) if s.is_code]
    real = [s for s in variants if ".cold" not in s.name and not s.name.endswith("__")]
    if not real:
        return None
    meanings = {
        "constprop": "a copy with constant arguments",
        "isra": "without the arguments that it does not use",
        "part": "a part; the rest is inlined in its callers",
        "llvm": "a local name made global",
    }
    ways = tuple(
        (Step(s.name, meanings.get(s.name.split(".")[1], "the compiler's variant"), "kallsyms"),)
        for s in real
        if _can(s.name, kernel)
    )
    evidence = ("kallsyms has it only as " + ", ".join(s.name for s in real),)
    return Explanation(symbol, "renamed", False, False, evidence, ways)


def _unloaded(symbol: str, kernel: Kernel) -> Explanation | None:
    found = list(kernel.in_modules(symbol))
    if not found:
        return None
    evidence = tuple(
        f"module {name}, which is not loaded, has this {'function' if code else 'variable'}"
        for name, code in found[:3]
    )
    ways = ((Step(symbol, f"after `modprobe {found[0][0]}`", "its symbol table"),),)
    if not found[0][1]:
        return Explanation(symbol, "data", False, False, evidence)
    return Explanation(symbol, "module", False, False, evidence, ways)


def _defined(symbol: str, kernel: Kernel) -> Explanation | None:
    definitions = kernel.headers.definitions(symbol)
    if not definitions:
        return None
    bodies = [d for d in definitions if d.kind != "prototype"]
    if not bodies:
        where = definitions[0].where
        evidence = (
            f"declared at {where}, but kallsyms does not have it: not built into this kernel, in a "
            "module, or inlined where it is called",
        )
        return Explanation(symbol, "absent", False, False, evidence)
    kinds = {d.kind for d in bodies}
    if kinds == {"function"}:
        evidence = (
            f"a function at {bodies[0].where}, but kallsyms does not have it: inlined by the "
            "compiler into its callers, or not built",
        )
        ways = tuple(
            (Step(caller, f"calls {symbol}", where),)
            for caller, where in kernel.headers.callers(symbol)
            if _can(caller, kernel)
        )
        return Explanation(symbol, "inlined", False, False, evidence, ways)
    kind = bodies[0].kind if bodies[0].kind != "function" else "static inline"
    told = tuple(
        f"{d.kind} at {d.where}{'' if d.sure else ' (where its #if holds)'}" for d in bodies[:4]
    )
    return Explanation(
        symbol, kind, False, False, ("kallsyms does not have it", *told), _callees(symbol, kernel)
    )


def _can(name: str, kernel: Kernel) -> bool:
    if kernel.traceable is None:
        return any(s.is_code for s in kernel.symbols.get(name))
    return name in kernel.traceable and name not in (kernel.blacklist or ())


def _callees(symbol: str, kernel: Kernel) -> tuple[tuple[Step, ...], ...]:
    """Ways down from a definition to functions that can be probed, the shortest first."""
    ways: dict[str, tuple[Step, ...]] = {}
    front: list[tuple[str, tuple[Step, ...]]] = [(symbol, ())]
    seen, looked_up = {symbol}, 0
    for _ in range(_DEEPEST):
        behind: list[tuple[str, tuple[Step, ...]]] = []
        kernel.headers.look_up([name for name, _ in front[: _MOST_LOOKED_UP - looked_up]])
        for name, way in front:
            looked_up += 1
            if looked_up > _MOST_LOOKED_UP:
                break
            for definition in _bodies(kernel.headers, name):
                step = Step(name, definition.kind, definition.where)
                for callee in definition.calls(name):
                    if _can(callee, kernel):
                        ways.setdefault(
                            callee, (*way, step, Step(callee, "function", "can be probed"))
                        )
                    elif callee not in seen and callee not in kernel.symbols:
                        seen.add(callee)
                        behind.append((callee, (*way, step)))
        front = behind
    return tuple(ways.values())


def _bodies(headers: Headers, name: str) -> list[Definition]:
    found = [d for d in headers.definitions(name) if d.kind in ("macro", "static inline")]
    sure = [d for d in found if d.sure]
    return (sure or found)[:3]


def module_searcher(
    files: Mapping[str, Path], loaded: frozenset[str], exported: Mapping[str, str]
) -> Callable[[str], Iterable[tuple[str, bool]]]:
    """Which module that is not loaded has a symbol.

    `exported` is Module.symvers, by symbol; of what is not exported, the modules whose name the
    symbol's begins with are looked through: all would take minutes.
    """

    def search(symbol: str) -> Iterable[tuple[str, bool]]:
        from nettax.kernel.module_file import symbols

        module = exported.get(symbol)
        stems = {symbol.lstrip("_").split("_")[0]}
        near = [n for n in files if n.split("_")[0] in stems or symbol.startswith(n)]
        for name in dict.fromkeys([*([module] if module else []), *near[:20]]):
            if name in loaded:
                continue
            for found, code in symbols(files[name]) if name in files else ():
                if found == symbol:
                    yield name, code
                    break
            else:
                if name == module:
                    yield name, True

    return search
