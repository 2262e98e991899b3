"""`--web.config.file`: TLS and passwords in the file that Prometheus' exporters share.

https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md. What of it
nettax does not do is refused, not ignored: a file that asks for more safety than it gets would be
worse than none.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nettax.errors import NettaxError, UsageError

__all__ = ["Tls", "WebConfig", "read"]

TLS_KEYS = {
    "cert_file",
    "key_file",
    "client_auth_type",
    "client_ca_file",
    "min_version",
    "max_version",
}
CLIENT_AUTH = {
    "": ssl.CERT_NONE,
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_HASH = re.compile(r"\$2[aby]\$(\d\d)\$[./0-9A-Za-z]{53}")
MOST_COST = 16  # one check takes some 3 s then; each step more doubles it


@dataclass(frozen=True, slots=True)
class Tls:
    """`tls_server_config`; paths are absolute."""

    cert_file: Path
    key_file: Path
    client_auth: ssl.VerifyMode = ssl.CERT_NONE
    client_ca_file: Path | None = None
    min_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    max_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3

    @property
    def files(self) -> tuple[Path, ...]:
        """All that it is made from."""
        found = (self.cert_file, self.key_file, self.client_ca_file)
        return tuple(path for path in found if path is not None)

    def context(self) -> ssl.SSLContext:
        """How to speak TLS by it.

        :raises UsageError: a file is missing, or not what it should be
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version, context.maximum_version = self.min_version, self.max_version
        context.verify_mode = self.client_auth
        path = self.cert_file
        try:
            context.load_cert_chain(self.cert_file, self.key_file)
            if self.client_ca_file:
                path = self.client_ca_file
                context.load_verify_locations(self.client_ca_file)
        except (OSError, ssl.SSLError) as error:  # the one of ssl is an OSError without a name
            why = error.strerror or str(error)
            raise UsageError(f"cannot use {path} for TLS: {why}") from error
        return context


@dataclass(frozen=True, slots=True)
class WebConfig:
    """The whole file."""

    tls: Tls | None = None
    users: Mapping[str, bytes] | None = None
    """Names with the bcrypt hashes of their passwords; None lets anybody in."""


def read(path: Path) -> WebConfig:
    """Read a web configuration file; paths in it are relative to its directory.

    :raises UsageError: it is missing, malformed, or asks for what nettax does not do
    :raises NettaxError: PyYAML is not installed
    """
    try:
        import yaml
    except ImportError as error:
        raise NettaxError(
            "reading --web.config.file takes PyYAML: pip install 'nettax[metrics]'"
        ) from error
    try:
        found = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    top = _table(path, found, "the file", {"tls_server_config", "basic_auth_users"})
    tls, users = top.get("tls_server_config"), top.get("basic_auth_users")
    return WebConfig(_tls(path, tls) if tls else None, _users(path, users) if users else None)


def _table(path: Path, value: Any, where: str, known: set[str] | None) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UsageError(f"{path}: {where} must have names with values")
    if known is not None and (unknown := sorted(set(value) - known)):
        raise UsageError(
            f"{path}: nettax does not know {', '.join(unknown)} in {where}; "
            f"it knows {', '.join(sorted(known))}"
        )
    return value


def _tls(path: Path, value: Any) -> Tls:
    table = _table(path, value, "tls_server_config", TLS_KEYS)
    for key, text in table.items():
        if not isinstance(text, str):
            raise UsageError(f"{path}: {key} must be text")
    if not (table.get("cert_file") and table.get("key_file")):
        raise UsageError(f"{path}: tls_server_config takes both cert_file and key_file")

    def one_of(key: str, choices: Mapping[str, Any], default: str) -> Any:
        word = table.get(key, default)
        if word not in choices:
            known = ", ".join(filter(None, choices))
            raise UsageError(f"{path}: {key} {word!r} is not one of {known}")
        return choices[word]

    client_auth = one_of("client_auth_type", CLIENT_AUTH, "")
    authority = table.get("client_ca_file")
    if (client_auth != ssl.CERT_NONE) != bool(authority):
        raise UsageError(f"{path}: client_auth_type and client_ca_file go together")
    return Tls(
        path.parent.resolve() / table["cert_file"],
        path.parent.resolve() / table["key_file"],
        client_auth,
        path.parent.resolve() / authority if authority else None,
        one_of("min_version", VERSIONS, "TLS12"),
        one_of("max_version", VERSIONS, "TLS13"),
    )


def _users(path: Path, value: Any) -> dict[str, bytes]:
    users = {}
    for name, hashed in _table(path, value, "basic_auth_users", None).items():
        found = _HASH.fullmatch(hashed) if isinstance(hashed, str) else None
        if not found:
            raise UsageError(
                f"{path}: the password of {name} is not a bcrypt hash; make one with\n"
                "htpasswd -nBC 10 '' | tr -d ':\\n'"
            )
        if int(found[1]) > MOST_COST:
            raise UsageError(f"{path}: the hash of {name} costs more than 2^{MOST_COST} rounds")
        users[name] = hashed.encode()
    return users
