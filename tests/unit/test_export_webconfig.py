"""`--web.config.file`: what is taken, and what is refused."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from nettax.errors import UsageError
from nettax.export.webconfig import Tls, WebConfig, read

HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"  # exporter-toolkit's own


def written(directory: Path, text: str) -> Path:
    path = directory / "web.yml"
    path.write_text(text)
    return path


def test_everything(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        f"""
        tls_server_config:
          cert_file: server.crt
          key_file: /etc/nettax/server.key
          client_auth_type: RequireAndVerifyClientCert
          client_ca_file: ca.crt
          min_version: TLS13
        basic_auth_users:
          alice: {HASH}
        """,
    )
    assert read(path) == WebConfig(
        Tls(
            tmp_path / "server.crt",
            Path("/etc/nettax/server.key"),
            ssl.CERT_REQUIRED,
            tmp_path / "ca.crt",
            ssl.TLSVersion.TLSv1_3,
        ),
        {"alice": HASH.encode()},
    )


@pytest.mark.parametrize("text", ["", "{}", "tls_server_config:\nbasic_auth_users:\n"])
def test_nothing(tmp_path: Path, text: str) -> None:
    assert read(written(tmp_path, text)) == WebConfig(None, None)


PAIR = "cert_file: a, key_file: b"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "is not YAML"),
        ("- a", "the file must have names"),
        ("basic_auth: {}", "does not know basic_auth in the file"),
        ("rate_limit: {burst: 1}", "does not know rate_limit"),
        ("http_server_config: {http2: false}", "does not know http_server_config"),
        ("tls_server_config: {cert_file: a}", "takes both cert_file and key_file"),
        (f"tls_server_config: {{{PAIR}, cipher_suites: [x]}}", "does not know cipher_suites"),
        (f"tls_server_config: {{{PAIR}, min_version: TLS10}}", "'TLS10' is not one of TLS12"),
        (f"tls_server_config: {{{PAIR}, min_version: 1.2}}", "min_version must be text"),
        (f"tls_server_config: {{{PAIR}, client_auth_type: RequireAnyClientCert}}", "is not one of"),
        (f"tls_server_config: {{{PAIR}, client_ca_file: c}}", "go together"),
        (
            f"tls_server_config: {{{PAIR}, client_auth_type: RequireAndVerifyClientCert}}",
            "go together",
        ),
        ("basic_auth_users: {alice: secret}", "the password of alice is not a bcrypt hash"),
        ("basic_auth_users: {alice: 5}", "is not a bcrypt hash"),
        ("basic_auth_users: {1: x}", "must have names"),
        (f"basic_auth_users: {{alice: {HASH.replace('$10$', '$31$')}}}", "costs more than"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as refused:
        read(path)
    assert message in str(refused.value)
    assert str(path) in str(refused.value)
    assert "secret" not in str(refused.value)  # an error ends in a log


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read(tmp_path / "none.yml")
    with pytest.raises(UsageError, match=r"cannot use .*a.crt for TLS: No such file"):
        Tls(tmp_path / "a.crt", tmp_path / "a.key").context()


def test_files_that_are_something_else(tmp_path: Path) -> None:
    written(tmp_path, "hello")
    with pytest.raises(UsageError, match=r"cannot use .*web.yml for TLS"):
        Tls(tmp_path / "web.yml", tmp_path / "web.yml").context()
