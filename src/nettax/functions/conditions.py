"""The preprocessor's conditions in the kernel's headers, as its configuration decides them.

A condition is true, false, or not known: what is not of the configuration is not guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["active_lines", "read_config"]

_TOKEN = re.compile(
    r"\s*(?:(defined|IS_ENABLED|IS_BUILTIN|IS_MODULE|IS_REACHABLE)\s*\(?\s*(\w+)\s*\)?|(&&|\|\||!|\(|\))|(\w+)|(.))"
)
_KNOWN = {"__KERNEL__": True, "__ASSEMBLY__": False, "__ASSEMBLER__": False, "__CHECKER__": False}
Truth = bool | None


def read_config(autoconf: Path) -> dict[str, str]:
    """include/generated/autoconf.h: the options that are set; a module's ends with _MODULE."""
    lines = autoconf.read_text().splitlines()
    return dict(re.findall(r"#define (\w+) (.*)", "\n".join(lines)))


def active_lines(lines: list[str], config: dict[str, str]) -> Iterator[tuple[int, str, bool]]:
    """Lines that are not surely left out: number, text, and whether they are surely in."""
    stack: list[tuple[Truth, Truth]] = []  # this branch, and whether one before it was taken
    number = 0
    while number < len(lines):
        line, at = lines[number], number
        while line.endswith("\\") and line.lstrip().startswith("#if") and number + 1 < len(lines):
            number += 1
            line = line[:-1] + lines[number]
        number += 1
        word = re.match(r"\s*#\s*(ifdef|ifndef|if|elif|else|endif)\b(.*)", line)
        if not word:
            truths = [truth for truth, _ in stack]
            if False not in truths:
                yield at + 1, line, None not in truths
        elif word[1] == "endif":
            if stack:
                stack.pop()
        elif word[1] in ("else", "elif"):
            if stack:
                _, before = stack.pop()
                mine = True if word[1] == "else" else _evaluate(word[2], config)
                stack.append((_and(_not(before), mine), _or(before, mine)))
        else:
            text = word[2] if word[1] == "if" else f"defined({word[2].split()[0]})"
            truth = _evaluate(text, config)
            truth = _not(truth) if word[1] == "ifndef" else truth
            if word[1] == "ifndef" and _is_guard(word[2].split()[0], lines[number : number + 1]):
                truth = True
            stack.append((truth, truth))


def _is_guard(name: str, following: list[str]) -> bool:
    """Whether it keeps a header from being read twice: what follows defines the name."""
    return "_H" in name.upper() and any(
        re.fullmatch(rf"\s*#\s*define\s+{name}\s*", line) for line in following
    )


def _not(a: Truth) -> Truth:
    return None if a is None else not a


def _and(a: Truth, b: Truth) -> Truth:
    if a is False or b is False:
        return False
    return None if a is None or b is None else True


def _or(a: Truth, b: Truth) -> Truth:
    return _not(_and(_not(a), _not(b)))


def _option(test: str, name: str, config: dict[str, str]) -> Truth:
    if test == "defined":
        if name in _KNOWN:
            return _KNOWN[name]
        return name in config if name.startswith("CONFIG_") else None
    builtin, module = name in config, name + "_MODULE" in config
    return {"IS_BUILTIN": builtin, "IS_MODULE": module}.get(test, builtin or module)


def _evaluate(text: str, config: dict[str, str]) -> Truth:
    """`||` of `&&` of terms; anything else (a comparison, say) is not known."""
    tokens: list[tuple[str, ...]] = list(_TOKEN.findall(re.sub(r"/\*.*?\*/|//.*", "", text)))
    if any(other for *_, other in tokens if other.strip()):
        return None
    at = 0

    def term() -> Truth:
        nonlocal at
        if at >= len(tokens):
            return None
        test, name, operator, word, _ = tokens[at]
        at += 1
        if operator == "!":
            return _not(term())
        if operator == "(":
            inside = either()
            at += 1
            return inside
        if test:
            return _option(test, name, config)
        if word.isdigit():
            return bool(int(word))
        return config.get(word) == "1" if word.startswith("CONFIG_") else None

    def both() -> Truth:
        nonlocal at
        found = term()
        while at < len(tokens) and tokens[at][2] == "&&":
            at += 1
            found = _and(found, term())
        return found

    def either() -> Truth:
        nonlocal at
        found = both()
        while at < len(tokens) and tokens[at][2] == "||":
            at += 1
            found = _or(found, both())
        return found

    return either()
