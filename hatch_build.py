"""Build hook: compile the BPF objects with clang and the native library with cc.

The objects are CO-RE: one build serves every kernel with BTF. An editable install has them beside
their sources; a wheel is built without a change to the tree. NETTAX_MACHINE=aarch64 builds for
another machine than this one, with that machine's cross compiler.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = Path("src/nettax")
BUILD = PACKAGE / "build.json"  # how this was built, for `nettax --version`
# clang's -D__TARGET_ARCH_* (bpf_tracing.h) by machine name.
BPF_ARCH = {"x86_64": "x86", "aarch64": "arm64"}
OLDEST_GLIBC = 17  # 2.17, the first with aarch64; older ones have no Python 3.11


def output(*command: str, cwd: Path | None = None) -> str:
    """Run a tool of the build; what it printed."""
    try:
        run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=cwd)
        return run.stdout
    except FileNotFoundError as error:
        raise SystemExit(
            f"nettax needs {command[0]} to build: apt install clang llvm libbpf-dev gcc"
        ) from error
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"build failed: {' '.join(command)}") from error


class Toolchain:
    """The compilers for one machine; sources are given relative to the root."""

    def __init__(self, root: Path, machine: str) -> None:
        self.root, self.machine = root, machine
        self.triple = f"{machine}-linux-gnu"
        cross = machine != platform.machine()
        self.cc = os.environ.get("CC") or (f"{self.triple}-gcc" if cross else "cc")
        self.clang = os.environ.get("CLANG", "clang")
        # Neither a path nor a date of this machine gets into what is built.
        self._anonymous = f"-ffile-prefix-map={root}=."

    def bpf(self, source: Path, target: Path, *defines: str) -> None:
        """Compile one BPF C source to a CO-RE object with BTF and no DWARF."""
        # Where Debian keeps asm/types.h: of this machine's, or of the cross compiler's libc.
        headers = (f"/usr/include/{self.triple}", f"/usr/{self.triple}/include")
        output(
            self.clang,
            *("-g", "-O2", "-target", "bpf", "-mcpu=v3"),
            *("-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror"),
            f"-D__TARGET_ARCH_{BPF_ARCH.get(self.machine, self.machine)}",
            self._anonymous,
            *defines,
            *(word for path in headers if Path(path).is_dir() for word in ("-idirafter", path)),
            *("-c", str(source), "-o", str(target)),
            cwd=self.root,
        )
        strip = shutil.which("llvm-strip") or next(
            iter(sorted(Path("/usr/bin").glob("llvm-strip-*"))), None
        )
        if strip:
            output(str(strip), "-g", str(target))

    def native(self, sources: list[Path], target: Path, *, shared: bool = True) -> None:
        """Compile the native library, or a program."""
        output(
            self.cc,
            *("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread"),
            *(("-fPIC", "-shared") if shared else ("-fPIE", "-pie")),
            self._anonymous,
            *map(str, sources),
            *("-o", str(target), "-lm"),
            cwd=self.root,
        )

    def names(self) -> dict[str, str]:
        """Which compilers these are, by what they made."""
        return {
            "bpf": output(self.clang, "--version").splitlines()[0],
            "native": output(self.cc, "--version").splitlines()[0],
        }

    def tag(self, *binaries: Path) -> str:
        """The wheel's tag: any Python (ctypes alone meets C), and the oldest glibc that will do.

        PEP 600: manylinux_X_Y is what runs with glibc X.Y; told by the versions of its symbols.
        """
        versions = re.findall(r"GLIBC_2\.(\d+)", output("readelf", "-W", "-V", *map(str, binaries)))
        newest = max(OLDEST_GLIBC, *map(int, versions)) if versions else None
        libc = f"manylinux_2_{newest}" if newest else "linux"
        return f"py3-none-{libc}_{self.machine}"


def commit(root: Path) -> str | None:
    """The commit of this tree, marked where it was changed; what the sdist says outside git."""
    if not (root / ".git").exists():
        kept = root / BUILD
        return json.loads(kept.read_text())["commit"] if kept.exists() else None
    git = ("git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty=+changes")
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, or a tree that is another user's
        return None


def man_page(name: str, text: str, version: str) -> str:
    """A page of nettax.cli.manual as roff, dated by SOURCE_DATE_EPOCH."""
    from docutils.core import publish_string
    from docutils.writers import manpage

    when = time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time())))
    about = {
        "manual_section": "1",
        "manual_group": "nettax",
        "date": time.strftime("%Y-%m-%d", when),
        "version": f"nettax {version}",
    }
    fields = "".join(f":{key}: {value}\n" for key, value in about.items())
    head, first, rest = text.partition("Synopsis\n")
    settings = {"report_level": 2, "halt_level": 2, "output_encoding": "unicode"}
    source = f"{head}{fields}\n{first}{rest}"
    roff: str = publish_string(source, writer=manpage.Writer(), settings_overrides=settings)
    # As man(7) has them: headings in capitals, and no empty line below one.
    return re.sub(r"^\.SH (.*)\n(\.sp\n)?", lambda h: f".SH {h[1].upper()}\n", roff, flags=re.M)


def verbs() -> dict[str, Any]:
    """What every verb takes, for completion."""
    import click

    from nettax.cli import VERBS, cli
    from nettax.cli.completion import described

    context = click.Context(cli)
    return {v: described(command) for v in VERBS if (command := cli.get_command(context, v))}


def shared_files(version: str) -> dict[str, str]:
    """What goes to share/ beside Python's: man pages and completions."""
    from click.shell_completion import ShellComplete, get_completion_class

    from nettax.cli import cli, manual

    files = {f"man/man1/{n}.1": man_page(n, manual.page(n), version) for n in manual.NAMES}
    for shell, path in {
        "bash": "bash-completion/completions/nettax",
        "zsh": "zsh/site-functions/_nettax",
        "fish": "fish/vendor_completions.d/nettax.fish",
    }.items():
        kind = get_completion_class(shell) or ShellComplete
        # Not the class's own source(), which asks the bash of the machine that builds.
        text = ShellComplete.source(kind(cli, {}, "nettax", "_NETTAX_COMPLETE"))
        # click's script for fish cuts values and their meanings at any comma, not the first.
        files[path] = text.replace('string split ","', 'string split --max 1 ","')
    return files


