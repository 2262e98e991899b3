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
LEAST_COST, MOST_COST = 4, 16  # bcrypt's least; one check at 16 takes some 3 s, at each step twice


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
        for path in self.files:  # ssl does not say which one it cannot read
            try:
                path.open("rb").close()
            except OSError as error:
                raise UsageError(f"cannot use {path} for TLS: {error.strerror}") from error
        used = f"{self.cert_file} with {self.key_file}"
        try:
            # Without a password given, OpenSSL would ask for that of a key on the terminal.
            context.load_cert_chain(self.cert_file, self.key_file, password=_no_password)
            if self.client_ca_file:
                used = str(self.client_ca_file)
                context.load_verify_locations(self.client_ca_file)
        except _Encrypted:
            raise UsageError(
                f"cannot use {self.key_file} for TLS: it is encrypted.\n"
                "Decrypt it: openssl pkey -in ENCRYPTED -out PLAIN"
            ) from None
        except OSError as error:  # the one of ssl is an OSError without a name
            raise UsageError(f"cannot use {used} for TLS: {error.strerror or error}") from error
        return context


@dataclass(frozen=True, slots=True)
class WebConfig:
    """The whole file."""

    tls: Tls | None = None
    users: Mapping[str, bytes] | None = None
    """Names with the bcrypt hashes of their passwords; None lets anybody in."""


class _Encrypted(Exception):
    """A key asks for a password."""


def _no_password() -> bytes:
    raise _Encrypted


def read(path: Path) -> WebConfig:
    """Read a web configuration file; paths in it are relative to its directory.

    :raises UsageError: it is missing, malformed, or asks for what nettax does not do
    :raises NettaxError: PyYAML is not installed
    """
    found = _parsed(path)
    if found is None:  # an empty file
        return WebConfig()
    top = _table(path, found, "the file", {"tls_server_config", "basic_auth_users"})
    tls, users = top.get("tls_server_config"), top.get("basic_auth_users")
    return WebConfig(
        None if tls is None else _tls(path, tls), None if users is None else _users(path, users)
    )


def _parsed(path: Path) -> Any:
    """What the YAML in a file says; a key that comes twice is refused, as one would be lost."""
    try:
        import yaml
    except ImportError as error:
        raise NettaxError(
            "reading --web.config.file takes PyYAML: pip install 'nettax[metrics]'"
        ) from error

    class Strict(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            for name in names:
                if names.count(name) > 1:
                    raise UsageError(f"{path}: {name} comes twice")
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(path.read_text(), Strict)  # noqa: S506  # it is a SafeLoader
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())}") from error


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
        if not isinstance(text, str) or "\0" in text:
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
    oldest, newest = (
        one_of("min_version", VERSIONS, "TLS12"),
        one_of("max_version", VERSIONS, "TLS13"),
    )
    if oldest > newest:
        raise UsageError(f"{path}: min_version is above max_version: no client could connect")
    return Tls(
        path.parent.resolve() / table["cert_file"],
        path.parent.resolve() / table["key_file"],
        client_auth,
        path.parent.resolve() / authority if authority else None,
        oldest,
        newest,
    )


def _users(path: Path, value: Any) -> dict[str, bytes]:
    users = {}
    for name, hashed in _table(path, value, "basic_auth_users", None).items():
        if ":" in name:
            raise UsageError(f"{path}: {name!r} has a colon, which no user's name can have")
        found = _HASH.fullmatch(hashed) if isinstance(hashed, str) else None
        if not found:
            raise UsageError(
                f"{path}: the password of {name} is not a bcrypt hash; make one with\n"
                "htpasswd -nBC 10 '' | tr -d ':\\n'"
            )
        if not LEAST_COST <= int(found[1]) <= MOST_COST:
            raise UsageError(
                f"{path}: the hash of {name} must cost 2^{LEAST_COST} to 2^{MOST_COST} rounds, "
                f"not 2^{int(found[1])}"
            )
        users[name] = hashed.encode()
    if not users:
        raise UsageError(f"{path}: basic_auth_users names nobody: leave it out to let anybody in")
    return users
