"""What the kernel's headers, or any C sources, define under a name: macros, inlines, prototypes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from nettax.functions.conditions import active_lines, read_config
from nettax.kernel import head_lines

__all__ = ["Definition", "Headers"]

_LONGEST = 200  # lines of a definition
# Checks and complaints: what they call is not what a caller is about.
_COMPLAINT = re.compile(r"(WARN|BUG|VM_|BUILD_BUG|pr_|lockdep_|might_|trace_)\w*|printk\w*|panic")
_NOT_CALLS = frozenset(
    (
        "if",
        "while",
        "for",
        "switch",
        "return",
        "sizeof",
        "typeof",
        "__typeof__",
        "typeof_member",
        "offsetof",
        "likely",
        "unlikely",
        "defined",
        "do",
        "else",
        "case",
        "__attribute__",
        "__aligned",
        "__always_unused",
        "__maybe_unused",
        "__acquires",
        "__releases",
        "__must_hold",
        "asm",
        "volatile",
        "alignof",
        "_Generic",
        "__alignof__",
        "__section",
    )
)


class Definition(NamedTuple):
    """One that this kernel's configuration does not leave out."""

    kind: str
    """``macro``, ``static inline``, ``function`` (of a C file), ``prototype``."""
    where: str
    """File and line, below the root."""
    body: str
    sure: bool
    """Whether the configuration surely leaves it in."""

    def calls(self, name: str) -> list[str]:
        """What it calls, in order; of a macro also what it is another name for."""
        found = re.findall(r"\b([A-Za-z_]\w*)\s*\(", self.body)
        if self.kind == "macro" and (alias := re.fullmatch(r"\s*\(?\s*(\w+)\s*\)?\s*", self.body)):
            found.append(alias[1])
        return [
            word
            for word in dict.fromkeys(found)
            if word not in _NOT_CALLS and word != name and not _COMPLAINT.fullmatch(word)
        ]


class Headers:
    """Trees to look in: a kernel's headers as a distribution packs them, or a module's sources."""

    def __init__(self, roots: Sequence[Path]) -> None:
        """Look below these directories; of a kernel's, in include/ and arch/*/include/."""
        self._roots = [found for root in roots for found in _with_common(root)]
        self._definitions: dict[str, list[Definition]] = {}

    @cached_property
    def _config(self) -> dict[str, str]:
        for root in self._roots:
            if (path := root / "include/generated/autoconf.h").exists():
                return read_config(path)
        return {}

    @cached_property
    def _places(self) -> list[Path]:
        places = []
        machines: set[str] = set()
        for root in self._roots:
            if (root / "include").is_dir():
                architectures = sorted(root.glob("arch/*/include"))
                if (root / "include/generated").is_dir():  # configured, for one machine
                    machines = {path.parent.name for path in architectures}
                places += [root / "include", *architectures]
            else:
                places.append(root)
        return [p for p in places if p.parent.parent.name != "arch" or p.parent.name in machines]

    def __bool__(self) -> bool:
        return bool(self._places)

    def definitions(self, name: str) -> list[Definition]:
        """All definitions and prototypes of a name; macros that only name themselves are none.

        What has a body stands before what has none.
        """
        self.look_up([name])
        return self._definitions[name]

    def look_up(self, names: Sequence[str]) -> None:
        """Find the definitions of several names at once, which takes little longer than of one."""
        new = [name for name in dict.fromkeys(names) if name not in self._definitions]
        if not new:
            return
        self._definitions |= {name: [] for name in new}
        any_of = "(" + "|".join(map(re.escape, new)) + ")"
        heads = rf"[ \t]*#[ \t]*define[ \t]+{any_of}\b|([A-Za-z_].*[ *])?{any_of}[ \t]*\("
        for path in sorted(self._files(rf"^(?:{heads})", self._rest) | self._among_lines(heads)):
            for name, definition in self._in(path, new):
                self._definitions[name].append(definition)
        for name in new:
            self._definitions[name].sort(key=lambda d: (d.kind == "prototype", not d.sure))

    def callers(self, name: str) -> Iterator[tuple[str, str]]:
        """Functions with bodies that call a name, in the trees' C files: name, and where."""
        for path in sorted(self._files(rf"\b{name}[ \t]*\(", self._places)):
            if path.suffix == ".c":
                lines = path.read_text(errors="replace").splitlines()
                for at, line in enumerate(lines):
                    head = re.match(r"[A-Za-z_][^;=]*?\b(\w+)\s*\([^;]*$", line)
                    if head and head[1] != name:
                        body = _braced(lines, at)
                        if body and re.search(rf"\b{re.escape(name)}\s*\(", body):
                            yield head[1], f"{self._shown(path)}:{at + 1}"

    @cached_property
    def _rest(self) -> list[Path]:
        """The places whose lines have not been gathered."""
        done = [root for root in self._roots if head_lines.gathered(root)]
        return [p for p in self._places if not any(p.is_relative_to(root) for root in done)]

    def _among_lines(self, pattern: str) -> set[Path]:
        """As `_files`, by the lines that have been gathered."""
        done = [root for root in self._roots if head_lines.gathered(root)]
        found = {path for root in done for path in head_lines.files_with(root, pattern)}
        return {path for path in found if any(path.is_relative_to(p) for p in self._places)}

    def _files(self, pattern: str, places: Sequence[Path]) -> set[Path]:
        if not places:
            return set()
        return set(map(Path, head_lines.grep(pattern, "-rl", "--include=*.[ch]", *places)))

    def _shown(self, path: Path) -> str:
        for root in self._roots:
            if path.is_relative_to(root):
                return str(path.relative_to(root))
        return str(path)

    def _in(self, path: Path, names: Sequence[str]) -> Iterator[tuple[str, Definition]]:
        lines = path.read_text(errors="replace").splitlines()
        words = re.compile(r"\b(?:" + "|".join(map(re.escape, names)) + r")\b")
        for number, line, sure in active_lines(lines, self._config):
            for name in dict.fromkeys(words.findall(line)):
                where = f"{self._shown(path)}:{number}"
                if found := _definition(name, lines, number - 1, path.suffix == ".c"):
                    yield name, Definition(found[0], where, found[1], sure)


