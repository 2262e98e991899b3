"""Build hook: compile the BPF objects with clang and the native library with cc.

The objects land beside their sources, so an editable install finds them in place and a
wheel carries them. They are CO-RE: one build serves every kernel with BTF.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = Path("src/nettax")
# clang's -D__TARGET_ARCH_* (bpf_tracing.h) by machine name.
BPF_ARCH = {"x86_64": "x86", "aarch64": "arm64"}


def compile_bpf(source: Path, target: Path, *defines: str) -> None:
    """Compile one BPF C source to a CO-RE object with BTF and no DWARF."""
    machine = platform.machine()
    multiarch = f"/usr/include/{machine}-linux-gnu"  # where Debian keeps asm/types.h
    run(
        os.environ.get("CLANG", "clang"),
        *(
            "-g",
            "-O2",
            "-target",
            "bpf",
            "-mcpu=v3",
            "-Wall",
            "-Wextra",
            "-Wno-unused-parameter",
            "-Werror",
        ),
        f"-D__TARGET_ARCH_{BPF_ARCH.get(machine, machine)}",
        *defines,
        *(("-I", multiarch) if Path(multiarch).is_dir() else ()),
        *("-c", str(source), "-o", str(target)),
    )
    strip = shutil.which("llvm-strip") or next(
        iter(sorted(Path("/usr/bin").glob("llvm-strip-*"))), None
    )
    if strip:
        run(str(strip), "-g", str(target))


def compile_native(sources: list[Path], target: Path) -> None:
    """Compile the native library."""
    run(
        os.environ.get("CC", "cc"),
        *("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-pthread"),
        *map(str, sources),
        *("-o", str(target)),
    )


def run(*command: str) -> None:
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError as error:
        raise SystemExit(
            f"nettax needs {command[0]} to build: apt install clang llvm libbpf-dev gcc"
        ) from error
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"build failed: {' '.join(command)}") from error


class BuildHook(BuildHookInterface):  # type: ignore[misc]
    """Compile before packaging; name the results so that the wheel includes them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name == "sdist":
            return
        root = Path(self.root) / PACKAGE
        for source in sorted((root / "bpf").glob("*.bpf.c")):
            stem = source.name.removesuffix(".bpf.c")
            compile_bpf(source, source.with_name(f"{stem}.bpf.o"))
            compile_bpf(source, source.with_name(f"{stem}.raw.bpf.o"), "-DNETTAX_RAW_TP")
        sources = sorted((root / "native").glob("*.c"))
        compile_native(sources, root / "native" / "libnettax.so")
        build_data["artifacts"] += ["src/nettax/bpf/*.bpf.o", "src/nettax/native/*.so"]
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
