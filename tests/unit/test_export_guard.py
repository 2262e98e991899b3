"""Passwords: who gets in, who does not, and what it costs."""

from __future__ import annotations

import asyncio
import base64
import time

import bcrypt
import pytest

from nettax.export.guard import MOST_WAITING, Passwords
from nettax.export.http import Request, Response

USERS = {
    "alice": bcrypt.hashpw(b"open sesame", bcrypt.gensalt(4)),
    "bob": bcrypt.hashpw(b"", bcrypt.gensalt(4)).replace(b"$2b$", b"$2y$"),  # as htpasswd writes
}


def request(header: str | None) -> Request:
    headers = {} if header is None else {"authorization": header}
    return Request("GET", "/metrics", headers, True)


def basic(name: str, password: bytes) -> str:
    return "Basic " + base64.b64encode(name.encode() + b":" + password).decode()


def ask(passwords: Passwords, header: str | None) -> Response | None:
    return asyncio.run(passwords.admits(request(header)))


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (basic("alice", b"open sesame"), None),
        (basic("alice", b"open sesame").replace("Basic", "bAsIc"), None),
        (basic("bob", b""), None),
        (None, 401),
        ("", 401),
        ("Bearer x", 401),
        ("Basic", 401),
        ("Basic !!!", 401),
        ("Basic " + base64.b64encode(b"no colon").decode(), 401),
        ("Basic " + base64.b64encode(b"\xff:x").decode(), 401),
        (basic("alice", b"wrong"), 401),
        (basic("alice", b""), 401),
        (basic("mallory", b"open sesame"), 401),
        (basic("alice", b"x" * 5000), 401),
        (basic("alice", b"open\0sesame"), 401),
    ],
)
def test_who_gets_in(header: str | None, status: int | None) -> None:
    found = ask(Passwords(dict(USERS)), header)
    assert (found.status if found else None) == status
    if found:
        assert found.headers["WWW-Authenticate"].startswith("Basic realm=")


def counted(passwords: Passwords, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The passwords that are checked from now on."""
    checked = []
    check = passwords._check

    def noted(password: bytes, hashed: bytes) -> bool:
        checked.append(password)
        return check(password, hashed)

    monkeypatch.setattr(passwords, "_check", noted)
    return checked


def test_a_password_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = Passwords(dict(USERS))
    checked = counted(passwords, monkeypatch)
    for _ in range(3):
        assert ask(passwords, basic("alice", b"open sesame")) is None
    assert len(checked) == 1
    for _ in range(3):  # those that are wrong are not remembered
        assert ask(passwords, basic("alice", b"wrong")) is not None
    assert len(checked) == 4


def test_a_name_that_nobody_has_takes_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash is computed for it too, so that time does not tell names."""
    passwords = Passwords(dict(USERS))
    checked = counted(passwords, monkeypatch)
    assert ask(passwords, basic("mallory", b"x")) is not None
    assert len(checked) == 1


def test_a_flood_of_wrong_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few wait, the others are told so, and who is known gets in at once meanwhile."""
    passwords = Passwords(dict(USERS))
    check = passwords._check

    def slowly(password: bytes, hashed: bytes) -> bool:
        time.sleep(0.01)
        return check(password, hashed)

    async def flood() -> tuple[list[Response | None], Response | None]:
        assert await passwords.admits(request(basic("alice", b"open sesame"))) is None
        monkeypatch.setattr(passwords, "_check", slowly)
        wrong = [
            asyncio.create_task(passwords.admits(request(basic("alice", f"{i}".encode()))))
            for i in range(3 * MOST_WAITING)
        ]
        await asyncio.sleep(0)
        known = await passwords.admits(request(basic("alice", b"open sesame")))
        return await asyncio.gather(*wrong), known

    found, known = asyncio.run(flood())
    statuses = [response.status.value for response in found if response]
    assert statuses.count(401) == MOST_WAITING
    assert statuses.count(503) == 2 * MOST_WAITING
    assert known is None