def _definition(name: str, lines: list[str], at: int, in_c: bool) -> tuple[str, str] | None:
    """What a line begins to define under a name, and its body; None: it only has the name in it."""
    line, word = lines[at], re.escape(name)
    if macro := re.match(rf"\s*#\s*define\s+{word}(\([^)]*\))?(?=\s|$)(.*)", line):
        body = _continued(lines, at, macro[2])
        return None if body.strip() == name else ("macro", body)
    head = rf"(?:[A-Za-z_](?:[\w\s*]|\([\w, ]*\))*[\s*])?{word}\s*\("
    if line.startswith(("return", "else")) or not re.match(head, line):
        return None
    before = lines[at - 1] if at else ""
    if before.rstrip().endswith(("}", ";")):
        before = ""
    inline = re.search(r"\b(__)?(always_)?inline(__)?\b", f"{before} {line}")
    if body := _braced(lines, at) or "":
        return ("static inline" if inline else "function", body) if inline or in_c else None
    declares = not in_c and line.split("(")[0].strip().count(" ")
    return ("prototype", "") if declares else None


def _with_common(root: Path) -> list[Path]:
    """A root, and the one that its Makefile includes: Debian packs what all flavours share once."""
    try:
        first = (root / "Makefile").read_text().splitlines()[0]
    except (OSError, IndexError):
        return [root]
    if not (match := re.fullmatch(r"include (/\S+)/Makefile", first)):
        return [root]
    beside = root.resolve().parent / Path(match[1]).name  # unpacked elsewhere
    return [root, beside if beside.is_dir() else Path(match[1])]


def _continued(lines: list[str], at: int, first: str) -> str:
    body = [first]
    while lines[at].endswith("\\") and len(body) < _LONGEST and at + 1 < len(lines):
        at += 1
        body.append(lines[at])
    return _bare("\n".join(part.rstrip("\\") for part in body))


def _braced(lines: list[str], at: int) -> str | None:
    """The body of a function whose head begins here; None: it has none."""
    text = _bare("\n".join(lines[at : at + _LONGEST]))
    depth = 0
    begin: int | None = None
    for i, letter in enumerate(text):
        if letter == ";" and begin is None:
            return None
        if letter == "{":
            begin = i if begin is None else begin
            depth += 1
        elif letter == "}" and begin is not None:
            depth -= 1
            if not depth:
                return text[begin : i + 1]
    return None


def _bare(text: str) -> str:
    """Text without comments and strings."""
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', " ", text, flags=re.DOTALL)
