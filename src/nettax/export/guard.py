"""Who may ask: TLS with certificates that may change, and passwords checked at leisure."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import secrets
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

from nettax.errors import NettaxError, UsageError
from nettax.export.http import Request, Response
from nettax.export.webconfig import Tls, WebConfig

__all__ = ["Gate", "Passwords"]

LOOK_S = 1.0  # how often to look whether a certificate has changed
MOST_WAITING = 16  # checks of passwords
# Of no password that anybody has: a name that does not exist must take as long as one that does.
NOBODY = b"$2b$10$CwTycUXWue0Thq9StjUM0uJ8Q1p0f0bq1D4Zz0gW5nJ6n0mO5aT9e"


class Gate:
    """The guard of a server, as the web configuration has it."""

    def __init__(self, config: WebConfig, say: Callable[[str], None]) -> None:
        """`say` is told of a certificate that cannot be taken.

        :raises UsageError: a file for TLS is missing, or not what it should be
        :raises NettaxError: bcrypt is not installed
        """
        self._tls = _Certificates(config.tls, say) if config.tls else None
        self._passwords = Passwords(dict(config.users)) if config.users else None

    def context(self) -> ssl.SSLContext | None:
        """The present one; certificates are read again when their files have changed."""
        return self._tls.context() if self._tls else None

    async def admits(self, request: Request) -> Response | None:
        """None for a request with a password that is right, or when none is asked for."""
        return await self._passwords.admits(request) if self._passwords else None


class _Certificates:
    """Files that somebody renews every few months, while nettax runs on."""

    def __init__(self, tls: Tls, say: Callable[[str], None]) -> None:
        self._tls = tls
        self._say = say
        self._context = tls.context()
        self._seen = _stamps(tls.files)
        self._looked_s = time.monotonic()

    def context(self) -> ssl.SSLContext:
        if time.monotonic() - self._looked_s >= LOOK_S:
            self._looked_s = time.monotonic()
            stamps = _stamps(self._tls.files)
            if stamps != self._seen:
                self._seen = stamps
                try:
                    self._context = self._tls.context()
                except UsageError as error:
                    self._say(f"{error}; the certificate read before stays in use")
        return self._context


def _stamps(files: tuple[Path, ...]) -> list[Any]:
    stamps: list[Any] = []
    for path in files:
        stamps.append(None)
        with suppress(OSError):
            status = path.stat()
            stamps[-1] = (status.st_ino, status.st_mtime_ns, status.st_size)
    return stamps


class Passwords:
    """Basic authentication (RFC 7617) against bcrypt hashes.

    A check takes a tenth of a second by design. One is made at a time, away from the event loop,
    and few may wait; a password that was right is remembered (as a keyed hash, in memory), so that
    a scrape costs none.
    """

    def __init__(self, users: dict[str, bytes]) -> None:
        """`users` with their bcrypt hashes.

        :raises NettaxError: bcrypt is not installed
        """
        try:
            from bcrypt import checkpw
        except ImportError as error:
            raise NettaxError(
                "checking passwords takes bcrypt: pip install 'nettax[metrics]'"
            ) from error
        self._check = checkpw
        self._users = users
        self._key = secrets.token_bytes(32)
        self._right: set[bytes] = set()  # at most one for each user
        self._worker = ThreadPoolExecutor(1)
        self._waiting = 0

    async def admits(self, request: Request) -> Response | None:
        """None if the request has a user's password, else what to answer."""
        found = _credentials(request.headers.get("authorization", ""))
        if found is None:
            return _unauthorized()
        name, password = found
        known = self._digest(name, password)
        if known in self._right:
            return None
        if self._waiting >= MOST_WAITING:
            return Response.text(
                HTTPStatus.SERVICE_UNAVAILABLE, "too many passwords wait to be checked"
            )
        self._waiting += 1
        try:
            right = await asyncio.get_running_loop().run_in_executor(
                self._worker, self._matches, name, password
            )
        finally:
            self._waiting -= 1
        if not right:
            return _unauthorized()
        self._right.add(known)
        return None

    def _matches(self, name: str, password: bytes) -> bool:
        hashed = self._users.get(name)
        try:  # bcrypt compares in constant time
            right = self._check(password, hashed or NOBODY)
        except ValueError:  # longer than the 72 bytes that bcrypt takes, or with a NUL
            return False
        return right and hashed is not None

    def _digest(self, name: str, password: bytes) -> bytes:
        parts = name.encode() + b"\0" + password
        return hashlib.blake2b(parts, key=self._key).digest()


def _credentials(header: str) -> tuple[str, bytes] | None:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return (name.decode(), password) if colon else None
    except (binascii.Error, ValueError):
        return None


def _unauthorized() -> Response:
    return Response.text(
        HTTPStatus.UNAUTHORIZED,
        "a name and a password are asked for",
        WWW_Authenticate='Basic realm="nettax", charset="UTF-8"',
    )