class BuildHook(BuildHookInterface):  # type: ignore[misc]
    """Compile before packaging; tell hatch where the results go."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        # Until the builder ends: what it asks for metadata alone has no `finalize`.
        self._directory = tempfile.TemporaryDirectory(prefix="nettax-build-")
        self.scratch = Path(self._directory.name)
        if self.target_name == "sdist":
            self._include(build_data, self._told(root, {}), BUILD)
            return
        editable = version == "editable"
        machine = "" if editable else os.environ.get("NETTAX_MACHINE", "")
        tools = Toolchain(root, machine or platform.machine())
        made = self._compile(root, tools)
        build_data["tag"] = tools.tag(*made[-3:])
        build_data["pure_python"] = False
        facts = {"machine": tools.machine, "editable": editable, **tools.names()}
        for path in (*made, self._told(root, facts)):
            relative = path.relative_to(self.scratch)
            if editable:  # put in place at once: a running nettax keeps what it has mapped
                shutil.copy(path, (root / relative).with_suffix(".new"))
                (root / relative).with_suffix(".new").replace(root / relative)
            else:
                self._include(build_data, path, relative.relative_to("src"))
        if not editable:
            sys.path.insert(0, str(root / "src"))  # what follows is said by nettax itself
            self._completion(build_data)
            self._share(build_data)

    def _include(self, build_data: dict[str, Any], path: Path, where: Path) -> None:
        build_data["force_include"][str(path)] = str(where)

    def _compile(self, root: Path, tools: Toolchain) -> list[Path]:
        """All objects under their paths of the tree; the program, the plugin, the library last."""
        bpf, native, servers = PACKAGE / "bpf", PACKAGE / "native", PACKAGE / "servers"
        for directory in (bpf, native, servers):
            (self.scratch / directory).mkdir(parents=True)
        made = []
        for source in sorted((root / bpf).glob("*.bpf.c")):
            stem = source.name.removesuffix(".bpf.c")
            for name, defines in ((stem, ()), (f"{stem}.raw", ("-DNETTAX_RAW_TP",))):
                made.append(self.scratch / bpf / f"{name}.bpf.o")
                tools.bpf(bpf / source.name, made[-1], *defines)
        made.append(self.scratch / servers / "nettax-server")
        sources = [servers / path.name for path in sorted((root / servers).glob("*.c"))]
        tools.native(sources, made[-1], shared=False)
        (self.scratch / native / "qemu").mkdir()
        made.append(self.scratch / native / "qemu/count.so")
        tools.native([native / "qemu/count.c"], made[-1])
        made.append(self.scratch / native / "libnettax.so")
        tools.native([native / p.name for p in sorted((root / native).glob("*.c"))], made[-1])
        return made

    def _completion(self, build_data: dict[str, Any]) -> None:
        path = self.scratch / "completion.json"
        path.write_text(json.dumps(verbs()))
        self._include(build_data, path, Path("nettax/cli/completion.json"))

    def _share(self, build_data: dict[str, Any]) -> None:
        for name, text in shared_files(self.metadata.version).items():
            path = self.scratch / "share" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            build_data["shared_data"][str(path)] = f"share/{name}"

    def _told(self, root: Path, facts: dict[str, Any]) -> Path:
        """Write down how this was built."""
        path = self.scratch / BUILD
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"commit": commit(root), **facts}, indent=1) + "\n")
        return path
