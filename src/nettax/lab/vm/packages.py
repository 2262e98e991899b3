"""Debian's packages, through apt's own tools: what there is, and how to get it without installing.

Nothing is installed: a package is fetched (apt checks its signature's chain) and unpacked into a
directory. No root is needed.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nettax.errors import MissingFeature, NettaxError

__all__ = [
    "Package",
    "described",
    "fetch",
    "images",
    "mirror",
    "newest",
    "parse",
    "to_install",
    "unpack",
    "update",
]

# Of Debian's flavours the generic one: cloud kernels have no 9p, and rt's softirqs are threads.
_IMAGE = re.compile(r"linux-image-(\d+\.\d+\.\d+(?:-\d+)?(?:\+\w+)?-amd64)")
_OFFLINE = re.compile(r"Could not (connect|resolve)|Temporary failure resolving|timed out")
_APT = ("-qq", "-o", "APT::Sandbox::User=root")  # no word on whose sandbox it is not in


@dataclass(frozen=True)
class Package:
    """One stanza of the package lists."""

    name: str
    version: str
    needs: tuple[str, ...]
    """Names of the packages that it depends on; of alternatives the first."""
    size_bytes: int
    """Of the file that is fetched."""


def parse(lists: str) -> Iterator[Package]:
    """Read stanzas in the form of the package lists: deb822(5)."""
    for stanza in re.split(r"\n\s*\n", lists):
        fields = dict(re.findall(r"^([\w-]+): (.*)$", stanza, re.MULTILINE))
        if "Package" in fields:
            needs = (word.strip() for word in fields.get("Depends", "").split(","))
            yield Package(
                fields["Package"],
                fields.get("Version", ""),
                tuple(re.split(r"[\s:(|]", word, maxsplit=1)[0] for word in needs if word),
                int(fields.get("Size", 0)),
            )


def images() -> list[str]:
    """The releases of the generic kernels that the package lists have, as `uname -r` says them.

    :raises MissingFeature: there is no apt.
    """
    names = _run("apt-cache", "pkgnames", "linux-image-").split()
    return [found[1] for name in names if (found := _IMAGE.fullmatch(name))]


def newest(series: str, releases: Iterable[str]) -> str | None:
    """The newest release of a series: of 6.1 rather 6.1.0-56-amd64 than 6.1.0-9-amd64."""
    of_series = [name for name in releases if re.match(rf"{re.escape(series)}\b(?!\d)", name)]
    return max(of_series, key=order, default=None)


def order(release: str) -> tuple[int, ...]:
    """What releases are sorted by: their numbers, not their digits."""
    return tuple(map(int, re.findall(r"\d+", release.partition("+")[0].removesuffix("-amd64"))))


def mirror(release: str) -> str:
    """The address from which this host has a release of Debian.

    :raises MissingFeature: there is no apt, or it has no such source.
    """
    fields = ("ORIGIN", "CODENAME", "COMPONENT", "REPO_URI")
    form = "\t".join(f"$({field})" for field in fields)
    for line in _run("apt-get", "indextargets", "--format", form).splitlines():
        *where, address = line.split("\t")
        if where == ["Debian", release, "main"]:
            return address
    raise MissingFeature(f"apt has no source of Debian {release} on this host: apt-get update")


def update(options: Sequence[str]) -> None:
    """Read the archive's lists into where these options of apt's have them.

    :raises NettaxError: they cannot be had.
    """
    _run("apt-get", *_APT, *options, "-o", "APT::Update::Error-Mode=any", "update")


def to_install(name: str, options: Sequence[str]) -> list[str]:
    """The packages that apt would install, or upgrade, to have one of them."""
    words = ("--print-uris", "--no-install-recommends", "--yes", "install", name)
    said = _run("apt-get", *_APT, *options, *words)
    return [line.split()[1].partition("_")[0] for line in said.splitlines() if line.startswith("'")]


def described(names: Iterable[str], options: Sequence[str] = ()) -> dict[str, Package]:
    """What the package lists say of these packages; those that they do not have are left out.

    ``options`` are apt's.
    """
    said = _run("apt-cache", *options, "show", "--no-all-versions", *names)
    return {package.name: package for package in parse(said)}


def fetch(names: Iterable[str], into: Path, options: Sequence[str] = ()) -> list[Path]:
    """Fetch packages into a directory; return their files.

    ``options`` are apt's.

    :raises OSError: the disk is full.

    :raises NettaxError: a package could not be fetched.
    """
    before = set(into.iterdir())
    _run("apt-get", *_APT, *options, "download", *names, cwd=into)
    return sorted(set(into.iterdir()) - before)


def unpack(package: Path, into: Path) -> None:
    """Unpack a package's files into a directory.

    :raises OSError: the disk is full.
    """
    _run("dpkg-deb", "--extract", str(package), str(into))


def _run(*command: str, cwd: Path | None = None) -> str:
    try:
        run = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    except FileNotFoundError:
        raise MissingFeature(
            f"{command[0]} is missing: kernels are fetched by Debian's apt.\n"
            "Elsewhere give one's path: --kernel /boot/vmlinuz-…"
        ) from None
    if run.returncode and command[0] != "apt-cache":  # which fails where one of many is unknown
        if "No space left on device" in run.stderr:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        said = (run.stderr.strip() or f"exit code {run.returncode}").splitlines()[-1]
        hint = ""
        if _OFFLINE.search(run.stderr):
            hint = "\nWithout a network, kernels of the cache run: nettax lab vm list"
        elif command[0] == "apt-get":
            hint = "\nThe package lists may be old: apt-get update"
        raise NettaxError(f"{command[0]} failed: {said}{hint}")
    return run.stdout
