"""Servers of others, as they are started to be loaded: a command that stays in the foreground."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nettax.errors import UsageError

__all__ = ["RECIPES", "Recipe", "recipe"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one server is started, and what to know of it."""

    name: str
    program: str
    protocol: str
    """http or echo."""
    port: int
    """Where it listens unless it is told otherwise."""
    any_port: bool
    source: str
    """Where it comes from."""
    note: str
    command: Callable[[Path, str, int, Path], list[str]]
    """From its path, an address, a port and a scratch directory."""
    writes: bool = False
    """It needs the scratch directory, which somebody must remove when it has ended."""
    at_home: bool = False
    """It wants to run in its own directory, where its files are."""

    def find(self, path: Path | None = None) -> Path:
        """Its program.

        :raises UsageError: it is not there; the message says where it comes from.
        """
        found = shutil.which(path or self.program)
        if found is None:
            raise UsageError(
                f"{path or self.program} is not there: {self.source}, then put it on PATH or name "
                "it with --program."
            )
        return Path(found).resolve()


_NGINX = """\
worker_processes auto;
error_log stderr error;
pid {scratch}/pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {scratch}/body;
    proxy_temp_path {scratch}/proxy;
    fastcgi_temp_path {scratch}/fastcgi;
    uwsgi_temp_path {scratch}/uwsgi;
    scgi_temp_path {scratch}/scgi;
    server {{
        listen {bind}:{port} backlog=4096;
        location / {{ return 200 "{body}"; }}
    }}
}}
"""


def _nginx(program: Path, bind: str, port: int, scratch: Path) -> list[str]:
    config = scratch / "nginx.conf"
    config.write_text(_NGINX.format(scratch=scratch, bind=bind, port=port, body="x" * 128))
    options = ["-e", "stderr", "-p", str(scratch), "-c", str(config), "-g", "daemon off;"]
    return [str(program), *options]


def _sehttpd(program: Path, bind: str, port: int, scratch: Path) -> list[str]:
    return [str(program), "-p", str(port)]  # its -w is refused by its own getopt(3)


def _bare(program: Path, bind: str, port: int, scratch: Path) -> list[str]:
    return [str(program)]


RECIPES = {
    each.name: each
    for each in (
        Recipe(
            "nginx",
            "nginx",
            "http",
            8080,
            True,
            "apt install nginx-light",
            "128 bytes from memory, no log, connections kept for as long as clients want",
            _nginx,
            writes=True,
        ),
        Recipe(
            "sehttpd",
            "sehttpd",
            "http",
            8081,
            True,
            "build it from github.com/sysprog21/sehttpd",
            "head and body in two writes without TCP_NODELAY: clients that keep their connection "
            "meet delayed ACKs; it keeps one only where a request asks for it",
            _sehttpd,
            at_home=True,
        ),
        Recipe(
            "user-echo-server",
            "user-echo-server",
            "echo",
            12345,
            False,
            "build it from github.com/sysprog21/kecho",
            "epoll, one thread; it prints each message and sends 512 bytes back whatever came, so "
            "load it with --bytes 512; it ends when a client leaves while it writes",
            _bare,
        ),
    )
}


def recipe(name: str) -> Recipe:
    """Return a recipe.

    :raises UsageError: there is none of this name.
    """
    if name not in RECIPES:
        raise UsageError(f"there is no recipe {name!r}: {', '.join(RECIPES)}.")
    return RECIPES[name]
